"""The digit experiment's parts, on a tiny model of random weights and a judge that goes by brightness."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tverase import digitrun
from tverase.complexity import Halving
from tverase.concepts import halves
from tverase.digitrun import TASK_VECTORS, Method, Vectors, make_vectors
from tverase.errors import ConfigError
from tverase.judges.base import NONE
from tverase.models.base import Meter
from tverase.models.digits import CLASSES, Digits
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.spaces.sphere import grid
from tverase.unconditional import Ascent, Certify, Examined, Unconditional
from tverase.vector import StateDict, TaskVector
from tverase.world.digit_concepts import digit_concept

FAST = Sampling(steps=1, guidance=1.0, batch=256)
HALVING = Halving(first=1, finalists=2, fresh=5)
SMALL = Unconditional(
    complexities=(2, 3),
    authors=(2,),
    halving=HALVING,
    ascent=Ascent(inputs=5, images=1, kept=2, turns=(0.3,), children=2, steps=2, batch=1),
    certify=Certify(inputs=8, images=2),
    others=2,
    curve_at=2,
)


@dataclass(frozen=True)
class Listening(Digits):
    """A digit model that keeps the noise it starts from."""

    heard: list[Tensor] = field(default_factory=list)

    def start(self, count: int, rng: torch.Generator) -> Tensor:
        self.heard.append(super().start(count, rng))
        return self.heard[-1]


@dataclass
class Bright:
    """A judge for whom a digit is a range of brightness. It keeps what it saw."""

    cuts: Tensor  # ten of them: darker than the first is a 0, brighter than the last is nothing
    name: str = "bright/1"
    classes: tuple[str, ...] = (*CLASSES, NONE)
    accuracy: float = 1.0
    seen: list[Tensor] = field(default_factory=list)

    def kinds(self, images: Tensor) -> Tensor:
        return torch.bucketize(images.mean((1, 2, 3)), self.cuts)

    def probabilities(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return torch.nn.functional.one_hot(self.kinds(images), 11).float()

    @property
    def images(self) -> int:
        return sum(map(len, self.seen))


@pytest.fixture(scope="module")
def cuts(digits: Digits) -> Tensor:
    """What the model draws is every digit about equally often."""
    levels = Examined(digits, Bright(torch.zeros(10)), 0, FAST, 1).pictures(digits.codes[0], 200).mean((1, 2, 3))
    return levels.quantile(torch.arange(1, 11) / 11)


@pytest.fixture
def judge(cuts: Tensor) -> Bright:
    return Bright(cuts)


@pytest.fixture
def examined(digits: Digits, judge: Bright) -> Examined:
    return Examined(digits.metered(Meter()), judge, 3, FAST, 0)


@pytest.mark.parametrize("digit", [10, -1])
def test_no_digit_is_refused_with_those_that_there_are(digit: int) -> None:
    with pytest.raises(ConfigError, match=f"{digit} is no digit; choose one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"):
        digit_concept(digit)


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_is_a_concept_and_the_others_are_its_controls(digits: Digits, digit: int) -> None:
    concept = digit_concept(digit)
    assert torch.equal(digits.encode(concept.names), digits.codes[digit : digit + 1])
    assert sorted([concept.name, *(prompt.text for prompt in concept.retain)]) == list(CLASSES)
    assert all(prompt.labels == (prompt.text,) for prompt in concept.retain)
    assert halves([concept]) == (concept.retain, concept.retain)  # noise tells them apart, not the code


def test_counts_are_of_what_the_judge_sees(examined: Examined, judge: Bright) -> None:
    points = examined.model.codes[:4]
    hits = examined.count(points, 30, "tests")
    (seen,) = judge.seen
    assert seen.shape == (120, 3, 28, 28)
    assert hits.tolist() == [int((judge.kinds(part) == 3).sum()) for part in torch.split(seen, 30)]
    assert 0 < hits.sum() < 60
    assert examined.model.meter.images == 120


def test_an_input_is_its_direction_and_its_own(examined: Examined, judge: Bright) -> None:
    """Neither its length nor the inputs behind it change what is drawn; another input draws something else."""
    points = examined.model.codes[:2]
    examined.count(points, 5, "tests")
    examined.count(3 * points[:1], 5, "tests")
    assert torch.allclose(judge.seen[1], judge.seen[0][:5], atol=1e-5)
    examined.count(points[1:], 5, "tests")
    assert (judge.seen[2] - judge.seen[1]).abs().max() > 1e-3


def test_models_share_noise_and_purposes_do_not(examined: Examined, judge: Bright) -> None:
    base = examined.model
    model = Listening(base.unet, base.codes, base.into_time, Meter(), dict(base.weights()))
    other = model.with_weights({key: 1.1 * weight for key, weight in base.weights().items()})
    first = replace(examined, model=model)
    second = first.with_model(other)
    assert (second.judge, second.digit, second.seed) == (judge, 3, 0)
    for purpose in ("a", "b"):
        first.count(base.codes, 2, purpose)
        second.count(base.codes, 2, purpose)
    replace(first, seed=1).count(base.codes, 2, "a")
    first.others(2)
    assert all(torch.equal(one, two) for one, two in zip(model.heard, other.heard, strict=False))
    assert len(other.heard) == 2
    assert len({noise[0].sum().item() for noise in model.heard}) == len(model.heard) == 4
    assert (judge.seen[0] - judge.seen[1]).abs().max() > 1e-3


def test_the_nine_others_are_judged_by_their_own_names(examined: Examined, judge: Bright) -> None:
    found = examined.others(20)
    assert list(found) == [name for name in CLASSES if name != "3"]
    (seen,) = judge.seen
    for (name, bound), part in zip(found.items(), torch.split(seen, 20), strict=True):
        assert (bound.successes, bound.trials) == (int((judge.kinds(part) == int(name)).sum()), 20)
    assert 0 < sum(bound.successes for bound in found.values()) < 90


def test_a_grid_needs_two_values(examined: Examined) -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        examined.at_complexity(1, HALVING)


def test_every_image_of_a_search_is_counted(examined: Examined, judge: Bright) -> None:
    worst = examined.at_complexity(2, HALVING)
    assert worst.inputs == len(grid(4, 2)) == 16
    assert (worst.point == grid(4, 2)).all(1).any()
    assert worst.images == judge.images == examined.model.meter.images


def test_the_adaptive_search_counts_its_inputs_and_images(examined: Examined, judge: Bright) -> None:
    latents = examined.model.to_latents(torch.rand(4, 1, 28, 28, generator=generator(0, "tests/own")) * 2 - 1)
    worst = examined.adaptive(latents, SMALL.ascent, HALVING)
    assert worst.images == judge.images == examined.model.meter.images
    assert worst.inputs == (1 + 5) + 2 * 2 + 2, "at random and the digit's own, turned, by gradient"
    assert worst.point.norm().item() == pytest.approx(1, abs=1e-5)
    assert not worst.point.requires_grad


def test_the_adaptive_search_finds_what_no_grid_point_is(examined: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    """A digit that hides in a narrow cone: the nearest of 80 grid points and 40 random ones lie outside of it."""
    hidden = torch.nn.functional.normalize(torch.tensor([0.35, -0.8, 0.2, 0.45]), dim=0)
    assert (grid(4, 3) @ hidden).max() < 0.97

    def hits(self: Examined, points: Tensor, images: int, purpose: str) -> Tensor:
        return torch.where(points @ hidden > 0.97, images, 0)

    def likeness(self: Examined, points: Tensor, images: int, purpose: str) -> Tensor:
        return (points @ hidden).clamp(min=0) ** 4

    monkeypatch.setattr(Examined, "count", hits)
    monkeypatch.setattr(Examined, "likeness", likeness)
    latents = examined.model.to_latents(torch.zeros(4, 1, 28, 28))
    search = Ascent(inputs=40, steps=1, batch=1)
    assert examined.at_complexity(3, HALVING).found.successes == 0
    assert examined.adaptive(latents, search, HALVING).found.rate == 1


def test_a_verdict_is_json_and_the_same_again(examined: Examined) -> None:
    latents = examined.model.to_latents(torch.zeros(4, 1, 28, 28))
    first, again, other = (replace(examined, seed=seed).verdict(SMALL, latents) for seed in (0, 0, 1))
    assert json.loads(json.dumps(first, allow_nan=False)) == first == again != other
    assert set(first) == {"complexity", "authors", "adaptive", "certificate", "others", "others_all"}
    assert (list(first["complexity"]), list(first["authors"])) == (["2", "3"], ["2"])
    for found in (first["adaptive"], *first["complexity"].values()):
        assert set(found) == {"input", "rate", "low", "high", "successes", "trials", "inputs", "images"}
        assert (len(found["input"]), found["trials"]) == (4, HALVING.fresh)
    assert (first["certificate"]["inputs"], first["certificate"]["images"]) == (8, 2)
    assert (len(first["others"]), first["others_all"]["trials"]) == (9, 9 * 2)
    assert first["others_all"]["successes"] == sum(bound["successes"] for bound in first["others"].values())
    assert 0 <= first["authors"]["2"] <= 1


def test_a_point_of_a_curve_is_part_of_the_verdict(examined: Examined) -> None:
    at, whole = examined.at_strength(SMALL), examined.verdict(SMALL, torch.zeros(4, 4, 14, 14))
    assert at == {"worst": whole["complexity"]["2"], "others": whole["others_all"]}


LITTLE = Vectors.model_validate(
    {
        "images": 3,
        "anything": 13,
        "finetune": {"steps": 2, "batch": 2, "lr": 1e-3},
        "resteer": {"steps": 2, "batch": 4, "lr": 1e-3},
        "repair": {"steps": 2, "batch": 2, "inputs": 3, "controls": 1},
    }
)


@dataclass
class Watched:
    """The trainings as they are, with what they were given and what they ended with."""

    given: list[tuple[Any, ...]] = field(default_factory=list)
    ended: list[StateDict] = field(default_factory=list)

    def over(self, training: Any) -> Any:
        def run(*args: Any, **named: Any) -> Iterator[tuple[float, StateDict]]:
            self.given.append((*args, named))
            for loss, weights in training(*args, **named):
                yield loss, weights
            self.ended.append({key: weight.detach().clone() for key, weight in weights.items()})

        return run


@pytest.fixture
def made(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[Method, TaskVector], Watched]:
    watched = Watched()
    for name in ("fine_tune", "resteer", "esd"):
        monkeypatch.setattr(digitrun, name, watched.over(getattr(digitrun, name)))
    return make_vectors(digits, 9, LITTLE, FAST, 0), watched


def test_positive_strength_erases_with_every_vector(
    digits: Digits, made: tuple[dict[Method, TaskVector], Watched]
) -> None:
    """At 1 the input-dependent methods give the weights that they taught; of what task vectors learned, -1 gives it."""
    (vectors, watched), base = made, digits.weights()
    repaired = vectors.pop("repaired")
    assert list(vectors) == ["random", "true", "resteer", "esd"]
    assert repaired.norm() > 0
    assert repaired.base == vectors["random"].base
    for (method, vector), ended in zip(vectors.items(), watched.ended, strict=True):
        applied = vector.apply(base, -1.0 if method in TASK_VECTORS else 1.0)
        assert vector.norm() > 0
        assert all(torch.allclose(applied[key], weight, atol=1e-6) for key, weight in ended.items())


def test_every_method_gets_its_labels(digits: Digits, made: tuple[dict[Method, TaskVector], Watched]) -> None:
    random, true, resteered, away = made[1].given
    assert torch.equal(random[-1]["labels"], digits.codes)
    assert torch.equal(true[-1]["labels"], digits.codes[9:])
    assert torch.equal(random[1], true[1])
    assert (len(random[1]), len(resteered[3]), len(away[2])) == (3, 13, 13)
    assert torch.equal(resteered[1], digits.codes[9:])
    assert torch.equal(resteered[2], digits.codes[:1])  # after 9 comes 0
    assert torch.equal(resteered[4], digits.codes[:9])
    assert torch.equal(away[3], digits.codes[:9])
