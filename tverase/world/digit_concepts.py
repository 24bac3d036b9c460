"""The ten digits as concepts of the digit model: a digit's only prompt is its name."""

from ..concepts.base import Concept, Prompt
from ..errors import ConfigError
from ..models.digits import CLASSES

NAME = "digits"
JUDGE = {"kind": "cnn", "file": "models/digits/judge.safetensors"}


class DigitConcepts:
    """The producer of the digits 0 to 9."""

    def names(self) -> tuple[str, ...]:
        """`0` to `9`."""
        return CLASSES

    def concept(self, name: str) -> Concept:
        """The digit called `name`."""
        return digit_concept(int(name))


PLUGIN = DigitConcepts


def digit_concept(digit: int) -> Concept:
    """A digit as a concept; the other nine are its retain set, in both halves."""
    if not 0 <= digit < len(CLASSES):
        raise ConfigError(f"{digit} is no digit; choose one of {', '.join(CLASSES)}.")
    name = CLASSES[digit]
    others = tuple(Prompt(other, (other,)) for other in CLASSES if other != name)
    return Concept(name=name, kind="class", names=(name,), templates=("{}",), retain=others, judge=JUDGE, source=NAME)
