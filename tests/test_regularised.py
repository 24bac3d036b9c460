"""What holds a fine-tuning near its base, copies of it, and one of several concepts: alone, and as the steps make them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tasks import build_vector, finetune, make_images
from tverase import finetune as finetuning
from tverase.config import Params
from tverase.files import read_tensors, sha256
from tverase.finetune import FineTune, fine_tune
from tverase.losses import denoising_loss, random_timesteps
from tverase.models.base import repeated
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.training import Training, warm_average
from tverase.vector import StateDict, TaskVector
from tverase.vectors.agreement import agree

SMALL = FineTune(steps=4, batch=2, lr=1e-3)


@pytest.fixture(scope="module")
def latents(pico: TextToImage) -> Tensor:
    rng = generator(0, "tests/regularised")
    return pico.start(1, rng) + 0.1 * pico.start(6, rng)


def tuned(model: TextToImage, latents: Tensor, **options: Any) -> StateDict:
    *_, (_, weights) = fine_tune(model, latents, SMALL.model_copy(update=options), 0, "tests/tuned")
    return weights


def equal(first: StateDict, second: StateDict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def flat(weights: StateDict) -> Tensor:
    return torch.cat([weight.flatten() for weight in weights.values()])


def plain(model: TextToImage, latents: Tensor) -> StateDict:
    """The fine-tuning of the paper, written out: AdamW, clipping, a running average and nothing else."""
    weights = {name: weight.clone().requires_grad_() for name, weight in model.weights().items()}
    average, student = {name: w.detach().clone() for name, w in weights.items()}, model.with_weights(weights)
    optimiser = torch.optim.AdamW(list(weights.values()), lr=SMALL.lr, weight_decay=0.0, betas=(0.9, 0.99))
    process, null = model.noise, repeated(model.null, SMALL.batch)
    for step in range(SMALL.steps):
        rng = generator(0, f"tests/tuned/{step}")
        clean = latents[torch.randint(len(latents), (SMALL.batch,), generator=rng)]
        noise = torch.randn(clean.shape, generator=rng)
        timesteps = random_timesteps(SMALL.batch, process.timesteps, rng)
        losses = denoising_loss(student.denoise, process, clean, null, timesteps, noise)
        optimiser.zero_grad()
        torch.autograd.backward((losses * process.weight(timesteps)).mean())
        nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimiser.step()
        decay = warm_average(step, SMALL.average)
        average = {name: old.lerp(weights[name].detach(), 1 - decay) for name, old in average.items()}
    return average


def test_without_options_it_is_plain_fine_tuning_to_the_bit(pico: TextToImage, latents: Tensor) -> None:
    expected = plain(pico, latents)
    assert equal(tuned(pico, latents), expected)
    assert equal(tuned(pico, latents, weight_decay=0.0), expected)


def test_decay_leads_back_to_the_base_and_not_to_zero() -> None:
    start = {"w": torch.full((5,), 3.0), "b": torch.full((5,), -2.0)}
    training = Training.of(start, decay=2.0)
    with torch.no_grad():
        training.parameters["w"].add_(1.0)
    for _ in range(3):  # without a gradient only the pull moves anything
        training.advance(0 * sum(p.sum() for p in training.parameters.values()), rate=0.1, decay=0.0)
    assert torch.allclose(training.parameters["w"], 3.0 + torch.full((5,), 0.8**3))
    assert torch.equal(training.parameters["b"], start["b"])


def test_stronger_decay_gives_a_shorter_tau(pico: TextToImage, latents: Tensor) -> None:
    base = flat(pico.weights())
    lengths = [float((flat(tuned(pico, latents, weight_decay=d)) - base).norm()) for d in (0.0, 300.0, 900.0)]
    assert lengths[0] > 1.1 * lengths[1] > 1.2 * lengths[2] > 0


def test_with_a_decay_it_resumes_exactly(
    pico: TextToImage, latents: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "CHECKPOINT_EVERY", 2)
    settings = SMALL.model_copy(update={"steps": 6, "weight_decay": 10.0})
    path = tmp_path / "checkpoint.safetensors"

    def steps(checkpoint: Path | None = None) -> Iterator[tuple[float, StateDict]]:
        return fine_tune(pico, latents, settings, 0, "tests/resume", checkpoint)

    whole = list(steps())
    list(islice(steps(path), 3))
    rest = list(steps(path))
    assert [loss for loss, _ in rest] == [loss for loss, _ in whole[2:]]
    assert equal(rest[-1][1], whole[-1][1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Path:
    """A folder with the images of two concepts, and of one of them alone."""
    folder = tmp_path_factory.mktemp("copies")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for concepts in (["bomb"], ["bomb", "slot machine"]):
            make_images.STEP.execute(params(small_run, concepts))
    return folder


def params(small_run: dict[str, Any], concepts: list[str], **how: Any) -> Params:
    changed = {"finetune": {**small_run["finetune"], **how}, "concepts": concepts}
    return Params.parse({**small_run, **changed})


def made(given: Params) -> tuple[dict[str, str], TaskVector]:
    """The sha256 of every fine-tune, and the vector."""
    finetune.STEP.execute(given)
    build_vector.STEP.execute(given)
    files = sorted((given.out / "finetuned").iterdir())
    return {path.stem: sha256(path) for path in files}, TaskVector.load(given.out / "vector.safetensors")


def test_the_first_copy_is_what_one_fine_tune_is(
    place: Path, small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    small_run = {**small_run, "build_vector": {"weighting": "none"}}
    alone, _ = made(params(small_run, ["bomb"]))
    given = params(small_run, ["bomb"], copies=3)
    files, vector = made(given)
    assert set(files) == {"bomb", "bomb~1", "bomb~2"}
    assert len(set(files.values())) == 3
    assert files["bomb"] == alone["bomb"]
    read = {name: read_tensors(given.out / "finetuned" / f"{name}.safetensors")[0] for name in files}
    base, *copies = (pico_weights(small_run), *(read[f"bomb{sign}"] for sign in ("", "~1", "~2")))
    taus = [TaskVector.between(base, copy) for copy in copies]
    assert equal(vector.delta, agree(taus).delta)
    assert 0.1 < float((flat(vector.delta) == 0).float().mean()) < 0.9


def pico_weights(small_run: dict[str, Any]) -> StateDict:
    from tverase.models.folder import open_model

    return open_model(small_run["model"]).weights()


def test_one_fine_tune_of_all_concepts(place: Path, small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    both = ["bomb", "slot machine"]
    apart, total = made(params(small_run, both, joint=False))
    together, vector = made(params(small_run, both))
    assert (set(apart), set(together)) == ({"bomb", "slot-machine"}, {"bomb+slot-machine"})
    assert vector.norm() < 0.9 * total.norm()
    assert made(params(small_run, ["bomb"]))[0] == made(params(small_run, ["bomb"], joint=False))[0]
