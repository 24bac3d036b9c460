"""The material of a concept and a seed: drawn and inverted once, for all rows and attacks."""

from pathlib import Path
from typing import Any, cast

from ..files import write_tensors
from ..models.base import Meter
from ..rng import generator
from ..sampling import draw_latents
from ..steps.drawing import make_images
from ..steps.inversion import invert
from .case import Case
from .material import IMAGES, OWNED, SETS


def prepare(case: Case, folder: Path) -> dict[str, Any]:
    """Write images, owned images and Diverse Inversion embeddings to a folder; what came out, as JSON."""
    meter = Meter()
    context = case.context(meter)
    images = make_images(context, cast(Any, case.budget))
    found = invert(context, images)
    names = [case.named.names[i % len(case.named.names)] for i in range(case.budget.owned)]
    rng = generator(case.seed, f"bench/{case.named.name}/owned")
    owned = draw_latents(context.model, context.model.encode(names), rng, case.sampling)
    images.save(folder / IMAGES)
    write_tensors({"latents": owned}, folder / OWNED)
    for role, inversions in found.sets.items():
        inversions.save(folder / SETS / f"{role}.safetensors")
    accepted = {role: len(one.accepted()) for role, one in found.sets.items()}
    return {"rate": images.rates[case.named.slug], "accepted": accepted, "evaluations": meter.evaluations}
