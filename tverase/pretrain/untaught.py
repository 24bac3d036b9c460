"""A text-to-image model that never learned some objects: the negative control of attacks.

It shares autoencoder and tokenizer with the embedded model. Text encoder and UNet are trained from nothing on scenes and
captions without the objects, so an attack that draws one of them paints it by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from ..errors import ConfigError, unknown
from ..models.build import Shape
from ..progress import Progress, Tell, silent
from ..rng import generator
from ..settings import Settings
from ..world.scene import render, sample_scenes, without_held_out
from ..world.sprites import Sprites
from ..world.vocabulary import Vocabulary
from .denoiser import Pool, Trainee, train_denoiser
from .emoji import assemble

WITHOUT = ("bomb", "skull", "cigarette")


class PretrainUntaught(Settings):
    """How emoji-untaught is made."""

    without: tuple[str, ...] = Field(default=WITHOUT, min_length=1)
    steps: PositiveInt = 3000
    batch: PositiveInt = 48
    rate: PositiveFloat = 1e-3
    pool: PositiveInt = 16384
    seed: int = 0


@dataclass(frozen=True)
class UntaughtMaker:
    """The makings of emoji-untaught. A checkpoint in `work` is resumed."""

    settings: PretrainUntaught
    sprites: Sprites
    words: Vocabulary
    work: Path
    shape: Shape
    tell: Tell = silent

    def make(self, base: Any, out: Path) -> None:
        """Train beside the frozen parts of `base`, an opened Stable Diffusion pipeline, and write the folder `out`."""
        how = self.settings
        trainee, path = Trainee(self.shape, base.tokenizer, how.seed), self.work / "untaught.safetensors"
        trainee.training.go_on(path)
        self.tell(Progress("encoding the training images", 0, how.pool))
        for loss in trainee.training.keeping(self._training(trainee, base), path):
            self.tell(Progress("text encoder and UNet", trainee.training.step, how.steps, f"loss {loss:.3f}"))
        text, unet = trainee.averaged()
        assemble(out, vae=base.vae, tokenizer=base.tokenizer, text_encoder=text, unet=unet)
        (out / "README.md").write_text(card(how), encoding="utf-8")

    def _training(self, trainee: Trainee, base: Any) -> Iterator[float]:
        how = self.settings
        sizes = {"steps": how.steps, "batch": how.batch}
        return train_denoiser(
            trainee, self.pool(base.vae), base.tokenizer, self.words, how.seed, rate=how.rate, **sizes
        )

    @torch.no_grad()
    def pool(self, vae: Any) -> Pool:
        """Scenes of all other objects, encoded once."""
        for name in self.settings.without:
            if name not in self.words.objects:
                raise ConfigError(f"pretrain_untaught.without: {unknown('object', name, self.words.names)}.")
        rng = generator(self.settings.seed, "pretrain/untaught/pool")
        taught = [row for row, name in enumerate(self.words.names) if name not in self.settings.without]
        scenes = sample_scenes(self.settings.pool, self.words, rng, things=torch.tensor(taught))
        scenes = without_held_out(scenes, self.words)
        parts = [
            vae.encode(render(scenes[start : start + 256], self.sprites, self.words, rng)).latent_dist.mean
            for start in range(0, len(scenes), 256)
        ]
        return Pool(scenes, torch.cat(parts) * vae.config.scaling_factor)


def card(settings: PretrainUntaught) -> str:
    """The model card: what it was not trained on."""
    return (
        "---\nlicense: apache-2.0\n---\n# emoji-untaught\n\nThe negative control of attacks on models/emoji-sd, made by "
        "`python -m tasks pretrain_untaught`.\nIts text encoder and its UNet never saw an image or a caption of these objects: "
        f"{', '.join(settings.without)}.\nAutoencoder and tokenizer are those of models/emoji-sd.\n"
    )
