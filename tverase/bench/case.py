"""One concept and one seed of the table: what all its cells share, as values that another process can be given."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ..concepts import Concept
from ..context import Context
from ..errors import TveraseError
from ..files import sha256
from ..inversion.diverse import Invert
from ..models.base import Meter, Model
from ..models.folder import locate, open_model
from ..sampling import Sampling
from ..settings import Settings
from .gate import GATE
from .jury import Jury

R = TypeVar("R")
KEPT = {"model": 2, "edit": 1}  # that a thread keeps open: the base model, and the row that it works on


class Budget(Settings):
    """How much is drawn and tried; the same for every row."""

    each: PositiveInt = 40  # images of each finding, and again of the worst
    seconds: NonNegativeInt = 900  # the longest that a cell may take; 0 is no limit
    owned: PositiveInt = 100  # images of the concept that every attacker owns
    plain: PositiveInt = 400  # plain draws of the name, the control of a search over seeds
    retain: PositiveInt = 160  # images of the retain set, half of them near the concept and half far from it
    tune: PositiveInt = 12  # images of each input, for each strength that is tried
    strengths: tuple[PositiveFloat, ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 4.5)  # tried for each eraser, the smallest first
    epsilon: float = Field(default=0.1, gt=0, lt=1)  # recovery by the worst tuning input up to which a strength erases
    shown: PositiveInt = 8  # pictures of the worst finding
    images: PositiveInt = 100  # of the concept, from which erasers learn
    retain_images: PositiveInt = 300  # of the retain set, from which erasers learn
    at_least: float = Field(default=0.3, ge=0, le=1)  # below this rate there is nothing to erase
    ours: dict[str, Any] = Field(default_factory=dict)  # sections of params.yaml for our own rows


class Case(Settings):
    """A base model, a concept and a seed, with the judges and the budget."""

    model: str
    concept: str  # a name or a concept file
    seed: int = 0
    judges: tuple[dict[str, Any] | str, ...] = Field(min_length=1, max_length=2)
    sampling: Sampling = Sampling()
    invert: Invert = Invert()
    budget: Budget = Budget()
    device: str = "cpu"

    @property
    def named(self) -> Concept:
        """The concept itself; a file is read once by each thread, until it changes."""
        file = Path(self.concept)
        stamp = (str(file.absolute()), sha256(file)) if file.is_file() else ()
        return kept(("concept", self.concept, *stamp), lambda: Concept.named(self.concept))

    @property
    def jury(self) -> Jury:
        """Its judges, opened once by each thread."""
        return kept(("jury", repr(self.judges)), lambda: Jury.open(self.judges, self.device))

    def base(self, meter: Meter) -> Model:
        """The base model, which counts on `meter`."""
        return opened(self.model, self.device).metered(meter)

    def ready(self, *folders: str) -> None:
        """Open the judges, the base model and more model folders, unless this thread has them; what cannot be opened is left."""
        with suppress(TveraseError):  # the part that needs it says what is wrong
            missing = [
                folder for folder in (self.model, *folders) if folder and not is_kept(_name(folder, self.device))
            ]
            if not missing and is_kept(("jury", repr(self.judges))):
                return
            with GATE.opening():
                _ = self.jury
                for folder in missing:
                    opened(folder, self.device)

    def context(self, meter: Meter) -> Context:
        """What the steps of the pipeline share; the first judge tunes."""
        return Context(self.base(meter), (self.named,), self.jury.first, self.sampling, self.invert, self.seed)

    def content(self) -> dict[str, Any]:
        """Everything that decides a result, as JSON; no path, no device and no limit of time."""
        left_out: Any = {"model": True, "concept": True, "device": True, "judges": True, "budget": {"seconds"}}
        values = self.model_dump(mode="json", exclude=left_out)
        return {**values, "concept": self.named.content(), "judges": list(self.judges)}


def opened(folder: str | Path, device: str) -> Model:
    """A model, opened once by each thread: a network that two threads call at once would mix their weights."""
    return kept(_name(folder, device), lambda: open_model(folder, device))


def _name(folder: str | Path, device: str) -> tuple[str, ...]:
    """What a model is kept as: its content, whatever its path."""
    return "model", sha256(locate(folder)), device


_LOCAL = threading.local()


def is_kept(name: tuple[Any, ...]) -> bool:
    """Whether this thread has it open."""
    return name in vars(_LOCAL).get(name[0], ())


def kept(name: tuple[Any, ...], make: Callable[[], R]) -> R:
    """What `make` answers, or what it answered in this thread for the same name; the last few are kept."""
    known: OrderedDict[Any, Any] = vars(_LOCAL).setdefault(name[0], OrderedDict())
    if name not in known:
        known[name] = make()
    known.move_to_end(name)
    while len(known) > KEPT.get(name[0], 4):
        known.popitem(last=False)
    return cast(R, known[name])
