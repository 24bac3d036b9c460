"""The contract of every eraser of `tverase list erasers`: same seed same bytes, the base stays, names are known."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from erasing import material_of, of_digits
from torch import Tensor

from tverase.erasers.base import Guard, Material, erased
from tverase.errors import ModelError, NumericalError
from tverase.models.text2image import TextToImage
from tverase.progress import Progress
from tverase.registry import built, entries, load
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.vector import TaskVector, weights_hash

# As little work as the fields of an eraser allow.
LITTLE: dict[str, Any] = {
    "steps": 2, "batch": 4, "batches": 1, "images": 4, "sampling": {"steps": 2}, "rounds": 1, "round": {"steps": 1},
    "inversion_steps": 1, "inversion_batch": 1, "warm_up": 0, "attack_steps": 1, "samples": 4, "retain_batch": 2,
    "epochs": 1,
}  # fmt: skip
NAMES = sorted(entries("eraser"))


@cache
def settings(name: str) -> Any:
    fields = load("eraser", name).model_fields
    return built("eraser", {"kind": name} | {key: value for key, value in LITTLE.items() if key in fields})


class Results:
    """What each eraser returns for the shared material, computed once."""

    def __init__(self, model: TextToImage) -> None:
        self.model = model
        self.parts = {"unet": model.unet, "text_encoder": model.text_encoder, "vae": model.vae}
        self.before = self.hashes()
        self.found: dict[str, TaskVector | Guard] = {}
        self.told: dict[str, list[Progress]] = {}

    def hashes(self) -> dict[str, str]:
        return {name: weights_hash(dict(part.named_parameters())) for name, part in self.parts.items()}

    def of(self, name: str) -> TaskVector | Guard:
        if name not in self.found:
            self.told[name] = []
            self.found[name] = settings(name).run(material_of(self.model, tell=self.told[name].append))
        return self.found[name]


@pytest.fixture(scope="module")
def results(pico: TextToImage) -> Results:
    return Results(pico)


def images(model: TextToImage, by: TaskVector | Guard, alpha: float = 1.0) -> Tensor:
    """What the erased model draws; through all of it, text encoder and sampler."""
    edited = erased(model, by, alpha)
    return draw(edited, edited.encode(["a bomb", "an owl"]), generator(0, "tests/contract"), Sampling(steps=2))


@pytest.mark.parametrize("name", NAMES)
def test_the_base_model_stays_as_it_was(name: str, results: Results) -> None:
    results.of(name)
    assert results.hashes() == results.before
    for part in results.parts.values():
        assert not any(weight.requires_grad or weight.grad is not None for weight in part.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in part.modules())


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_has_parameters_of_the_model_and_finite_changes(name: str, results: Results) -> None:
    found, weights = results.of(name), results.model.weights()
    if not isinstance(found, TaskVector):
        assert callable(found.guarded)
        return
    assert found.delta.keys() <= weights.keys()
    assert all(delta.shape == weights[key].shape for key, delta in found.delta.items())
    assert all(delta.isfinite().all() for delta in found.delta.values())
    assert found.base == weights_hash(weights)
    assert found.norm() > 0


def same(one: TaskVector | Guard, other: TaskVector | Guard, model: TextToImage) -> bool:
    if isinstance(one, TaskVector) and isinstance(other, TaskVector):
        return weights_hash(one.delta) == weights_hash(other.delta)
    return torch.equal(images(model, one), images(model, other))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(name: str, results: Results) -> None:
    """Whatever the global generator says, which stays as it was."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again = settings(name).run(material_of(results.model))
    assert torch.equal(torch.get_rng_state(), state)
    assert type(again) is type(results.of(name))
    assert same(again, results.of(name), results.model)


@pytest.mark.parametrize("name", NAMES)
def test_the_erased_model_draws_and_strength_zero_changes_nothing(name: str, results: Results) -> None:
    found, model = results.of(name), results.model
    assert images(model, found).isfinite().all()
    nothing = TaskVector({})
    assert torch.equal(images(model, found, 0.0), images(model, nothing))
    assert results.hashes() == results.before


@pytest.mark.parametrize("name", NAMES)
def test_several_concepts(name: str, results: Results) -> None:
    found = settings(name).run(material_of(results.model, ["bomb", "skull"]))
    assert images(results.model, found).isfinite().all()
    assert not same(found, results.of(name), results.model)


TRAINED = [name for name in NAMES if "lr" in load("eraser", name).model_fields]


@pytest.mark.parametrize("name", NAMES)
def test_images_that_are_not_finite_never_become_a_result(name: str, results: Results) -> None:
    """An eraser that trains on them stops; one that reads no images does not notice."""
    material = material_of(results.model)
    broken: Mapping[str, Tensor] = {key: latents * torch.nan for key, latents in material.latents.items()}
    retain = material.retain_latents * torch.nan
    nan = Material(material.model, material.concepts, broken, retain, material.retain_cond, 0)
    try:
        found = settings(name).run(nan)
    except NumericalError:
        return
    assert images(results.model, found).isfinite().all()
    assert same(found, results.of(name), results.model)


@pytest.mark.parametrize("name", TRAINED)
def test_progress_is_told(name: str, results: Results) -> None:
    results.of(name)
    told = results.told[name]
    assert told
    assert all(0 <= one.done <= one.total for one in told)
    assert told[-1].done == told[-1].total


def test_the_trained_ones_are_there() -> None:
    assert {"esd", "esd-x", "salun", "stereo", "adv-unlearn", "tak", "tau-jp"} <= set(TRAINED)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_another_kind_is_served_or_refused_in_a_sentence(name: str, request: pytest.FixtureRequest) -> None:
    material = of_digits(request.getfixturevalue("digits"))
    refused = ""
    try:
        found = settings(name).run(material)
        edited = erased(material.model, found)
    except ModelError as error:
        refused = str(error)
    if refused:
        assert "; " in refused  # what to do
        assert refused.endswith(".")
    else:
        answer = edited.denoise(edited.start(1, generator(0, "tests/one")), torch.tensor([500]), edited.encode(["3"]))
        assert answer.isfinite().all()
