"""What every step of one run shares."""

from dataclasses import dataclass

from .concepts import Concept
from .inversion.diverse import Invert
from .judges.base import Judge
from .models.base import Model
from .progress import Tell, silent
from .sampling import Sampling


@dataclass(frozen=True)
class Context:
    """The base model, the concepts to erase, the judge that sees them, and how images are drawn.

    invert: the space of embeddings that inversion and attacks search.
    seed: the source of every random number, together with the name of its purpose.
    tell: receives the progress.
    """

    model: Model
    concepts: tuple[Concept, ...]
    judge: Judge
    sampling: Sampling
    invert: Invert
    seed: int = 0
    tell: Tell = silent
