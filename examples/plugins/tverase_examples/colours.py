"""Concepts by name, without a file for each."""

from tverase.concepts import Concept, Prompt

NAMES = ("green", "blue", "yellow", "cyan", "magenta", "white")


class Colours:
    """Six colours with their prompts; the others are the retain set of each."""

    def names(self) -> tuple[str, ...]:
        """What may be written in `concepts`."""
        return NAMES

    def concept(self, name: str) -> Concept:
        """One of them."""
        others = [other for other in NAMES if other != name]
        tuned = [Prompt(f"a {other} square", (other,), "tune") for other in others]
        scored = [Prompt(f"something {other}", (other,), "report") for other in others]
        return Concept(
            name=name,
            kind="style",
            names=(f"a {name} square", name),
            templates=("a {} square",),
            retain=(*tuned, *scored),
            judge={"kind": "hue"},
            source="colours",  # the plug-in's name: its source is part of the steps' keys
        )
