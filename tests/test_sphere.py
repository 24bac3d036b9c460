"""The sphere of the digit model: grids without a direction twice, codes that keep apart, the space that is searched."""

import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import Tensor
from witness import SeesAll

from tverase.context import Context
from tverase.errors import ConfigError
from tverase.hardening.forget import forget_inputs
from tverase.inversion.diverse import Invert
from tverase.models.digits import Digits
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.spaces import cone
from tverase.spaces.sphere import Sphere, grid, nearest, one_sided_grid, spread_codes
from tverase.world.digit_concepts import digit_concept

SIZES = [(d, n) for d in (2, 3, 4) for n in (2, 3, 4, 5)]


def rows(points: Tensor) -> set[tuple[float, ...]]:
    """The directions as a set, to six digits; -0 and 0 are one."""
    return {tuple(row) for row in (np.round(points.double().numpy(), 6) + 0.0).tolist()}


def by_hand(d: int, n: int) -> set[tuple[float, ...]]:
    """Every point of the grid in floating point, normalised; the set leaves out what comes twice."""
    found = set()
    for point in product(np.linspace(-1, 1, n), repeat=d):
        length = np.linalg.norm(point)
        if length > 1e-9:
            found.add(tuple((np.round(np.array(point) / length, 6) + 0.0).tolist()))
    return found


@pytest.mark.parametrize(("d", "n"), SIZES)
def test_the_grid_is_every_direction_once(d: int, n: int) -> None:
    points = grid(d, n)
    assert points.dtype == torch.float32
    assert torch.allclose(points.norm(dim=1), torch.ones(len(points)), atol=1e-6)
    assert len(rows(points)) == len(points) == len(by_hand(d, n))
    near = torch.tensor(sorted(by_hand(d, n)), dtype=torch.float64) @ points.double().T
    assert (near.max(1).values > 1 - 1e-5).all()  # the least angle in these grids is a thousand times wider
    assert (near.max(0).values > 1 - 1e-5).all()


@pytest.mark.parametrize(("d", "n", "count"), [(2, 2, 4), (2, 3, 8), (2, 4, 12), (2, 5, 16), (3, 3, 26), (4, 4, 240)])
def test_counts_that_can_be_made_on_paper(d: int, n: int, count: int) -> None:
    assert len(grid(d, n)) == count


@pytest.mark.parametrize(("d", "n"), SIZES)
def test_no_axis_and_no_sign_is_preferred(d: int, n: int) -> None:
    points = grid(d, n)
    everything = rows(points)
    for axis in range(d):
        flip = torch.ones(d)
        flip[axis] = -1
        assert rows(points * flip) == everything
    for order in permutations(range(d)):
        assert rows(points[:, list(order)]) == everything


def test_the_grid_is_the_same_every_time() -> None:
    assert torch.equal(grid(4, 4), grid(4, 4))


@pytest.mark.parametrize(("d", "n", "message"), [(1, 3, "choose d >= 2"), (3, 1, "at least 2"), (8, 9, "lower n or d")])
def test_grids_that_there_are_not(d: int, n: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grid(d, n)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_the_one_sided_grid_repeats_directions(n: int) -> None:
    points = one_sided_grid(3, n)
    assert len(points) == n**3 - (n % 2 == 0)  # an even n has the zero vector
    assert torch.isfinite(points).all()
    assert torch.allclose(points.norm(dim=1), torch.ones(len(points)), atol=1e-6)
    assert rows(points) != rows(-points)
    assert points.sum() < 0  # -1 is one of the values, 1 is not
    assert len(rows(points)) < len(points)


def test_codes_keep_apart_and_are_always_the_same() -> None:
    codes = spread_codes(10, 4)
    assert codes.shape == (10, 4)
    assert torch.allclose(codes.norm(dim=1), torch.ones(10), atol=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        assert torch.equal(codes, spread_codes(10, 4))
    assert (codes @ codes.T - 2 * torch.eye(10)).max() < 0.25


def test_few_codes_go_where_geometry_says() -> None:
    square, simplex = spread_codes(4, 2), spread_codes(4, 3)
    assert torch.allclose(
        (square @ square.T).sort(1).values, torch.tensor([-1.0, 0.0, 0.0, 1.0]).expand(4, 4), atol=1e-2
    )
    assert torch.allclose(simplex @ simplex.T, (4 * torch.eye(4) - 1) / 3, atol=1e-2)


def test_codes_need_two_dimensions() -> None:
    with pytest.raises(ConfigError, match="choose d >= 2"):
        spread_codes(10, 1)


def test_the_space_of_inputs() -> None:
    codes = spread_codes(10, 4)
    space, rng = Sphere(codes), generator(0, "tests/sphere")
    assert space.d == 4
    assert torch.equal(space.anchor("3"), codes[3])
    low, high = torch.tensor([-0.2, 0.5, 0.95]), torch.tensor([0.0, 0.6, 0.98])
    points = space.start(codes[3], low, high, rng)
    assert torch.allclose(points.norm(dim=1), torch.ones(3), atol=1e-6)
    found = cone.cosine(points, codes[3])
    assert ((found >= low - 1e-5) & (found <= high + 1e-5)).all()
    longer = (5 * points).requires_grad_()
    assert torch.allclose(space.cond(longer), points, atol=1e-6)
    space.cond(longer)[:, 0].sum().backward()
    assert longer.grad is not None
    assert longer.grad.abs().max() > 0
    assert nearest(codes, codes).tolist() == list(range(10))


@pytest.mark.parametrize("angle", [0.1, 0.4, 1.5])
def test_near_is_at_that_angle(angle: float) -> None:
    space = Sphere(spread_codes(10, 4))
    points = space.anywhere(500, generator(0, "tests/near"))
    turned = space.near(3 * points, angle, generator(0, "tests/turns"))
    assert torch.allclose(turned.norm(dim=1), torch.ones(500), atol=1e-5)
    assert torch.allclose((turned * points).sum(1), torch.full((500,), math.cos(angle)), atol=1e-4)
    assert (turned - points * math.cos(angle)).mean(0).norm() < 0.2 * math.sin(angle), "to one side"


def test_uniform_points_prefer_no_direction() -> None:
    points = Sphere(spread_codes(10, 4)).anywhere(20_000, generator(0, "tests/sphere/uniform"))
    assert torch.allclose(points.norm(dim=1), torch.ones(len(points)), atol=1e-5)
    assert points.mean(0).abs().max() < 0.02  # six standard errors or so
    assert torch.allclose(points.T @ points / len(points), torch.eye(4) / 4, atol=0.02)


@pytest.mark.parametrize("name", ["10", "11", "x", "-1", "1.0", " "])
def test_digits_that_there_are_not(name: str) -> None:
    with pytest.raises(ConfigError, match="there are 0 to 9"):
        Sphere(spread_codes(10, 4, steps=1)).anchor(name)


def test_the_forget_set_of_a_digit_is_everywhere(digits: Digits) -> None:
    """Its own code, the embeddings that were found, directions on its side, and directions all over the sphere."""
    found, three = digits.space().anywhere(2, generator(0, "tests/sphere/found")), digit_concept(3)
    context = Context(digits, (three,), SeesAll(), Sampling(steps=1), Invert(template="{}"))
    own, points, near, anywhere = forget_inputs(context, three, found, 1000).split(1000)
    code = digits.codes[3]
    assert torch.allclose(own, code.expand(1000, -1))
    assert {tuple(row) for row in points.round(decimals=4).tolist()} == {
        tuple(r) for r in found.round(decimals=4).tolist()
    }
    assert 0.19 < (near @ code).min() < 0.25
    assert (near @ code).max() > 0.95
    assert torch.allclose(anywhere.norm(dim=1), torch.ones(1000), atol=1e-5)
    assert anywhere.mean(0).norm() < 0.1
    assert 0.45 < (anywhere @ code < 0).float().mean() < 0.55
