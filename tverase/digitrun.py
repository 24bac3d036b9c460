"""Settings of the digit experiment, and the vectors that it compares."""

from collections.abc import Iterator, Sequence
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from .digitrepair import DigitRepair, repair_digit
from .erasers.resteer import Resteer, esd, resteer
from .finetune import FineTune, fine_tune
from .inversion.diverse import WHOLE, Bin, Invert
from .models.base import repeated
from .models.digits import CLASSES, Digits
from .pretrain.digits import PretrainDigits
from .progress import Progress, Tell, silent
from .rng import generator
from .sampling import Sampling, draw_latents
from .settings import Settings
from .strength import Strength
from .unconditional import Unconditional
from .vector import StateDict, TaskVector
from .vectors.agreement import agree

Method = Literal["random", "repaired", "true", "resteer", "esd"]
Steps = Iterator[tuple[float, StateDict]]  # of one training: the loss and the weights so far
TASK_VECTORS: tuple[Method, ...] = ("random", "repaired", "true")
PAPER_ALPHAS: dict[Method, tuple[float, ...]] = {"random": (1.1, 1.3, 1.5, 1.7, 1.9, 2.1), "true": (3.5, 3.9, 4.3)}


# The settings of the main job with the digits' own defaults, so that params.yaml may change one and keep the others.
class DigitFineTune(FineTune):
    """How a digit's theta_ft is made; copies are merged by sign agreement. There is one digit and no control."""

    steps: PositiveInt = 100
    control: Literal[False] = False
    joint: Literal[False] = False


class DigitSampling(Sampling):
    """How digits are drawn: the model has its guidance in its weights."""

    steps: PositiveInt = 4
    guidance: NonNegativeFloat = 1.0
    batch: PositiveInt = 256


class DigitInvert(Invert):
    """How codes are searched. Ranges of the cosine to the digit's own code; the other digits' codes lie at about 0.2."""

    bins: tuple[Bin, ...] = ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.9), (0.95, 0.98))
    per_bin: PositiveInt = 2
    steps: PositiveInt = 60
    lr: PositiveFloat = 0.05
    batch: PositiveInt = 8
    template: str = "{}"
    # Four steps draw a digit, so that the last of them decide as well, and a code is found soon: nobody leaves early.
    look: NonNegativeInt = 0
    noise: tuple[float, float] = WHOLE["noise"]
    weigh: Literal["evenly", "min_snr"] = WHOLE["weigh"]
    # A code is all that this model hears, so there is nothing to choose between.
    space: Literal["tokens"] = "tokens"
    tokens: Literal[1] = 1


class DigitStrength(Strength):
    """The paper's measure is the worst input, so the rule is stricter than for pictures."""

    epsilon: float = Field(default=0.1, gt=0, lt=1)
    delta: float = Field(default=0.05, gt=0, le=1)
    alpha_max: PositiveFloat = 5.0
    first: PositiveFloat = 1.0
    control_images: PositiveInt = 900
    adaptive: NonNegativeInt = 0  # the truth is known here, and not to be mixed with what picks the strength
    round: PositiveInt = 16
    rounds: PositiveInt = 12  # an input that now and then draws the digit needs more images than one that never does


class Vectors(Settings):
    """How the vectors are made."""

    methods: tuple[Method, ...] = ("random", "repaired", "true", "resteer", "esd")
    images: PositiveInt = 200  # of the digit, drawn by the model itself
    anything: PositiveInt = 400  # of all digits, for the input-dependent methods
    finetune: DigitFineTune = DigitFineTune()
    repair: DigitRepair = DigitRepair()
    resteer: Resteer = Resteer()

    @model_validator(mode="after")
    def _something_to_repair(self) -> Self:
        if "repaired" in self.methods and "random" not in self.methods:
            given = "digits.vectors.methods has `repaired` without `random`, whose vector is what is repaired"
            raise ValueError(f"{given}; list both, or leave `repaired` out")
        return self


class DigitRun(Settings):
    """The experiment of flows/unconditional_safety.py on one digit."""

    digit: int = Field(default=0, ge=0, le=9)
    model: str = "models/digits"
    sampling: DigitSampling = DigitSampling()
    pretrain: PretrainDigits = PretrainDigits()
    vectors: Vectors = Vectors()
    invert: DigitInvert = DigitInvert()
    strength: DigitStrength = DigitStrength()
    unconditional: Unconditional = Unconditional()


def make_vectors(
    model: Digits, digit: int, settings: Vectors, sampling: Sampling, seed: int, tell: Tell = silent
) -> dict[Method, TaskVector]:
    """The vectors of `settings.methods`.

    `random` and `true`: fine-tuned on self-drawn images of the digit under random labels or under its own (Pham et al.,
    2024), erase at a strength to be found; `repaired` is the former after a distillation that gives the other digits back.
    `resteer`: the digit's label draws the next digit. `esd`: away from it. These two erase at strength 1.
    """
    own, other = model.codes[digit : digit + 1], model.codes[(digit + 1) % len(CLASSES)][None]
    keep = model.codes[[i for i in range(len(CLASSES)) if i != digit]]
    latents = draw_latents(model, repeated(own, settings.images), generator(seed, "vectors/images"), sampling)
    labels = model.codes.repeat(settings.anything // len(CLASSES) + 1, 1)[: settings.anything]
    anything = draw_latents(model, labels, generator(seed, "vectors/anything"), sampling)

    def tuned(method: Method, labels: Tensor) -> list[Steps]:
        copies = settings.finetune.each_copy(f"vectors/{method}")
        return [fine_tune(model, latents, how, seed, purpose, labels=labels) for purpose, how in copies]

    trainings: dict[Method, Sequence[Steps]] = {
        "random": tuned("random", model.codes),
        "true": tuned("true", own),
        "resteer": [resteer(model, own, other, anything, keep, settings.resteer, seed)],
        "esd": [esd(model, own, anything, keep, settings.resteer, seed)],
    }
    vectors, base = dict[Method, TaskVector](), model.weights()
    for method in [m for m in settings.methods if m in trainings]:
        taught, found = method not in TASK_VECTORS, []
        total = settings.resteer.steps if taught else settings.finetune.steps
        for training in trainings[method]:
            for step, (loss, weights) in enumerate(training, 1):  # noqa: B007 - the last weights are the edited ones
                tell(Progress(f"training, {method}", step, total, f"loss {loss:.4f}"))
            found.append(TaskVector.between(base, weights))
        vectors[method] = (-1.0 if taught else 1.0) * agree(found)
    if "repaired" in settings.methods:
        given = vectors["random"], settings.images, settings.repair, sampling, seed
        vectors["repaired"] = vectors["random"]
        for done in repair_digit(model, digit, *given):
            vectors["repaired"] = done.vector
            tell(Progress("repairing", done.number, settings.repair.steps, f"loss {done.loss:.4f}"))
    return vectors
