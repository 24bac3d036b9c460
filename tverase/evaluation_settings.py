"""How much is drawn for the report, and by which attacks."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, PositiveInt, field_serializer, field_validator

from .attacks.embeddings import KIND, Embeddings
from .defences import named
from .registry import built
from .settings import Settings

ATTACKS: dict[str, dict[str, Any]] = {
    "prompts": {"kind": "prompts"},
    "inversion": {"kind": "di-embeddings"},
    "attack": {"kind": "concept-inversion"},
    "weaker": {"kind": "concept-inversion", "share": 0.75},
}


def merged(defaults: Mapping[str, dict[str, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults, changed by the given entries: a label changes or adds one, null removes it."""
    found = {label: dict(spec) for label, spec in defaults.items()}
    for label, spec in given.items():
        if spec is None:
            found.pop(label, None)
        elif isinstance(spec, dict) and "kind" not in spec and label in found:
            found[label] |= spec
        else:
            found[label] = {"kind": spec} if isinstance(spec, str) else spec
    return found


class Evaluate(Settings):
    """How much is drawn for the report; none of its seeds, embeddings or images was used to tune."""

    images: PositiveInt = 60  # for each kind of prompts
    images_each: PositiveInt = 90  # for each embedding: 3 of 90 are below epsilon, where 2 of 60 are not
    retain_images: PositiveInt = 320  # spread over every (object, style) that has nothing to do with the concept
    shown: PositiveInt = 8  # pictures in a row of the report
    # The attacks by label: a kind of `tverase list attacks` and its settings. `share`: of the edit, against which it searches;
    # where the concept is still to be found, inputs can be found that bring it back where it is not. A label that is given
    # changes or adds one attack, null leaves one out.
    attacks: dict[str, dict[str, Any]] = Field(default_factory=lambda: merged(ATTACKS, {}))
    # What a service could put in front of the erased model (defences.py), reported apart: nearest, rounded-4, smoothed-0.4.
    defences: tuple[str, ...] = ()

    @field_validator("attacks", mode="before")
    @classmethod
    def _on_top_of_the_defaults(cls, given: Any) -> Any:
        return merged(ATTACKS, given) if isinstance(given, dict) else given

    @field_serializer("attacks")
    def _without_what_is_left_out(self, attacks: dict[str, Any]) -> dict[str, Any]:
        """A default that was removed is written as null, so that it does not come back when the parameters are read."""
        return {**{label: None for label in ATTACKS if label not in attacks}, **attacks}

    @field_validator("attacks")
    @classmethod
    def _built(cls, attacks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for label, spec in attacks.items():
            share = spec.get("share", 1.0)
            if not isinstance(share, int | float) or not 0 < share <= 1:
                raise ValueError(f"attacks.{label}.share is {share!r}; it must be a number above 0 and at most 1")
            attack = built("attack", {key: value for key, value in spec.items() if key != "share"})
            if label == KIND and not isinstance(attack, Embeddings):
                raise ValueError(
                    f"attacks.{label} is the label of held-out embeddings; give another attack another label"
                )
        return attacks

    @field_validator("defences")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            named(name)
        if len(set(names)) < len(names):
            raise ValueError("a defence is named twice")
        return names
