"""Search adversarial words in rounds of erasing and textual inversion; then erase them all at once, from the base model.

Search: in each round ESD's target is taught under the names and all words found so far, and textual inversion finds one more
word that draws the concept with the model of that round. Erase: from the base model, under the names and all words, the
target is eps(x_t, t, "") + positive * (eps(x_t, t, a) - eps(x_t, t, "")) - negative * sum_i (eps(x_t, t, w_i) - eps(x_t, t,
"")), with the words w_i, an anchor a, and eps of the base model. All weights outside the cross-attention move.

The paper has four rounds of 200 steps at lr 5e-6 and of 3,000 steps of inversion, then 200 steps at lr 2e-5, with both scales
at 2.0, on SD 1.4. Here are three short rounds, whose words are subtracted at 2.0 in all. The anchor is the most similar retain
prompt, and the retain set is held as well.
"""

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from ..attacks.concept_inversion import ConceptInversion, concept_inversion
from ..concepts import Concept
from ..models.base import Conditioning, Model, repeated
from ..progress import Progress
from ..rng import generator, pick
from ..settings import Settings
from ..vector import StateDict, TaskVector
from .anchors import anchors
from .base import Material
from .teaching import CROSS, Loss, Steps, held, last, noised, taught, trained

PAPER = "Srivatsan et al., 2024, arXiv:2408.16807"


class Round(Settings):
    """The training of one round of the search."""

    steps: PositiveInt = 15
    lr: PositiveFloat = 2e-4


class Stereo(Settings):
    """How long is searched, and how long all that was found is erased."""

    rounds: PositiveInt = 3
    round: Round = Round()
    inversion_steps: PositiveInt = 40
    inversion_lr: PositiveFloat = 0.03
    inversion_batch: PositiveInt = 8
    steps: PositiveInt = 50
    batch: int = Field(default=16, ge=2)  # half of it learns, half is held
    lr: PositiveFloat = 2e-4
    negative: NonNegativeFloat = 0.67  # of each word
    positive: NonNegativeFloat = 2.0  # of the anchor
    anchor: str = ""  # a prompt; empty: the most similar prompt of the retain set
    retain_weight: NonNegativeFloat = 1.0

    def run(self, material: Material) -> TaskVector:
        """Each concept from the base model on; the vectors are added."""

        def train(concept: Concept) -> Steps:
            words = self.search(material, concept)
            anchor = anchors(material, concept, self.anchor)[:1]
            loss = self.loss(material, concept, words, self.negative, anchor)
            return trained(material.model, loss, self, material.seed, f"stereo/{concept.slug}", moved=outside)

        return taught(material, train, self.steps)

    def search(self, material: Material, concept: Concept) -> Conditioning:
        """The words of all rounds as conditionings (rounds, ...)."""
        model = material.model
        weights: StateDict = model.weights()
        words = material.names(concept)[:0]
        for number in range(1, self.rounds + 1):
            what = f"searching words of {concept.name}, round {number}"
            loss = self.loss(material, concept, words, 1.0)
            purpose = f"stereo/{concept.slug}/round {number}"
            rounds = trained(model.with_weights(weights), loss, self.round, material.seed, purpose, moved=outside)
            weights = last(rounds, self.round.steps, material, what, weights)
            weights = {name: weight.detach() for name, weight in weights.items()}
            words = torch.cat([words, self._word(material, concept, model.with_weights(weights), purpose)])
            material.tell(Progress(f"searching words of {concept.name}", number, self.rounds))
        return words

    def _word(self, material: Material, concept: Concept, model: Model, purpose: str) -> Conditioning:
        """The conditioning (1, ...) of one word that draws the concept with `model`."""
        how = ConceptInversion(
            words=1, steps=self.inversion_steps, batch=self.inversion_batch, lr=self.inversion_lr, noise=(0.0, 1.0)
        )
        space, rng = model.space(concept.template), generator(material.seed, f"{purpose}/inversion")
        *_, found = concept_inversion(model, space, concept.noun, material.latents[concept.name], how, rng)
        with torch.no_grad():
            return space.cond(found.points).detach()

    def loss(
        self,
        material: Material,
        concept: Concept,
        words: Conditioning,
        negative: float,
        anchor: Conditioning | None = None,
    ) -> Loss:
        """The distance to the target under the names and `words` (N, ...), on the concept's images; and what is held.

        Without an anchor the target subtracts the one word that a row is learned under, otherwise all of `words`.
        """
        model, half, latents = material.model, self.batch // 2, material.latents[concept.name]
        forget = torch.cat([model.encode(concept.names), words])

        def added(x: Tensor, timesteps: Tensor, cond: Conditioning, without: Tensor) -> Tensor:
            return model.denoise(x, timesteps, repeated(cond, len(x)) if len(cond) == 1 else cond) - without

        def loss(student: Model, rng: torch.Generator) -> Tensor:
            x, timesteps, _ = noised(model, latents, half, rng)
            own = forget[pick(half, len(forget), rng)]
            with torch.no_grad():
                without = model.denoise(x, timesteps, repeated(model.null, half))
                target = without.clone()
                for cond in [own] if anchor is None else [words[i, None] for i in range(len(words))]:
                    target -= negative * added(x, timesteps, cond, without)
                if anchor is not None:
                    target += self.positive * added(x, timesteps, anchor, without)
            learned = (student.denoise(x, timesteps, own) - target).square().mean()
            return learned + self.retain_weight * held(material, student, half, rng)

        return loss


def outside(name: str) -> bool:
    """Whether a parameter is outside the cross-attention."""
    return CROSS not in name.split(".")


PLUGIN = Stereo
