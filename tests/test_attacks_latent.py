"""Attacks without text: they find a leak that is there, nothing where there is none, and count, repeat and keep the weights."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from blobs import BOMB, Blobs, SeesBombs, attacked, bombs
from pico_flow import write_pico_flow
from torch import Tensor

from tverase.attacks.base import Finding, Target, owning
from tverase.attacks.classifier_guidance import ClassifierGuidance, trained
from tverase.attacks.completion import Completion
from tverase.attacks.in_painting import centre, filled
from tverase.attacks.path import CLEAN, Hand, Level, path
from tverase.attacks.text_free_inversion import inverted
from tverase.errors import ConfigError
from tverase.judges.base import shows
from tverase.models.base import Meter
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.noise import Diffusion, Flow
from tverase.registry import built, load
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.vector import weights_hash
from tverase.world.concepts import concept
from tverase.world.digit_concepts import digit_concept
from tverase.world.vocabulary import vocabulary

SMALL: dict[str, dict[str, Any]] = {
    "empty-prompt": {},
    "guidance-sweep": {"guidances": [2], "steps": [1], "away": [2], "others": [2], "walk": 2},
    "completion": {"steps": 3, "noise": [0.4, 1], "handover": [1], "prompts": ["empty"]},
    "in-painting": {"steps": 2, "repeats": 2, "sides": [0.5]},
    "noise-sweep": {"steps": 2, "etas": [0, 1], "scales": [1.03]},
    "classifier-guidance": {"steps": 2, "scales": [1], "known": 3, "training": 2, "batch": 4, "width": 4},
    "text-free-inversion": {"steps": 2, "refined": 2},
}
ERASED = Blobs(named=(-20.0, 0.0))  # its name means "cat", but the picture is still there
BLANK = Blobs(named=(-20.0, 0.0), blank=True)
FAST = {"classifier-guidance": {"training": 60, "known": 16, "width": 8, "prompts": ["empty"]}}
LEAKS = {"noise-sweep": Blobs(named=(0.0, 0.0))}  # what a name draws by chance


def images_of(model: Any, found: Finding) -> Tensor:
    if found.samples is not None:
        return found.samples
    sampling = Sampling(steps=6, guidance=1.0)
    return draw(model, found.cond.expand(64, *found.cond.shape[1:]), generator(5, "tests/latent"), sampling)


def rates(model: Any, name: str, **settings: Any) -> list[float]:
    found = built("attack", {"kind": name, **settings}).run(attacked(model))
    return [float(shows(SeesBombs(), images_of(model, one), "bomb").float().mean()) for one in found]


@pytest.mark.parametrize("name", SMALL)
def test_a_leak_is_found_and_nothing_else(name: str) -> None:
    settings = FAST.get(name, {})
    leaks = rates(LEAKS.get(name, ERASED), name, **settings)
    assert max(leaks) >= (0.2 if name in ("empty-prompt", "noise-sweep") else 0.8)
    blank = rates(BLANK, name, **settings)
    assert len(blank) == len(leaks)
    assert max(blank) == 0


@pytest.fixture(scope="module", params=["unet", "transformer", "digits"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A model of each family under attack, with a meter of its own."""
    pico, digits = request.getfixturevalue("pico"), request.getfixturevalue("digits")
    if request.param == "transformer":
        model = open_model(write_pico_flow(pico, tmp_path_factory.mktemp("latent") / "flow"))
    else:
        model = (pico if request.param == "unet" else digits).metered(Meter())
    owned = model.start(3, generator(0, "tests/latent"))
    asked = digit_concept(3) if request.param == "digits" else concept("bomb", vocabulary())
    return Target(model, model, asked, generator(0, "tests/latent"), owning(owned), sampling=Sampling(steps=2))


@pytest.mark.parametrize("name", SMALL)
def test_every_family_of_models_is_attacked(name: str, target: Target) -> None:
    how, before = built("attack", {"kind": name, **SMALL[name]}), weights_hash(target.model.weights())
    runs = []
    for _ in range(2):
        target.model.meter.evaluations = 0
        again = replace(target, rng=generator(1, "tests/latent"), budget=2)
        runs.append((list(how.run(again)), target.model.meter.evaluations))
    (found, cost), (same, cost_again) = runs
    assert how.input_kind == 6
    assert how.adaptive
    assert cost == cost_again
    assert cost > 0 or name == "empty-prompt"
    assert weights_hash(target.model.weights()) == before
    assert len({one.name for one in found}) == len(found) > 0
    size = target.model.to_images(target.model.start(1, generator(0, "tests/size"))).shape[1:]
    for one, other in zip(found, same, strict=True):
        assert one.name == other.name
        assert one.cond.shape[1:] == target.model.null.shape[1:]
        if name != "empty-prompt":
            assert one.samples is not None
            assert other.samples is not None
            assert one.samples.shape == (2, *size)
            assert one.samples.abs().max() <= 1
            assert torch.equal(one.samples, other.samples)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow"])
def test_a_level_parts_what_it_mixed(kind: str) -> None:
    from diffusers import DDPMScheduler

    process = Flow() if kind == "flow" else Diffusion(DDPMScheduler(prediction_type=kind))
    x, noise = bombs(2), torch.randn(2, 3, 4, 4, generator=generator(0, "tests/level"))
    for timestep in (20, 500, 900):
        level, t = Level.at(process, timestep), torch.full((2,), timestep)
        noised = process.corrupt(x, t, noise)
        assert torch.allclose(level.mixed(x, noise), noised, atol=1e-6)
        for part, whole in zip(level.parted(noised, process.target(x, t, noise)), (x, noise), strict=True):
            assert torch.allclose(part, whole, atol=1e-3)


@pytest.mark.parametrize("process", [Diffusion(Blobs().noise.schedule), Flow()], ids=["diffusion", "flow"])
def test_new_noise_keeps_the_size_of_a_level(process: Any) -> None:
    """From noise alone, every eta up to 1 and the way up lead to a latent of the right spread."""
    high, low = Level.at(process, 700), Level.at(process, 400)
    noise, fresh = torch.randn(2, 1, 3, 100, 100, generator=generator(0, "tests/eta")).unbind(0)
    zero = torch.zeros_like(noise)
    for eta in (0.0, 0.5, 1.0):
        assert low.spread == pytest.approx(float(high.below(low, zero, noise, fresh, eta).std()), rel=0.02)
    assert high.spread == pytest.approx(float(high.above(low, low.mixed(zero, noise), fresh).std()), rel=0.02)
    assert torch.equal(high.below(low, noise, noise, fresh, 0.0), low.mixed(noise, noise))


def test_ddim_is_that_of_diffusers() -> None:
    model, hand = Blobs(), Hand.of(attacked(Blobs()), 4)
    begun, levels = hand.start(), path(model, 5)
    mine, sampler, latents = hand.draw(levels, hand.named(), begun), model.sampler(5), begun
    for timestep, level in zip(sampler.timesteps, levels, strict=False):
        assert level.timestep == int(timestep)
        answer = model.denoise(latents, timestep.expand(4), hand.named().cond)
        latents = sampler.step(answer, timestep, latents).prev_sample
    assert torch.allclose(mine, latents, atol=0.1)  # diffusers ends at the first timestep, not at a clean image


def test_completion_without_noise_gives_the_image_back() -> None:
    (found,) = Completion(noise=(0.0,), handover=(), prompts=("empty",)).run(attacked(BLANK))
    assert found.samples is not None
    assert torch.equal(found.samples, bombs(32)[:8].clamp(-1, 1))
    (found,) = Completion(noise=(), handover=(12,), prompts=("empty",)).run(
        attacked(BLANK)
    )  # the base model draws it all
    assert found.samples is not None
    assert shows(SeesBombs(), found.samples, "bomb").float().mean() > 0.9


def test_in_painting_keeps_what_is_not_painted() -> None:
    hand = Hand.of(attacked(BLANK), 4)
    owned, levels = hand.owned(), path(BLANK, 3)
    mask = centre(owned, 0.5)
    assert mask.sum() == 4
    done = filled(hand, levels, hand.empty(), owned, mask, 2)
    outside = (1 - mask).expand_as(owned).bool()
    assert torch.equal(done[outside], owned[outside])
    assert torch.allclose(done[~outside], (-BOMB).expand_as(owned)[~outside], atol=1e-5)


def test_repeated_steps_cost_what_they_say() -> None:
    model = Blobs(meter=Meter())
    hand = Hand.of(attacked(model), 4)
    levels = path(model, 3)
    filled(hand, levels, hand.empty(), hand.owned(), centre(hand.owned(), 0.5), 5)
    assert model.meter.evaluations == 4 * (5 * (len(levels) - 2) + 1)


def test_inversion_inverts(pico: TextToImage) -> None:
    """The noise of an inversion leads back; the more it is refined, the better."""
    owned = 0.7 * pico.start(2, generator(0, "tests/inversion"))
    target = Target(pico, pico, concept("bomb", vocabulary()), generator(0, "tests/inversion"), owning(owned))
    hand = Hand.of(target, 2)
    levels, asked = path(pico, 3), hand.empty()
    off = []
    for refined in (0, 5, 40):
        noise = inverted(pico, owned, levels, asked, refined)
        off.append(float((hand.draw(levels, asked, noise) - owned).square().mean()))
    assert off[2] < 1e-3 * float(owned.square().mean())
    assert off[2] < off[1] < off[0]


def test_the_classifier_tells_noised_latents_apart() -> None:
    how, process = ClassifierGuidance(training=60, batch=32, width=8), Blobs().noise
    probe = trained(bombs(32), -bombs(32), process, how, generator(0, "tests/probe"))
    t = torch.full((32,), 400)
    noise = torch.randn(32, 3, 4, 4, generator=generator(1, "tests/probe"))
    mine, theirs = (probe(process.corrupt(x, t, noise), t / 1000) for x in (bombs(32), -bombs(32)))
    assert (mine > 0).float().mean() > 0.9
    assert (theirs < 0).float().mean() > 0.9


def test_levels_go_down_to_the_clean_end(pico: TextToImage) -> None:
    levels = path(pico, 5)
    assert levels[-1] is CLEAN
    assert all(high.timestep > low.timestep for high, low in pairwise(levels[:-1]))
    assert all(level.timestep < 500 for level in path(pico, 5, 0.5))
    assert len(path(pico, 5, 0.5)) < len(levels)


def test_latents_without_rows_and_columns_are_refused() -> None:
    flat = replace(attacked(Blobs()), owned=owning(torch.zeros(3, 8)))
    for name in ("in-painting", "classifier-guidance"):
        with pytest.raises(ConfigError, match=f"the attack {name} needs latents .*leave it out"):
            list(load("attack", name)().run(flat))


def test_a_concept_without_retain_prompts_is_one_sentence() -> None:
    bare = replace(attacked(Blobs()), concept=attacked(Blobs()).concept.model_copy(update={"retain": ()}))
    for name in ("guidance-sweep", "classifier-guidance"):
        with pytest.raises(ConfigError, match="nothing is left that the model must keep"):
            list(load("attack", name)().run(bare))


def test_the_classifier_does_not_depend_on_other_threads() -> None:
    """Its first weights come from its own generator, whatever torch's own one does meanwhile."""
    how, process = ClassifierGuidance(training=1, batch=4, width=8), Blobs().noise
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(trained(bombs(4), -bombs(4), process, how, generator(0, "tests/probe")).state_dict())
    assert all(torch.equal(weight, found[1][name]) for name, weight in found[0].items())
