"""Bins of cosine: projection stays inside, goes no further than it must, and keeps the length."""

import pytest
import torch
from torch import Tensor

from tverase.rng import generator
from tverase.spaces.cone import cosine, crowding, project, scatter, sideways

BINS = [(-1.0, -0.8), (-0.2, 0.0), (0.0, 0.2), (0.6, 0.8), (0.95, 0.98), (-1.0, 1.0), (0.5, 0.5)]
DIMS = [2, 3, 16, 128]
EPS = 2e-5


def sweep(dim: int, count: int = 64) -> tuple[Tensor, Tensor]:
    """Points (K, E) of many lengths, the last six on or all but on the anchor's own line, and an anchor (E,)."""
    rng = generator(dim, "tests/cone")
    anchor = torch.randn(dim, generator=rng) * 0.4
    lengths = 10 ** (4 * torch.rand(count, 1, generator=rng) - 2)
    points = torch.nn.functional.normalize(torch.randn(count, dim, generator=rng), dim=1) * lengths
    line = torch.stack([anchor, -anchor, 3 * anchor])
    all_but = line + torch.tensor([[1e-3], [1e-4], [1e-5]]) * torch.randn(3, dim, generator=rng)
    return torch.cat([points, line, all_but]), anchor


def ends(bin_: tuple[float, float], count: int) -> tuple[Tensor, Tensor]:
    return torch.full((count,), bin_[0]), torch.full((count,), bin_[1])


@pytest.mark.parametrize("bin_", BINS)
@pytest.mark.parametrize("dim", DIMS)
def test_projection_stays_in_its_bin_and_keeps_the_length(dim: int, bin_: tuple[float, float]) -> None:
    points, anchor = sweep(dim)
    projected = project(points, anchor, *ends(bin_, len(points)))
    found = cosine(projected, anchor)
    assert found.ge(bin_[0] - EPS).all()
    assert found.le(bin_[1] + EPS).all()
    assert torch.allclose(projected.norm(dim=1), points.norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize("bin_", BINS)
@pytest.mark.parametrize("dim", DIMS)
def test_projecting_twice_is_projecting_once(dim: int, bin_: tuple[float, float]) -> None:
    points, anchor = sweep(dim)
    low, high = ends(bin_, len(points))
    once = project(points, anchor, low, high)
    twice = project(once, anchor, low, high)
    assert ((twice - once).norm(dim=1) / once.norm(dim=1)).max() < 1e-3  # cosines are rounded, arcs near 1 feel it


@pytest.mark.parametrize("dim", DIMS)
def test_points_inside_stay_bit_for_bit(dim: int) -> None:
    points, anchor = sweep(dim)
    now = cosine(points, anchor)
    assert torch.equal(project(points, anchor, now - 0.01, now + 0.01), points)
    everywhere = project(points, anchor, *ends((-1.0, 1.0), len(points)))
    assert torch.equal(everywhere[:-6], points[:-6])
    assert torch.allclose(everywhere, points, rtol=1e-4, atol=1e-3)  # on the line the cosine itself may round to over 1


@pytest.mark.parametrize("bin_", BINS)
@pytest.mark.parametrize("dim", [2, 3, 5])
def test_no_point_of_the_bin_is_nearer(dim: int, bin_: tuple[float, float]) -> None:
    points, anchor = sweep(dim, count=24)
    projected = project(points, anchor, *ends(bin_, len(points)))
    rng = generator(dim, "tests/cone/others")
    rivals = scatter(anchor, *ends(bin_, 4000), 1.0, rng)
    rivals = rivals * points.norm(dim=1)[:, None, None]  # (K, rivals, E): in the bin, as long as the point
    nearest = (rivals - points[:, None]).norm(dim=2).amin(1)
    moved = (projected - points).norm(dim=1)
    assert (moved <= nearest + 1e-4 * points.norm(dim=1)).all()


def test_each_point_has_its_own_bin() -> None:
    points, anchor = sweep(16, count=len(BINS))
    points = points[: len(BINS)]
    low, high = torch.tensor(BINS).T
    found = cosine(project(points, anchor, low, high), anchor)
    assert found.ge(low - EPS).all()
    assert found.le(high + EPS).all()


@pytest.mark.parametrize("dim", DIMS)
def test_sideways_is_a_unit_vector_across_the_anchor(dim: int) -> None:
    points, anchor = sweep(dim)
    across = sideways(points, anchor)
    assert torch.allclose(across.norm(dim=1), torch.ones(len(points)), atol=1e-5)
    assert (across @ (anchor / anchor.norm())).abs().max() < 1e-3


@pytest.mark.parametrize("dim", DIMS)
def test_scatter_fills_its_bins(dim: int) -> None:
    low, high = torch.tensor(BINS * 50).T
    anchor = torch.randn(dim, generator=generator(0, "tests/cone/anchor"))
    points = scatter(anchor, low, high, 0.7, generator(0, "tests/cone/scatter"))
    found = cosine(points, anchor)
    assert found.ge(low - EPS).all()
    assert found.le(high + EPS).all()
    assert torch.allclose(points.norm(dim=1), torch.full((len(points),), 0.7), atol=1e-5)
    wide = found[(high - low) > 1.9]
    assert wide.min() < -0.6  # uniform inside the bin, not only at its ends
    assert wide.max() > 0.6


def test_scatter_is_a_function_of_the_seed() -> None:
    low, high = torch.tensor(BINS).T
    anchor = torch.ones(8)
    first, again, other = (scatter(anchor, low, high, 1.0, generator(seed, "s")) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_spread_out_points_are_not_crowded() -> None:
    anchor, axes = torch.eye(8)[0], torch.eye(8)[1:]
    assert torch.equal(crowding(axes + 5 * anchor, anchor, 0.3), torch.zeros(7))  # alike, but only along the anchor


def test_crowded_points_are_told_apart_by_the_gradient() -> None:
    anchor = torch.eye(8)[0]
    rng = generator(0, "tests/cone/crowd")
    points = (torch.eye(8)[1] + anchor + 0.1 * torch.randn(5, 8, generator=rng)).requires_grad_()
    before = crowding(points, anchor, 0.3)
    before.sum().backward()
    assert before.gt(1.0).all()  # four neighbours, each about 0.6 too close
    assert torch.isfinite(points.grad).all()
    after = crowding((points - 0.1 * points.grad).detach(), anchor, 0.3)
    assert after.sum() < before.sum()


def test_a_point_is_not_crowded_by_itself() -> None:
    anchor = torch.eye(4)[0]
    assert crowding(torch.ones(1, 4), anchor, -0.5).item() == 0
    assert crowding(torch.ones(2, 4), anchor, 0.3).tolist() == pytest.approx([0.7, 0.7])


def test_crowding_has_a_gradient_on_the_anchors_line() -> None:
    anchor = torch.ones(4)
    points = torch.stack([anchor, -anchor, torch.arange(4.0)]).requires_grad_()
    crowding(points, anchor, -0.5).sum().backward()
    assert torch.isfinite(points.grad).all()
