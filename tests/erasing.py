"""What the tests of erasers share: material of a model with random weights."""

from collections.abc import Sequence

from tverase.concepts import Concept, halves
from tverase.erasers.base import Material
from tverase.models.base import Model
from tverase.progress import Tell, silent
from tverase.rng import generator

RETAINED = 8


def material_of(model: Model, concepts: Sequence[str] = ("bomb",), *, seed: int = 0, tell: Tell = silent) -> Material:
    """Noise in place of images, with the prompts of the retain set that tune."""
    found = [Concept.named(name) for name in concepts]
    latents = {c.name: model.start(8, generator(0, f"tests/erasing/{c.name}")) for c in found}
    prompts = [prompt.text for prompt in halves(found)[0]]
    spread = prompts[:: len(prompts) // RETAINED][:RETAINED]
    retain = model.start(RETAINED, generator(0, "tests/erasing/retain"))
    return Material(model, found, latents, retain, model.encode(spread), seed, tell)


def of_digits(model: Model) -> Material:
    """The same for a model without text and without cross-attention."""
    concept = Concept.named("3")
    latents = {concept.name: model.start(8, generator(0, "tests/erasing/3"))}
    retain = model.start(8, generator(0, "tests/erasing/digits"))
    return Material(model, [concept], latents, retain, model.encode(["0", "1", "2", "4", "5", "6", "7", "8"]), 0)
