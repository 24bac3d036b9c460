"""What the embedded world can draw: its objects, styles, backgrounds and their words."""

from functools import cache
from importlib.resources import files

import yaml
from pydantic import Field

from ..errors import ConfigError, unknown
from ..settings import Settings


class Thing(Settings):
    """One object: the group it belongs to, its icon's name and the words for it."""

    group: str
    icon: str
    words: tuple[str, ...] = ()
    held_out: str | None = None


class Vocabulary(Settings):
    """All of vocabulary.yaml. The order of `objects` and `styles` is the order of the judges' classes."""

    styles: tuple[str, ...]
    backgrounds: dict[str, tuple[int, int, int]]
    objects: dict[str, Thing]
    held_out_pairs: tuple[tuple[str, str], ...] = Field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """The objects' names, in the judges' order."""
        return tuple(self.objects)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Group name to the names of its objects."""
        found: dict[str, list[str]] = {}
        for name, thing in self.objects.items():
            found.setdefault(thing.group, []).append(name)
        return {group: tuple(members) for group, members in found.items()}

    def thing(self, name: str) -> Thing:
        """The object called `name`, or a `ConfigError` that lists those there are."""
        try:
            return self.objects[name]
        except KeyError:
            raise ConfigError(unknown("object", name, self.objects)) from None


@cache
def vocabulary() -> Vocabulary:
    """The world that ships with tverase."""
    text = files(__package__).joinpath("vocabulary.yaml").read_text(encoding="utf-8")
    return Vocabulary.model_validate(yaml.safe_load(text))
