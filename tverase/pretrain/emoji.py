"""The embedded world's networks, from nothing: two judges, autoencoder, tokenizer, text encoder and UNet.

Every phase leaves a file in `work`; a phase whose file is there is not run again, and the long one resumes inside.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import PositiveFloat, PositiveInt

from ..errors import NumericalError
from ..files import write_json, writing
from ..judges.cnn import CnnJudge
from ..models.build import Shape, scheduler
from ..models.tokens import train_tokenizer
from ..models.writing import settle_defaults
from ..progress import Progress, Tell, silent
from ..rng import generator
from ..settings import Settings
from ..world.captions import captions
from ..world.scene import sample_scenes
from ..world.sprites import Sprites
from ..world.vocabulary import Vocabulary
from .autoencoder import pictures, set_scale, train_autoencoder
from .card import add_card
from .denoiser import Trainee, encode_pool, train_denoiser
from .judges import Kind, finished, train_judge


class Pretrain(Settings):
    """How the embedded model is made."""

    judge_steps: PositiveInt = 3000
    autoencoder_steps: PositiveInt = 2200
    steps: PositiveInt = 11000
    batch: PositiveInt = 64
    rate: PositiveFloat = 1e-3
    pool: PositiveInt = 24576
    seed: int = 0


@dataclass(frozen=True)
class Maker:
    """The makings of the embedded world's networks."""

    settings: Pretrain
    shape: Shape
    sprites: Sprites
    words: Vocabulary
    work: Path
    tell: Tell = silent

    def judge(self, kind: Kind) -> CnnJudge:
        """A trained judge, from `work` if it is there."""
        path = self.work / f"judge-{kind}.safetensors"
        if not path.exists():
            purpose, steps = f"pretrain/judge/{kind}", self.settings.judge_steps
            rng = generator(self.settings.seed, purpose)
            training = train_judge(kind, self.sprites, self.words, rng, steps=steps)
            *_, net = self._follow(f"{kind} judge", training, steps)
            test = generator(self.settings.seed, f"{purpose}/test")
            finished(kind, net, self.sprites, self.words, test).save(path)
        return CnnJudge.load(path)

    def autoencoder(self) -> Any:
        """The trained AutoencoderKL, from `work` if it is there."""
        from diffusers import AutoencoderKL

        path, steps = self.work / "vae", self.settings.autoencoder_steps
        if not path.exists():
            rng = generator(self.settings.seed, "pretrain/autoencoder")
            training = train_autoencoder(self.sprites, self.words, self.shape, rng, steps=steps)
            *_, vae = self._follow("autoencoder", training, steps)
            test = generator(self.settings.seed, "pretrain/autoencoder/scale")
            set_scale(vae.eval(), pictures(512, self.sprites, self.words, test))
            with writing(path) as aside:
                vae.save_pretrained(aside)
        return AutoencoderKL.from_pretrained(path).eval().requires_grad_(False)

    def tokenizer(self) -> Any:
        """A tokenizer that knows every word a caption can have."""
        rng = generator(self.settings.seed, "pretrain/tokenizer")
        return train_tokenizer(captions(sample_scenes(20000, self.words, rng), self.words, rng), self.shape.tokens)

    def denoiser(self, vae: Any, tokenizer: Any) -> tuple[Any, Any]:
        """Text encoder and UNet; a checkpoint in `work` is resumed."""
        settings = self.settings
        trainee, path = Trainee(self.shape, tokenizer, settings.seed), self.work / "denoiser.safetensors"
        trainee.training.go_on(path)
        self.tell(Progress("encoding the training images", 0, settings.pool))
        rng = generator(settings.seed, "pretrain/pool")
        pool = encode_pool(vae, settings.pool, self.sprites, self.words, rng)
        training = train_denoiser(
            trainee, pool, tokenizer, self.words, settings.seed,
            steps=settings.steps, batch=settings.batch, rate=settings.rate,
        )  # fmt: skip
        for loss in trainee.training.keeping(training, path):
            self._report("denoiser", loss, trainee.training.step, settings.steps)
        return trainee.averaged()

    def make(self, pipeline: Path, judges: Path) -> None:
        """All of it: a StableDiffusionPipeline folder and a folder of judges."""
        started = time.monotonic()
        judges.mkdir(parents=True, exist_ok=True)
        for kind in get_args(Kind):
            self.judge(kind).save(judges / f"{kind}.safetensors")
        vae, tokenizer = self.autoencoder(), self.tokenizer()
        text, unet = self.denoiser(vae, tokenizer)
        assemble(pipeline, vae=vae, tokenizer=tokenizer, text_encoder=text, unet=unet)
        add_card(pipeline)
        write_json(self.work / "times.json", {"seconds": round(time.monotonic() - started)})

    def _follow(self, what: str, training: Iterator[tuple[float, Any]], total: int) -> Iterator[Any]:
        for done, (loss, made) in enumerate(training, 1):
            self._report(what, loss, done, total)
            yield made

    def _report(self, what: str, loss: float, done: int, total: int) -> None:
        if loss != loss or loss == float("inf"):
            raise NumericalError(
                f"the loss of the {what} is {loss} at step {done}; lower `rate` of `Pretrain` and run again."
            )
        self.tell(Progress(what, done, total, f"loss {loss:.3f}"))


def assemble(folder: Path, *, vae: Any, tokenizer: Any, text_encoder: Any, unet: Any) -> None:
    """Write the parts as a StableDiffusionPipeline folder, weights in fp16 safetensors, that every library opens in float32."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with writing(folder) as aside:
        pipe.to(torch.float16).save_pretrained(aside, safe_serialization=True)
        settle_defaults(aside)
    pipe.to(torch.float32)
