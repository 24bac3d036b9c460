"""A small evaluation: pico and an edit of it by noise, judges that see something, and a few embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from made_up import WORDS
from torch import Tensor

from tverase.attacks.concept_inversion import ConceptInversion
from tverase.attacks.embeddings import Embeddings
from tverase.attacks.prompts import Prompts
from tverase.concepts import Concept
from tverase.evaluation import Budget, Examiner, Row, Tried, examine
from tverase.inversion.diverse import Invert
from tverase.inversion.sets import Found, InversionSet
from tverase.judges.base import NONE, FirstChoice
from tverase.judges.by_label import ByLabel
from tverase.models.base import Meter
from tverase.models.text2image import TextToImage
from tverase.progress import Progress
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.world.concepts import concept, pairs

SAMPLING = Sampling(steps=2, guidance=3.0, batch=64)
BOMB, NOTO = concept("bomb", WORDS), concept("noto", WORDS)
IMAGES, EACH, RETAIN, SHOWN = 24, 12, 75, 5
ATTACK = ConceptInversion(words=2, steps=2, batch=1, images=3)


@dataclass(frozen=True)
class LinearJudge(FirstChoice):
    """A judge without a net: the class whose direction an image points to most, seen from `centre`."""

    name: str
    classes: tuple[str, ...]
    directions: Tensor  # (classes, 3 * H * W)
    centre: Tensor
    accuracy: float = 0.5

    def probabilities(self, images: Tensor) -> Tensor:
        """As other judges: (B, 3, H, W) -> (B, classes)."""
        seen = torch.nn.functional.normalize((images - self.centre).flatten(1), dim=1)
        return (seen @ self.directions.T).softmax(1)


def judge_of(pico: TextToImage) -> ByLabel:
    """Judges of objects and of styles that tell pico's images apart, so that there is something to count."""
    noise = generator(0, "tests/evaluate/judges")
    centre = draw(pico, pico.encode([p.text for p in pairs(WORDS)]), noise, SAMPLING).mean(0)
    kinds = {"object": (*WORDS.names, NONE), "style": (*WORDS.styles, NONE)}
    return ByLabel(
        {k: LinearJudge(k, c, torch.randn(len(c), centre.numel(), generator=noise), centre) for k, c in kinds.items()}
    )


def examiner_of(pico: TextToImage) -> Examiner:
    """Pico beside pico with other weights."""
    base = replace(pico, meter=Meter())
    noise = generator(0, "tests/evaluate/vector")
    weights = {key: weight + 0.05 * torch.randn(weight.shape, generator=noise) for key, weight in base.theta.items()}
    return Examiner(base, base.with_weights(weights), judge_of(pico), SAMPLING, 0, SHOWN)


def embedding(name: str, of: str, *, accepted: bool = True) -> Found:
    return Found(name, of, 0.0, 1.0, 0.5, 9 if accepted else 1, 10, accepted)


def inversions_of(pico: TextToImage) -> InversionSet:
    """Two embeddings of the bomb and one that was rejected, one of a style."""
    words, space = ("owl", "fire", "car", "red"), pico.space("a {}")
    items = (
        embedding("bomb/0", "bomb"),
        embedding("bomb/1", "bomb"),
        embedding("bomb/2", "bomb", accepted=False),
        embedding("noto/0", "noto"),
    )
    return InversionSet(torch.stack([space.anchor(word) for word in words]), items, "a {}")


def examined(
    examiner: Examiner, found: InversionSet, concepts: Sequence[Concept] = (BOMB, NOTO)
) -> list[tuple[Progress, Row]]:
    """Every row: prompts, embeddings, two words of an attack, and one attack of no words."""
    attacks = [
        Tried("prompts", Prompts()),
        Tried("inversion", Embeddings()),
        Tried("attack", ATTACK),
        Tried("weaker", ATTACK, 0.5),
        Tried("states", ATTACK.model_copy(update={"space": "states"})),
        Tried("none", ATTACK.model_copy(update={"words": 0})),
    ]
    return list(examine(examiner, concepts, attacks, Budget(found, Invert(), IMAGES, EACH)))
