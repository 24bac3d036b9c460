"""Adversarial training of the text encoder: a prompt with an adversarial token in front is answered as ESD's target.

min over the encoder's weights w: E ||eps(x_t, t, E_w([d; c])) - (eps(x_t, t, "") - negative * (eps(x_t, t, c) - eps(x_t, t,
"")))||^2 + weight * E ||eps(x_t, t, E_w(r)) - eps(x_t, t, E_0(r))||^2, with r of the retain set. The token d minimises
||eps(x_t, t, E_w([d; c])) - eps(x_t, t, c)||^2 for the weights of this step, by sign gradients from a random word. The denoiser
stays as it is.

The paper trains 1,000 steps of 5 retain prompts at lr 1e-5 on SD 1.4 with weight 0.3, and from step 200 on attacks with 30
steps of 1e-3, 0.07 of the root mean square of CLIP's word embeddings. Here steps and attacks are fewer, and all of the
encoder's layers are trained, as in the paper.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from ..concepts import Concept, halves
from ..models.base import Conditioning, Model, repeated
from ..rng import generator, pick
from ..settings import Settings
from ..training import Training
from ..vector import StateDict
from .base import Material
from .encoder import EditedEncoder, encoded, encoder_of, encoding_with
from .teaching import Noised, Steps, last, noised

PAPER = "Zhang et al., 2024, arXiv:2405.15234"


class AdvUnlearn(Settings):
    """How long the encoder is trained, and how hard it is attacked meanwhile."""

    steps: PositiveInt = 60  # for each concept
    batch: int = Field(default=16, ge=2)  # half of it learns, half is held
    lr: PositiveFloat = 1e-4
    negative: NonNegativeFloat = 1.0  # how far beyond the unconditional answer
    retain_weight: NonNegativeFloat = 0.3
    warm_up: NonNegativeInt = 10  # steps before the first attack
    attack_steps: NonNegativeInt = 5
    attack_step: PositiveFloat = 0.3  # in root mean squares of the word embeddings

    def run(self, material: Material) -> EditedEncoder:
        """One encoder for all concepts, which take turns."""
        encoder = encoder_of(material.model)
        before = {name: weight.detach() for name, weight in encoder.named_parameters()}
        steps = self.steps * len(material.concepts)
        weights = last(self._trained(material, before, steps), steps, material, "training the text encoder", before)
        return EditedEncoder({name: weight.detach().clone() for name, weight in weights.items()})

    def _trained(self, material: Material, before: StateDict, steps: int) -> Steps:
        lesson, training = Lesson.of(material, self), Training.of(before)
        student = encoding_with(material.model, training.parameters)
        for step in range(steps):
            rng = generator(material.seed, f"adv-unlearn/{step}")
            concept = material.concepts[step % len(material.concepts)]
            learned = lesson.erasing(student, concept, rng, attacked=step >= self.warm_up)
            loss = learned + self.retain_weight * lesson.keeping(student, rng)
            yield training.advance(loss, self.lr, 0.0), training.parameters


PLUGIN = AdvUnlearn


@dataclass(frozen=True)
class Lesson:
    """The two terms of the loss. prompts: the caption of each retain image."""

    material: Material
    settings: AdvUnlearn
    prompts: Sequence[str]

    @classmethod
    def of(cls, material: Material, settings: AdvUnlearn) -> "Lesson":
        """The caption of a retain image is the tuning prompt whose conditioning is the nearest to the one that drew it."""
        texts = [prompt.text for prompt in halves(material.concepts)[0]]
        known = material.model.encode(texts).flatten(1)
        nearest = torch.cdist(material.retain_cond.flatten(1), known).argmin(1).tolist()
        return cls(material, settings, [texts[i] for i in nearest])

    def keeping(self, student: Model, rng: torch.Generator) -> Tensor:
        """The distance between the answers through both encoders, on retain images with their captions."""
        model, half = self.material.model, self.settings.batch // 2
        x, timesteps, which = noised(model, self.material.retain_latents, half, rng)
        prompts = [self.prompts[i] for i in which.tolist()]
        with torch.no_grad():
            kept = model.denoise(x, timesteps, model.encode(prompts))
        return (student.denoise(x, timesteps, encoded(student, prompts)) - kept).square().mean()

    def erasing(self, student: Model, concept: Concept, rng: torch.Generator, *, attacked: bool) -> Tensor:
        """The distance to ESD's target, under one of the names or behind the token that an attack finds for it."""
        model, half, how = self.material.model, self.settings.batch // 2, self.settings
        name = concept.names[int(pick(1, len(concept.names), rng))]
        batch = noised(model, self.material.latents[concept.name], half, rng)
        x, timesteps, _ = batch
        with torch.no_grad():
            drawn = model.denoise(x, timesteps, repeated(model.encode([name]), half))
            without = model.denoise(x, timesteps, repeated(model.null, half))
        target = without - how.negative * (drawn - without)
        if attacked and how.attack_steps:
            cond = self.adversarial(student, name, batch, drawn, rng)
        else:
            cond = encoded(student, [name])
        return (student.denoise(x, timesteps, repeated(cond, half)) - target).square().mean()

    def adversarial(
        self, student: Model, name: str, batch: Noised, drawn: Tensor, rng: torch.Generator
    ) -> Conditioning:
        """The conditioning (1, ...) of the name behind the last of `attacked`'s tokens."""
        *_, (_, point) = self.attacked(student, name, batch, drawn, rng)
        return student.space(f"{{}} {name}").cond(point)

    def attacked(
        self, student: Model, name: str, batch: Noised, drawn: Tensor, rng: torch.Generator
    ) -> Iterator[tuple[float, Tensor]]:
        """Yields (loss, token after the step) of the attack: it brings the answer near to `drawn`, the base model's."""
        space, table = student.space(f"{{}} {name}"), student.token_embedding.weight.detach()  # type: ignore[attr-defined]
        size = table.square().mean().sqrt()
        point = table[pick(1, len(table), rng)].clone()
        for _ in range(self.settings.attack_steps):
            point.requires_grad_()
            answer = student.denoise(batch.latents, batch.timesteps, repeated(space.cond(point), len(drawn)))
            loss = (answer - drawn).square().mean()
            (gradient,) = torch.autograd.grad(loss, [point])
            point = (point - self.settings.attack_step * size * gradient.sign()).detach()
            yield loss.item(), point
