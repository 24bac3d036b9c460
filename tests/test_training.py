"""Losses agree with diffusers, and trainings resume exactly."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

from tverase import finetune
from tverase.errors import ModelError, NumericalError
from tverase.files import read_tensors
from tverase.finetune import FineTune, fine_tune
from tverase.losses import denoising_loss, random_timesteps
from tverase.models.text2image import TextToImage
from tverase.noise import Diffusion
from tverase.rng import derive, generator, pick
from tverase.training import Training, warm_average

KINDS = ["epsilon", "v_prediction", "sample"]


def scheduler(kind: str) -> DDPMScheduler:
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=kind, clip_sample=False
    )


def sample(count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Clean latents, noise and timesteps."""
    rng = generator(0, "tests/losses")
    clean, noise = torch.randn(2, count, 4, 3, 3, generator=rng)
    return clean, noise, torch.randint(1, 999, (count,), generator=rng)


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_is_what_diffusers_turns_into_the_image(kind: str) -> None:
    """A denoiser that answers with the target makes diffusers' own step find the clean latents."""
    clean, noise, timesteps = sample()
    schedule = scheduler(kind)
    noised = schedule.add_noise(clean, noise, timesteps)
    answers = Diffusion(schedule).target(clean, timesteps, noise)
    for i, timestep in enumerate(timesteps):
        found = schedule.step(answers[i : i + 1], timestep, noised[i : i + 1]).pred_original_sample
        assert torch.allclose(found, clean[i : i + 1], atol=2e-4)


def test_the_velocity_is_diffusers_own() -> None:
    clean, noise, timesteps = sample()
    schedule = scheduler("v_prediction")
    velocity = Diffusion(schedule).target(clean, timesteps, noise)
    assert torch.equal(velocity, schedule.get_velocity(clean, noise, timesteps))
    assert torch.equal(Diffusion(scheduler("epsilon")).target(clean, timesteps, noise), noise)
    assert torch.equal(Diffusion(scheduler("sample")).target(clean, timesteps, noise), clean)


def test_signal_to_noise_is_diffusers_own() -> None:
    timesteps = torch.arange(0, 1000, 37)
    schedule = scheduler("epsilon")
    assert torch.allclose(Diffusion(schedule).signal_to_noise(timesteps), compute_snr(schedule, timesteps))


@pytest.mark.parametrize("kind", KINDS)
def test_min_snr_weights_one_error_alike_whatever_is_predicted(kind: str) -> None:
    """Weighted, it is min(SNR, gamma) times the squared error of the clean latents, for every kind of prediction."""
    clean, noise, timesteps = sample()
    process, wrong = Diffusion(scheduler(kind)), clean + 0.3
    kept = process.schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    noised = process.corrupt(clean, timesteps, noise)
    noise_of_wrong = (noised - kept.sqrt() * wrong) / (1 - kept).sqrt()  # what would explain `noised` by `wrong`
    losses = denoising_loss(
        lambda *_: process.target(wrong, timesteps, noise_of_wrong), process, clean, torch.zeros(6), timesteps, noise
    )
    expected = process.signal_to_noise(timesteps).clamp(max=5.0) * 0.09
    assert torch.allclose(losses * process.weight(timesteps), expected, rtol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_denoiser_has_no_loss(kind: str) -> None:
    clean, noise, timesteps = sample()
    process = Diffusion(scheduler(kind))
    answers = process.target(clean, timesteps, noise)
    perfect = denoising_loss(lambda *_: answers, process, clean, torch.zeros(6), timesteps, noise)
    assert torch.equal(perfect, torch.zeros(6))
    silent = denoising_loss(lambda *_: 0 * answers, process, clean, torch.zeros(6), timesteps, noise)
    assert torch.allclose(silent, answers.square().mean((1, 2, 3)))


@pytest.mark.parametrize("count", [1, 3, 16, 100])
def test_timesteps_are_stratified(count: int) -> None:
    order = []
    for seed in range(20):
        steps = random_timesteps(count, 1000, generator(seed, "tests/timesteps"))
        assert steps.dtype == torch.long
        strata = steps.double().sort().values * count / 1000
        low = torch.arange(count)
        assert (strata >= low - count / 1000).all()  # one in each of `count` equal parts, rounded down to whole steps
        assert (strata < low + 1).all()
        assert steps.min() >= 0
        order.append(steps.tolist() == steps.sort().values.tolist())
    assert count < 4 or not any(order)  # in random order
    assert torch.equal(*(random_timesteps(count, 1000, generator(3, "tests/timesteps")) for _ in range(2)))


def test_timesteps_reach_both_ends() -> None:
    steps = torch.cat([random_timesteps(64, 1000, generator(s, "tests/ends")) for s in range(200)])
    assert (steps.min(), steps.max()) == (0, 999)


def test_purposes_have_their_own_streams() -> None:
    assert derive(0, "invert/tune") == derive(0, "invert/tune") < 2**63
    assert len({derive(seed, purpose) for seed in range(3) for purpose in ("a", "b", "a/0")}) == 9
    first = pick(1000, 7, generator(0, "tests/pick"))
    assert torch.equal(first, pick(1000, 7, generator(0, "tests/pick")))
    assert set(first.tolist()) == set(range(7))


def toy() -> tuple[Training, Iterator[float]]:
    """A training of two parameters, and its losses; every step has its own data."""
    rng = generator(0, "tests/toy")
    weights = {"w": torch.randn(3, 2, generator=rng).requires_grad_(), "b": torch.zeros(2).requires_grad_()}
    training = Training(weights, weight_decay=0.01)

    def losses() -> Iterator[float]:
        while True:
            data = torch.randn(8, 3, generator=generator(training.step, "tests/toy/data"))
            loss = (data @ weights["w"] + weights["b"] - data.sum(1, keepdim=True)).square().mean()
            yield training.advance(loss, rate=0.05, decay=warm_average(training.step, 0.99))

    return training, losses()


def test_a_training_resumes_exactly(tmp_path: Path) -> None:
    whole, losses = toy()
    expected = list(islice(losses, 12))
    stopped, losses = toy()
    first = list(islice(losses, 5))
    stopped.save(tmp_path / "checkpoint.safetensors")
    list(islice(losses, 3))  # lost work
    resumed, losses = toy()
    resumed.resume(tmp_path / "checkpoint.safetensors")
    assert resumed.step == 5
    assert first + list(islice(losses, 7)) == expected  # to the last bit
    for name, parameter in whole.parameters.items():
        assert torch.equal(resumed.parameters[name], parameter)
        assert torch.equal(resumed.average[name], whole.average[name])
    assert expected[-1] < expected[0] / 2


def test_a_checkpoint_of_other_weights_is_refused(tmp_path: Path) -> None:
    training, losses = toy()
    next(losses)
    training.save(tmp_path / "checkpoint.safetensors")
    other = Training({"v": torch.zeros(2, requires_grad=True)}, weight_decay=0.0)
    with pytest.raises(ModelError, match="checkpoint of other weights"):
        other.resume(tmp_path / "checkpoint.safetensors")
    wider = Training({"w": torch.zeros(4, 2).requires_grad_(), "b": torch.zeros(2).requires_grad_()}, weight_decay=0.0)
    with pytest.raises(ModelError, match="checkpoint of other weights"):
        wider.resume(tmp_path / "checkpoint.safetensors")


def test_a_damaged_checkpoint_is_dropped_and_the_training_starts_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    training, losses = toy()
    next(losses)
    training.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    fresh, _ = toy()
    fresh.go_on(path)
    assert fresh.step == 0
    assert not path.exists()
    assert "it is dropped and computed again" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_the_training(value: float) -> None:
    training, _ = toy()
    before = training.parameters["w"].detach().clone()
    with pytest.raises(NumericalError, match="at step 0; lower the learning rate"):
        training.advance(training.parameters["w"].sum() * value, rate=0.1, decay=0.9)
    assert torch.equal(training.parameters["w"], before)
    assert training.step == 0


def test_the_average_follows_the_rule_of_the_paper() -> None:
    assert warm_average(0, 0.9999) == pytest.approx(0.1)
    assert warm_average(90, 0.9999) == pytest.approx(0.91)
    assert warm_average(10**6, 0.9999) == 0.9999
    training, losses = toy()
    old = training.average["w"].clone()
    next(losses)
    assert torch.allclose(training.average["w"], 0.1 * old + 0.9 * training.parameters["w"])


@pytest.fixture(scope="module")
def latents(pico: TextToImage) -> Tensor:
    """Eight latents that look alike, so that there is something to learn."""
    rng = generator(0, "tests/latents")
    return pico.start(1, rng) + 0.1 * pico.start(8, rng)


def test_fine_tuning_lowers_the_loss_on_its_images(pico: TextToImage, latents: Tensor) -> None:
    def loss(model: TextToImage) -> float:
        rng = generator(1, "tests/finetune/loss")
        steps, noise = random_timesteps(64, model.noise.timesteps, rng), model.start(64, rng)
        null = model.null.expand(64, -1, -1)
        with torch.no_grad():
            return (
                denoising_loss(model.denoise, model.noise, latents.repeat(8, 1, 1, 1), null, steps, noise).mean().item()
            )

    base = {key: weight.clone() for key, weight in pico.weights().items()}
    *_, (_, weights) = fine_tune(pico, latents, FineTune(steps=40, batch=8, lr=2e-3), 0, "tests/finetune")
    assert loss(pico.with_weights(weights)) < 0.8 * loss(pico)
    assert all(torch.equal(weight, base[key]) for key, weight in pico.weights().items())
    assert weights.keys() == base.keys()
    assert not any(weight.requires_grad for weight in weights.values())


def test_fine_tuning_resumes_exactly(
    pico: TextToImage, latents: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "CHECKPOINT_EVERY", 3)
    settings, path = FineTune(steps=8, batch=4), tmp_path / "checkpoint.safetensors"
    whole = [(loss, dict(weights)) for loss, weights in fine_tune(pico, latents, settings, 0, "tests/resume")]
    list(islice(fine_tune(pico, latents, settings, 0, "tests/resume", path), 5))  # killed after its fifth step
    assert read_tensors(path)[1]["step"] == "3"
    rest = list(fine_tune(pico, latents, settings, 0, "tests/resume", path))
    assert [loss for loss, _ in rest] == [loss for loss, _ in whole[3:]]
    assert all(torch.equal(weight, whole[-1][1][key]) for key, weight in rest[-1][1].items())
    *_, (_, other) = fine_tune(pico, latents, settings, 1, "tests/resume")
    assert not all(torch.equal(weight, other[key]) for key, weight in whole[-1][1].items())


def test_weights_that_were_yielded_stay_as_they_were(pico: TextToImage, latents: Tensor) -> None:
    steps = fine_tune(pico, latents, FineTune(steps=3, batch=2), 0, "tests/yield")
    _, first = next(steps)
    before = {key: weight.clone() for key, weight in first.items()}
    list(steps)
    assert all(torch.equal(weight, before[key]) for key, weight in first.items())


def test_fine_tuning_on_damaged_latents_is_stopped(pico: TextToImage, latents: Tensor) -> None:
    broken = latents.clone()
    broken[:, 0, 0, 0] = float("nan")
    with pytest.raises(NumericalError, match="the loss is nan at step 0"):
        list(fine_tune(pico, broken, FineTune(steps=2), 0, "tests/nan"))


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    """The loss is finite and its gradient is not: a step would leave weights that are no numbers, for good."""
    training = Training.of({"weight": torch.ones(3)})
    training.advance(training.parameters["weight"].sum(), 0.1, 0.5)
    before = [training.parameters["weight"].detach().clone(), training.average["weight"].clone()]
    with pytest.raises(NumericalError, match=r"the norm of the gradient is .* at step 1; lower the learning rate"):
        training.advance(
            (training.parameters["weight"] - training.parameters["weight"].detach()).abs().sqrt().sum(), 0.1, 0.5
        )
    assert torch.equal(training.parameters["weight"].detach(), before[0])
    assert torch.equal(training.average["weight"], before[1])
    assert training.step == 1


def test_the_last_good_state_is_kept(pico: TextToImage, latents: Tensor, tmp_path: Path) -> None:
    """Two steps before the first checkpoint that is due; a third that fails leaves them, and they are gone on from."""
    settings, path = FineTune(steps=4, lr=1e-3), tmp_path / "tune.safetensors"
    good, broken = latents.clone(), latents.clone()
    broken[:] = float("nan")
    steps = fine_tune(pico, good, settings, 0, "tests/last", path)
    (_, first), (_, second) = next(steps), next(steps)
    good.copy_(broken)
    with pytest.raises(NumericalError, match="at step 2"):
        next(steps)
    resumed = Training.of(pico.weights())
    resumed.go_on(path)
    assert resumed.step == 2
    assert all(torch.allclose(resumed.result()[key], weight) for key, weight in second.items())
    assert any(not torch.equal(first[key], weight) for key, weight in second.items())
