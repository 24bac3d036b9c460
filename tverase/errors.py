"""Everything that tverase raises on purpose.

- TveraseError       1   the base class
  - ConfigError      2   a parameter, option or concept is unknown or not allowed
  - DataError        3   sprites, images or captions are missing or damaged
  - ModelError       4   a model folder or weights file cannot be used
    - KeyMismatch    4   two sets of weights do not have the same parameters
    - UnsafeWeights  4   pickled weights, which are never opened
    - WrongBase      4   a task vector belongs to other base weights
  - NothingToErase   5   the base model does not draw the concept
  - StorageError     6   no space, no permission, an output that cannot be written
  - NetworkError     7   something has to be fetched and cannot be
  - NumericalError   8   a loss is NaN or infinite
  - TrackingError    9   MLflow did not answer or refused
  - Infeasible       10  no strength erases the concept and keeps the retain set
  - NotProved        11  the erasure was tested and is refuted, unconfirmed or untested

Catch the base class to catch them all: `try: ... except TveraseError as error: print(error)`.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 1000  # characters of a message
LONGEST_WORD = 200  # of a word in it, which may be somebody's whole file


class TveraseError(Exception):
    """The base of the tree; its message is one sentence that a user can act on."""

    exit_code = 1


def one_line(text: str) -> str:
    """A text without line breaks and control characters, its long words and what is beyond `LONGEST` left out."""
    plain = "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text)
    short = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: f"{word[0][:60]}...{word[0][-20:]}", plain.strip())
    return short if len(short) <= LONGEST else f"{short[: LONGEST - 3]}..."


class ConfigError(TveraseError, ValueError):
    """A parameter, an option or a concept is unknown or has an impossible value."""

    exit_code = 2


class DataError(TveraseError):
    """Sprites, images or captions are missing, damaged or not what their index says."""

    exit_code = 3


class ModelError(TveraseError):
    """A model folder or weights file is missing, incomplete, damaged or of another architecture."""

    exit_code = 4


class KeyMismatch(ModelError, ValueError):
    """Two sets of weights do not have the same parameters."""


class UnsafeWeights(ModelError):
    """Pickled weights: opening them could run code, so they are refused."""


class WrongBase(ModelError):
    """A task vector is applied to other base weights than it was made from."""


class NothingToErase(TveraseError):
    """The base model does not draw the concept often enough to measure its erasure."""

    exit_code = 5


class Infeasible(TveraseError):
    """No strength meets both bounds; the frontier says what each one would cost."""

    exit_code = 10


class NotProved(TveraseError):
    """A whole run whose verdict is not "erased": refuted, unconfirmed or untested. Its outputs and report are there."""

    exit_code = 11


class StorageError(TveraseError, OSError):
    """An output cannot be written: no space, no permission, or a path that is in the way."""

    exit_code = 6


class NetworkError(TveraseError):
    """Something has to be fetched and could not be."""

    exit_code = 7


class NumericalError(TveraseError, ArithmeticError):
    """A loss became NaN or infinite."""

    exit_code = 8


class TrackingError(TveraseError):
    """MLflow did not answer, or refused the request."""

    exit_code = 9


def unknown(what: str, name: str, choices: Iterable[str]) -> str:
    """`unknown object 'bom'; did you mean 'bomb'? There are: ...`, for use in an error."""
    listed = sorted(choices)
    close = get_close_matches(name, listed, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else "."
    return f"unknown {what} {name!r}{hint} There are: {', '.join(listed)}"
