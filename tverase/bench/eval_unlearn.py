"""The technique `tverase` of eval-unlearn: our erased models in its benchmark (entry point `eval_unlearn.techniques`).

eval-unlearn 1.1 calls a factory with the keys of `technique_config`, and of the result `generate(prompts, seed)`; image i is
drawn from seed + i. Its metrics see images only, so attacks on embeddings, latents or weights are in `tverase ladder`.
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveInt, ValidationError

from ..errors import ConfigError
from ..images import to_bytes
from ..models.folder import open_model
from ..registry import complaint
from ..sampling import Sampling, draw
from ..settings import Settings
from ..vector import TaskVector


class TechniqueConfig(Settings):
    """What `technique_config` may say.

    model: an erased folder, or the base model if `tau` is given. tau: a vector file; alpha: its strength.
    """

    model: str
    tau: str = ""
    alpha: NonNegativeFloat = 1.0
    steps: PositiveInt = 30
    guidance: NonNegativeFloat = 7.5
    device: str = "cpu"
    erase_concept: str = ""  # eval-unlearn's metrics read it; the model is what was erased


class Erased:
    """Draws with an erased model, or with a base model less a vector."""

    def __init__(self, **technique_config: Any) -> None:
        try:
            self.config = TechniqueConfig.model_validate(technique_config)
        except ValidationError as error:
            raise ConfigError(f"technique_config: {complaint(error, TechniqueConfig)}") from None
        self.model = open_model(self.config.model, self.config.device)
        if self.config.tau:
            vector = TaskVector.load(Path(self.config.tau))
            self.model = self.model.with_weights(vector.apply(self.model.weights(), self.config.alpha))

    def generate(self, prompts: list[str], seed: int | None = None, **more: Any) -> list[Any]:
        """One PIL image for each prompt. more: `num_inference_steps` and `guidance_scale`."""
        from PIL import Image

        steps = more.get("num_inference_steps", self.config.steps)
        sampling = Sampling(steps=steps, guidance=more.get("guidance_scale", self.config.guidance))
        images = []
        for number, prompt in enumerate(prompts):
            rng = torch.Generator()
            if seed is None:
                rng.seed()
            else:
                rng.manual_seed(seed + number)
            drawn = to_bytes(draw(self.model, self.model.encode([prompt]), rng, sampling))[0]
            images.append(Image.fromarray(drawn.permute(1, 2, 0).contiguous().numpy()))
        return images
