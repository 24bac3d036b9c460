"""The digit world's networks, from MNIST: a judge and a diffusion model whose label is a point of the sphere."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from ..judges.base import NONE
from ..judges.cnn import CnnJudge, JudgeNet
from ..losses import denoising_loss, random_timesteps
from ..models.digits import CLASSES, Digits, DigitShape, new_digits
from ..progress import Progress, Tell, silent
from ..rng import derive, generator
from ..sampling import guided
from ..settings import Settings
from ..training import Training, warm_average
from ..world.mnist import DigitImages
from .denoiser import pace
from .judges import Sample, measured, roughen, spoil, train_net

PURPOSE = "pretrain_digits"
SILENT = 0.1  # share of samples without a label


class PretrainDigits(Settings):
    """How the digit model and its judge are made."""

    d: int = Field(
        default=4, ge=2
    )  # of the sphere that the codes lie on; in one dimension there are only two directions
    judge_steps: PositiveInt = 1200
    steps: PositiveInt = 9000
    batch: PositiveInt = 64
    rate: PositiveFloat = 1e-3
    guidance: PositiveFloat = 2.0  # that the finished model has in it, so that drawing costs one evaluation a step
    guidance_steps: NonNegativeInt = 1000
    guidance_rate: PositiveFloat = 3e-4
    seed: int = 0


@dataclass(frozen=True)
class DigitMaker:
    """Trains both; the denoiser leaves a checkpoint in `work` and resumes from it."""

    settings: PretrainDigits
    train: DigitImages
    test: DigitImages
    work: Path
    tell: Tell = silent

    def judge(self) -> CnnJudge:
        """A judge of digits with its accuracy on the test images; "none" is what shows no single digit."""
        steps = self.settings.judge_steps
        for done, (loss, net) in enumerate(train_judge(self.train, steps, self.settings.seed), 1):  # noqa: B007
            self.tell(Progress("digit judge", done, steps, f"loss {loss:.3f}"))
        unseen = Sample(self.test.images.expand(-1, 3, -1, -1), self.test.labels)
        return measured(net, "digit-cnn/1", (*CLASSES, NONE), unseen)

    def model(self, shape: DigitShape) -> Digits:
        """The trained model with its averaged weights."""
        settings, path = self.settings, self.work / "digits.safetensors"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(settings.seed, f"{PURPOSE}/weights") % 2**32)
            model = new_digits(shape)
        training = Training(_trained(model), weight_decay=1e-2)
        training.go_on(path)
        for loss in training.keeping(train_denoiser(model, training, self.train, settings), path):
            self.tell(Progress("digit model", training.step, settings.steps, f"loss {loss:.3f}"))
        model.unet.load_state_dict({n.removeprefix("unet."): w for n, w in training.average.items() if n != "into"})
        return self.guided(Digits(model.unet.eval().requires_grad_(False), model.codes, training.average["into"]))

    def guided(self, model: Digits) -> Digits:
        """The model that answers without guidance as `model` does with it."""
        settings, path = self.settings, self.work / "guided.safetensors"
        training = Training.of(model.weights())
        training.go_on(path)
        for loss in training.keeping(distil_guidance(model, training, self.train, settings), path):
            self.tell(Progress("guidance", training.step, settings.guidance_steps, f"loss {loss:.4f}"))
        model.unet.load_state_dict(training.average)
        return model


def _trained(model: Digits) -> dict[str, Tensor]:
    named = {f"unet.{name}": parameter for name, parameter in model.unet.named_parameters()}
    return named | {"into": model.into_time.requires_grad_()}


def train_denoiser(model: Digits, training: Training, data: DigitImages, settings: PretrainDigits) -> Iterator[float]:
    """Yields the loss of each step to `settings.steps`. Every step has its own random numbers, so it resumes exactly."""
    latents, process = model.to_latents(data.images), model.noise
    model.unet.train()
    while training.step < settings.steps:
        rng = generator(settings.seed, f"{PURPOSE}/{training.step}")
        which = torch.randint(len(data), (settings.batch,), generator=rng)
        clean = latents[which]
        loud = torch.rand(settings.batch, 1, generator=rng) >= SILENT
        timesteps = random_timesteps(settings.batch, process.timesteps, rng)
        noise = torch.randn(clean.shape, generator=rng)
        codes = model.codes[data.labels[which]] * loud
        losses = denoising_loss(model.denoise, process, clean, codes, timesteps, noise)
        loss = (losses * process.weight(timesteps)).mean()
        rate = settings.rate * pace(training.step, settings.steps)
        yield training.advance(loss, rate, warm_average(training.step, 0.999))


def distil_guidance(model: Digits, training: Training, data: DigitImages, settings: PretrainDigits) -> Iterator[float]:
    """Yields the loss of each step to `settings.guidance_steps`. Classifier-free guidance becomes part of the weights.

    Meng et al. (2023, arXiv:2210.03142), with one guidance instead of a range. The inputs are the codes, points anywhere
    on the sphere, and the null input, whose answer stays.
    """
    latents, process = model.to_latents(data.images), model.noise
    student = model.with_weights(training.parameters)
    while training.step < settings.guidance_steps:
        rng = generator(settings.seed, f"{PURPOSE}/guidance/{training.step}")
        which = torch.randint(len(data), (settings.batch,), generator=rng)
        timesteps = random_timesteps(settings.batch, process.timesteps, rng)
        noised = process.corrupt(latents[which], timesteps, torch.randn(latents[which].shape, generator=rng))
        anywhere, kind = model.space().anywhere(len(which), rng), torch.rand(len(which), 1, generator=rng)
        cond = torch.where(kind < 0.6, model.codes[data.labels[which]], anywhere) * (kind < 1 - SILENT)
        with torch.no_grad():
            null = model.denoise(noised, timesteps, torch.zeros_like(cond))
            wanted = guided(model.denoise(noised, timesteps, cond), null, settings.guidance)
        errors = (student.denoise(noised, timesteps, cond) - wanted).square().flatten(1).mean(1)
        loss = (errors * process.weight(timesteps)).mean()
        rate = settings.guidance_rate * pace(training.step, settings.guidance_steps)
        yield training.advance(loss, rate, warm_average(training.step, 0.995))


def train_judge(data: DigitImages, steps: int, seed: int, batch: int = 128) -> Iterator[tuple[float, JudgeNet]]:
    """Yields (loss, net) after each step; the last net is trained, still in training mode."""
    rng = generator(seed, f"{PURPOSE}/judge")
    part = batch // 30
    odd = 5 * part  # of each batch, what shows no digit

    def sample() -> Sample:
        which = torch.randint(len(data), (batch,), generator=rng)
        good = _moved(data.images[which[odd:]], rng)
        others = data.images[torch.randint(len(data), (4 * part,), generator=rng)]
        bad = spoil(others.expand(-1, 3, -1, -1), part, rng)
        images = roughen(torch.cat([good.expand(-1, 3, -1, -1), bad]), rng)
        labels = torch.cat([data.labels[which[odd:]], torch.full((odd,), len(CLASSES))])
        return Sample(functional.interpolate(images, size=32, mode="area"), labels)

    yield from train_net(len(CLASSES) + 1, sample, derive(seed, f"{PURPOSE}/judge/weights"), steps)


def _moved(images: Tensor, rng: torch.Generator) -> Tensor:
    """Each image shifted by up to two pixels."""
    padded = functional.pad(images, (2, 2, 2, 2), value=-1.0)
    across, down = torch.randint(0, 5, (2, len(images)), generator=rng).tolist()
    return torch.stack([p[:, y : y + 28, x : x + 28] for p, x, y in zip(padded, across, down, strict=True)])
