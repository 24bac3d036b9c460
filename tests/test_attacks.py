"""An attack finds its words where there is something to find, keeps the weights as they are, and is repeatable."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from witness import SeesAll

from tverase.attacks.base import Finding, Target
from tverase.attacks.concept_inversion import ConceptInversion, concept_inversion
from tverase.defences import Defended, Smoothed
from tverase.evaluation import Budget, Examiner, Tried
from tverase.inversion.diverse import Invert
from tverase.inversion.sets import InversionSet
from tverase.losses import denoising_loss, random_timesteps
from tverase.models.base import Meter, repeated
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.spaces import cone
from tverase.spaces.base import InputSpace
from tverase.spaces.states import StateSpace
from tverase.vector import weights_hash
from tverase.world.concepts import concept
from tverase.world.vocabulary import vocabulary

SETTINGS = ConceptInversion(words=3, steps=30, batch=8, lr=0.2)


@pytest.fixture(scope="module")
def latents(pico: TextToImage) -> Tensor:
    return pico.start(8, generator(0, "tests/attacks"))


@pytest.fixture(params=["words", "states"])
def space(request: pytest.FixtureRequest, pico: TextToImage) -> InputSpace:
    """What is learned: a word, or all that the text encoder says of a prompt."""
    return pico.space("a {}") if request.param == "words" else StateSpace(pico)


def words(
    model: TextToImage,
    latents: Tensor,
    settings: ConceptInversion = SETTINGS,
    seed: int = 0,
    space: InputSpace | None = None,
) -> list[Tensor]:
    rng = generator(seed, "tests/attacks")
    rounds = concept_inversion(model, space or model.space("a {}"), "bomb", latents, settings, rng)
    return [found.points for found in rounds]


def fit(model: TextToImage, space: InputSpace, points: Tensor, latents: Tensor) -> float:
    """The denoising loss under these inputs, on one set of noise."""
    rng, total = generator(1, "tests/attacks/fit"), 0.0
    with torch.no_grad():
        for cond in space.cond(points):
            noise = torch.randn(64, *latents.shape[1:], generator=rng)
            timesteps = random_timesteps(64, model.noise.timesteps, rng)
            clean, conds = latents[torch.arange(64) % len(latents)], repeated(cond[None], 64)
            total += float(denoising_loss(model.denoise, model.noise, clean, conds, timesteps, noise).mean())
    return total


def test_the_inputs_learn(pico: TextToImage, latents: Tensor, space: InputSpace) -> None:
    found = words(pico, latents, space=space)
    assert len(found) == SETTINGS.steps
    assert fit(pico, space, found[-1], latents) < fit(pico, space, found[0], latents)


def test_states_are_what_the_encoder_says(pico: TextToImage) -> None:
    space, (low, high) = StateSpace(pico, "a red {}"), torch.tensor([[0.0, 0.9], [0.5, 0.95]])
    anchor = space.anchor("bomb")
    assert torch.equal(space.cond(anchor[None]), pico.encode(["a red bomb"]))
    begin = space.start(anchor, low, high, generator(0, "tests/states"))
    cosines = cone.cosine(begin, anchor)
    assert ((low - 1e-5 <= cosines) & (cosines <= high + 1e-5)).all()
    assert space.cond(begin).shape == (2, *pico.null.shape[1:])


def test_the_model_is_attacked_and_not_changed(pico: TextToImage, latents: Tensor) -> None:
    before = weights_hash(pico.weights())
    words(pico, latents)
    assert weights_hash(pico.weights()) == before


def test_words_leave_every_bin_if_they_like(pico: TextToImage, latents: Tensor) -> None:
    space = pico.space("a {}")
    first, *_, last = words(pico, latents)
    lengths = last.norm(dim=1) / first.norm(dim=1)
    assert (lengths - 1).abs().max() > 1e-3
    assert (cone.cosine(last, space.anchor("bomb")) - cone.cosine(first, space.anchor("bomb"))).abs().max() > 1e-3


def test_the_same_seed_finds_the_same_words(pico: TextToImage, latents: Tensor) -> None:
    short = SETTINGS.model_copy(update={"steps": 2})
    one, again, other = (words(pico, latents, short, seed)[-1] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    assert one.shape[0] == SETTINGS.words


def test_evaluations_are_counted(pico: TextToImage, latents: Tensor) -> None:
    model = replace(pico, meter=Meter())
    words(model, latents, SETTINGS.model_copy(update={"steps": 2}))
    assert model.meter.evaluations == 2 * SETTINGS.words * SETTINGS.batch


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_an_attack_is_learned_against_its_share_of_the_edit(pico: TextToImage, share: float) -> None:
    attacked = []

    class Spied(ConceptInversion):
        """The same, and keeps what it attacked."""

        def run(self, target: Target) -> Iterator[Finding]:
            attacked.append(target.model)
            yield from super().run(target)

    base, noise = pico.weights(), generator(0, "tests/attacks/share")
    erased = {key: weight + 0.05 * torch.randn(weight.shape, generator=noise) for key, weight in base.items()}
    how = Spied(words=2, steps=1, batch=1, images=2)
    edited = pico.with_weights(erased)
    behind = {"deaf": Defended(edited, Smoothed(pico.null, 1.0))}
    examiner = Examiner(pico, edited, SeesAll(), Sampling(steps=1), 0, 1, behind)
    none = InversionSet(torch.zeros(0, 16), (), "a {}")
    budget = Budget(none, Invert(), 3, 3)
    rows = list(examiner.rows(concept("bomb", vocabulary()), Tried("weaker", how, share), budget))
    assert [(row.kind, row.erased.trials, row.behind["deaf"].trials) for row in rows] == 2 * [("weaker", 3, 3)]
    of_mix, of_base, through = (model.weights() for model in attacked)
    assert [type(model) for model in attacked] == [type(pico), type(pico), Defended]  # who attacks knows of the defence
    assert all(torch.equal(through[key], weight) for key, weight in of_mix.items())
    for key, weight in base.items():
        assert torch.equal(of_base[key], weight)  # the base model itself: the positive control
        assert torch.allclose(of_mix[key], weight + share * (erased[key] - weight), atol=1e-6)
