"""Activation weighting: the theorems of its closed form, on matrices and on a network with every kind of layer."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from lamps import TAU, Lamps
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tverase.errors import ModelError, NumericalError
from tverase.noise import Flow
from tverase.rng import generator
from tverase.vector import StateDict, TaskVector
from tverase.vectors import activations
from tverase.vectors.activations import Samples, blocks_of, change, moments, passes, ridge, same_change, weighted

OUT, WIDE = 5, 12


def random(*shape: int, name: str) -> Tensor:
    return torch.randn(*shape, generator=generator(0, f"tests/activations/{name}"), dtype=torch.float64)


def moment(inputs: Tensor) -> Tensor:
    return inputs.T @ inputs


def cost(found: Tensor, old: Tensor, forget: Tensor, retain: Tensor, weight: float) -> float:
    """What is minimised, without damping."""
    kept, moved = (found - old) @ forget.T, found @ retain.T
    return float(kept.square().sum() / forget.square().sum() + weight * moved.square().sum() / retain.square().sum())


@pytest.fixture(params=[(40, 40), (4, 40), (40, 4), (4, 4)], ids=str)
def sets(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    """Inputs of the forget set and of the retain set, of full rank or of a few directions."""
    forget, retain = request.param
    return random(forget, WIDE, name="forget"), random(retain, WIDE, name="retain") + 0.3


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0, 100.0])
def test_it_is_the_ridge_solution(sets: tuple[Tensor, Tensor], weight: float) -> None:
    """The same as least squares over both sets and the damping, stacked."""
    old, (forget, retain) = random(OUT, WIDE, name="dW"), sets
    forget, retain = (one / one.square().sum().sqrt() for one in sets)
    rows = torch.cat([forget, weight**0.5 * retain, (0.01 / WIDE) ** 0.5 * torch.eye(WIDE, dtype=torch.float64)])
    aims = torch.cat([forget @ old.T, torch.zeros(len(rows) - len(forget), OUT, dtype=torch.float64)])
    expected = torch.linalg.lstsq(rows, aims).solution.T
    found = ridge(
        old, moment(7 * forget), moment(0.2 * retain), weight, damping=0.01
    )  # each moment is divided by its trace
    assert torch.allclose(found, expected, atol=1e-9)


def test_no_other_change_costs_less(sets: tuple[Tensor, Tensor]) -> None:
    old, (forget, retain) = random(OUT, WIDE, name="dW"), sets
    found = ridge(old, moment(forget), moment(retain), 3.0, damping=1e-9)
    least = cost(found, old, forget, retain, 3.0)
    others = [found + 0.1 * random(OUT, WIDE, name=f"other {i}") for i in range(20)]
    assert all(least < cost(other, old, forget, retain, 3.0) for other in (*others, old, 0 * old))


def test_without_a_weight_and_damping_the_forget_set_sees_no_change(sets: tuple[Tensor, Tensor]) -> None:
    old, (forget, retain) = random(OUT, WIDE, name="dW"), sets
    found = ridge(old, moment(forget), moment(retain), 0.0, damping=1e-10)
    assert torch.allclose(found @ forget.T, old @ forget.T, atol=1e-6)


def test_with_a_large_weight_the_retain_set_sees_no_change(sets: tuple[Tensor, Tensor]) -> None:
    old, (forget, retain) = random(OUT, WIDE, name="dW"), sets
    seen = [(ridge(old, moment(forget), moment(retain), weight) @ retain.T).norm() for weight in (0.0, 1.0, 30.0, 1e9)]
    assert seen[0] > seen[1] > seen[2] > 100 * seen[3]
    assert seen[3] < 1e-4 * (old @ retain.T).norm()


def test_inputs_of_both_sets_at_right_angles_are_kept_and_removed_whole() -> None:
    old, forget, retain = random(OUT, WIDE, name="dW"), torch.eye(WIDE)[:6].double(), torch.eye(WIDE)[6:].double()
    found = ridge(old, moment(forget), moment(retain), 3.0, damping=1e-9)
    assert torch.allclose(found, torch.cat([old[:, :6], 0 * old[:, 6:]], 1), atol=1e-6)


def test_equal_sets_change_nothing_but_the_length(sets: tuple[Tensor, Tensor]) -> None:
    old, (forget, _) = random(OUT, WIDE, name="dW"), sets
    found = ridge(old, moment(forget), moment(2 * forget), 3.0, damping=1e-10)
    assert torch.allclose(found @ forget.T, old @ forget.T / 4, atol=1e-6)


class Net(nn.Module):
    """Every kind of layer: convolutions with and without bias, stride, dilation and groups; a norm; one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.down = nn.Conv2d(8, 6, 3, stride=2, padding=2, dilation=2, bias=False)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.cond = nn.Linear(4, 6)
        self.out = nn.Conv2d(6, 12, 1)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        x = functional.silu(self.down(functional.silu(self.norm(self.first(x)))))
        x = self.grouped(x) + self.cond(cond)[:, :, None, None]
        return functional.pixel_shuffle(self.out(functional.silu(x)), 2)


@dataclass(frozen=True)
class Tiny:
    """A model of `Net`."""

    network: Net
    theta: StateDict
    noise: Flow = field(default_factory=Flow)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def weights(self) -> StateDict:
        return self.theta

    def with_weights(self, weights: StateDict) -> "Tiny":
        return Tiny(self.network, weights)

    def denoise(self, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        answer: Tensor = functional_call(self.network, dict(self.theta), (noised, cond))
        return answer


@pytest.fixture
def tiny() -> Any:
    net = Net()
    shapes = {name: tuple(p.shape) for name, p in net.named_parameters()}
    return Tiny(net, {name: 0.3 * random(*shape, name=name).float() for name, shape in shapes.items()})


@pytest.fixture
def tau(tiny: Tiny) -> TaskVector:
    return TaskVector({name: 0.05 * random(*w.shape, name=f"tau {name}").float() for name, w in tiny.theta.items()})


def samples(name: str, shift: float) -> Samples:
    latents = random(24, 3, 6, 6, name=name).float() + shift
    return Samples(latents, random(24, 4, name=f"cond {name}").float() + shift)


@pytest.mark.parametrize("name", ["first", "down", "out", "cond"])
def test_the_change_of_a_layer_is_that_of_its_unfolded_inputs(tiny: Any, tau: TaskVector, name: str) -> None:
    (block,) = [block for block in blocks_of(tiny, tau) if block.weight == f"{name}.weight"]
    layer = getattr(tiny.network, name)
    given = random(2, 4, name="given") if name == "cond" else random(2, layer.in_channels, 7, 7, name="given")
    weight = torch.cat([layer.weight.flatten(1), *([layer.bias[:, None]] if layer.bias is not None else [])], 1)
    answer = layer(given.float())
    rows = answer if name == "cond" else answer.flatten(2).transpose(1, 2).flatten(0, 1)
    assert torch.allclose(block.inputs(given) @ weight.T, rows, atol=1e-5)
    assert block.width == weight.shape[1]


def test_which_layers_are_weighted(tiny: Any, tau: TaskVector) -> None:
    found = weighted(tiny, tau, samples("forget", 0.0), samples("retain", 1.0), 3.0, 0)
    factor = float(found.about["factor"])
    assert factor > 1
    kept = {key for key, delta in found.delta.items() if torch.allclose(delta, factor * tau.delta[key])}
    assert kept == {f"{name}.{p}" for name in ("norm", "grouped", "unused") for p in ("weight", "bias")}


def test_a_layer_changes_less_on_retain_inputs_with_more_weight(tiny: Any, tau: TaskVector) -> None:
    sets = samples("forget", 0.0), samples("retain", 1.0)
    blocks = [block for block in blocks_of(tiny, tau) if block.weight == "first.weight"]
    ratios = []
    for vector in (tau, *(weighted(tiny, tau, *sets, weight, 0) for weight in (0.3, 3.0, 300.0))):
        delta = torch.cat([vector.delta["first.weight"].flatten(1), vector.delta["first.bias"][:, None]], 1)
        of_forget, of_retain = (moments(tiny, blocks, one, 1, "other noise")[0] for one in sets)
        ratios.append(float((delta @ of_retain @ delta.T).trace() / (delta @ of_forget @ delta.T).trace()))
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] < 0.7 * ratios[0]


def test_the_seed_decides_everything(tiny: Any, tau: TaskVector) -> None:
    sets = samples("forget", 0.0), samples("retain", 1.0)
    first, again, other = (weighted(tiny, tau, *sets, 3.0, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first.delta[key], again.delta[key]) for key in tau.delta)
    assert not torch.equal(first.delta["out.weight"], other.delta["out.weight"])


def test_the_factor_restores_the_change(tiny: Any, tau: TaskVector) -> None:
    forget, retain = samples("forget", 0.0), samples("retain", 1.0)
    found = weighted(tiny, tau, forget, retain, 3.0, 0)
    assert change(tiny, found, forget, 0) == pytest.approx(change(tiny, tau, forget, 0), rel=0.011)
    assert change(tiny, found, retain, 0) < 0.8 * change(tiny, tau, retain, 0)


def test_a_wide_layer_is_solved_in_blocks(tiny: Any, tau: TaskVector, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = blocks_of(tiny, tau)
    monkeypatch.setattr(activations, "WIDEST", 30)
    blocks = blocks_of(tiny, tau)
    down = [block for block in blocks if block.weight == "down.weight"]
    assert [(block.channels.start, block.channels.stop) for block in down] == [(0, 2), (2, 5), (5, 8)]
    assert max(block.width for block in blocks) <= 30 < max(block.width for block in whole)
    own = [block for block in blocks if block.weight == "first.weight"]
    assert [block.bias for block in own] == ["first.bias"]
    given = random(2, 8, 6, 6, name="wide")
    (one,) = [block for block in whole if block.weight == "down.weight"]
    assert torch.equal(torch.cat([block.inputs(given) for block in down], 1), one.inputs(given))
    forget, retain = samples("forget", 0.0), samples("retain", 1.0)
    found = weighted(tiny, tau, forget, retain, 3.0, 0)
    assert change(tiny, found, retain, 0) < 0.8 * change(tiny, tau, retain, 0)


def test_passes_stay_within_the_room(tiny: Any, tau: TaskVector, monkeypatch: pytest.MonkeyPatch) -> None:
    forget, retain = samples("forget", 0.0), samples("retain", 1.0)
    at_once = weighted(tiny, tau, forget, retain, 3.0, 0)
    blocks = blocks_of(tiny, tau)
    assert [len(group) for group in passes(blocks)] == [len(blocks)]
    monkeypatch.setattr(activations, "ROOM", 8 * 40**2)
    groups = list(passes(blocks))
    assert [block for group in groups for block in group] == blocks
    assert len(groups) > 1
    assert all(len(group) == 1 or sum(8 * b.width**2 for b in group) <= 8 * 40**2 for group in groups)
    apart = weighted(tiny, tau, forget, retain, 3.0, 0)
    assert all(torch.equal(apart.delta[key], at_once.delta[key]) for key in tau.delta)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_the_factor_of_a_power(power: float) -> None:
    looks: list[float] = []
    factor = same_change(lambda f: looks.append(f) or 0.04 * f**power, 1.0)
    assert factor == pytest.approx(25 ** (1 / power), rel=0.011)
    assert len(looks) <= 4


def test_the_factor_where_the_change_levels_off() -> None:
    assert same_change(lambda f: 1 - 2.718 ** -(f**2 / 9), 0.7) == pytest.approx((9 * 1.204) ** 0.5, rel=0.02)
    assert same_change(lambda f: 0.0, 0.0) == 1
    with pytest.raises(NumericalError, match=r"build_vector\.weighting=none"):
        same_change(lambda f: min(f, 1.0), 2.0)
    with pytest.raises(NumericalError):
        same_change(lambda f: float("nan"), 2.0)


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(ModelError, match=r"Lamps has no linear or convolution layer .* build_vector\.weighting=none"):
        blocks_of(Lamps(), TAU)


def test_activations_that_are_not_finite(tiny: Any, tau: TaskVector) -> None:
    broken = samples("forget", float("nan"))
    with pytest.raises(NumericalError, match=r"first\.weight .* build_vector\.weighting=none"):
        weighted(tiny, tau, broken, samples("retain", 1.0), 3.0, 0)
