"""An eraser by distillation."""

import torch
from pydantic import PositiveFloat, PositiveInt

from tverase.erasers.base import Material
from tverase.losses import random_timesteps
from tverase.models.base import repeated
from tverase.progress import Progress
from tverase.rng import generator
from tverase.settings import Settings
from tverase.training import Training
from tverase.vector import TaskVector

PAPER = "after Kumari et al., 2023, arXiv:2303.13516"


class EmptyPrompt(Settings):
    """Answer the concept's names as if nothing had been asked for, and the retain set as before."""

    steps: PositiveInt = 100
    batch: PositiveInt = 16  # of the concept, and as many of the retain set
    lr: PositiveFloat = 1e-4

    def run(self, material: Material) -> TaskVector:
        """Distil the base model into a copy; the vector leads from the copy back to the base."""
        model, base, size = material.model, material.model.weights(), self.batch
        training = Training.of(base)
        student = model.with_weights(training.parameters)
        names = model.encode([name for concept in material.concepts for name in concept.names])
        for step in range(self.steps):
            rng = generator(material.seed, f"empty-prompt/{step}")
            gone, held = (torch.randint(len(rows), (size,), generator=rng) for rows in (names, material.retain_cond))
            latents = material.retain_latents[torch.cat([held, held])]
            timesteps = random_timesteps(2 * size, model.noise.timesteps, rng).to(latents.device)
            noise = torch.randn(latents.shape, generator=rng).to(latents.device)
            noised = model.noise.corrupt(latents, timesteps, noise)
            asked = torch.cat([names[gone], material.retain_cond[held]])
            with torch.no_grad():
                taught = torch.cat([repeated(model.null, size), material.retain_cond[held]])
                target = model.denoise(noised, timesteps, taught)
            loss = (student.denoise(noised, timesteps, asked) - target).square().mean()
            value = training.advance(loss, self.lr, 0.0)
            material.tell(Progress("answering with nothing", step + 1, self.steps, f"loss {value:.4f}"))
        return (-1.0) * TaskVector.between(base, training.result())
