"""Fine-tuning on images that do not show the concept, which may come back by itself.

ResAlign (2025, arXiv:2507.16302) fine-tunes erased models on harmless data with learning rates 1e-4 to 1e-6. Here: 48 images of the
retain prompts, drawn by the base model, with their prompts; 60 steps of 4 noised images at each of two rates, looked at twice.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from ..concepts import halves, spread
from ..sampling import draw_latents
from ..settings import Settings
from .base import Finding, Target
from .retraining import Lesson, Namer, retrained

PAPER = "arXiv:2507.16302"


class UnrelatedFinetuning(Settings):
    """What is fine-tuned, and for how long."""

    adaptive: ClassVar[bool] = True
    input_kind: ClassVar[int] = 7

    others: PositiveInt = 48  # images of the retain prompts that tune
    rates: tuple[PositiveFloat, ...] = (1e-4, 4e-4)
    looks: tuple[PositiveInt, ...] = Field(
        default=(20, 60), min_length=1
    )  # steps after which there is a finding; the last one is the end
    batch: PositiveInt = 4
    images: PositiveInt = 16  # of each finding

    def run(self, target: Target) -> Iterator[Finding]:
        """One finding for each rate and number of steps."""
        namer, rng = Namer.of(target, self.images), target.rng
        tuning, _ = halves([target.concept])
        prompts = [prompt.text for prompt in spread(tuning, self.others, rng)]
        cond = target.base.encode(prompts)
        latents = draw_latents(target.base, cond, rng, namer.sampling)
        for rate in self.rates:
            lesson = Lesson(latents, target.model.encode(prompts), max(self.looks), self.batch, rate)
            for step, (_, weights) in enumerate(retrained(target.model, lesson, rng), 1):
                if step in self.looks:
                    yield namer.finding(f"{step} steps, learning rate {rate:g}", weights)


PLUGIN = UnrelatedFinetuning
