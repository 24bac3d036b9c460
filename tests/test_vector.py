"""Task vectors: their algebra, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tverase.errors import KeyMismatch, ModelError, WrongBase
from tverase.files import write_tensors
from tverase.vector import TaskVector, weights_hash

SHAPES = {"down.conv.weight": (4, 3, 3, 3), "down.conv.bias": (4,), "mid.attn.weight": (8, 8), "up.conv.weight": (6, 4)}


def random_weights(seed: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {key: (scale * torch.randn(shape, generator=rng)).to(dtype) for key, shape in SHAPES.items()}


def moved(base: dict[str, Tensor], seed: int = 7, by: float = 0.05) -> dict[str, Tensor]:
    """`base` after a small step away from it, as fine-tuning makes."""
    return {key: (base[key].float() + by * change).to(base[key].dtype) for key, change in random_weights(seed).items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """The same names, dtypes and bits."""
    return first.keys() == second.keys() and all(
        first[key].dtype == second[key].dtype and torch.equal(first[key], second[key]) for key in first
    )


def close(first: TaskVector, second: TaskVector) -> bool:
    return first.delta.keys() == second.delta.keys() and all(
        torch.allclose(first.delta[key], second.delta[key], atol=1e-6) for key in first.delta
    )


@pytest.fixture
def base() -> dict[str, Tensor]:
    return random_weights(0)


@pytest.fixture
def tau(base: dict[str, Tensor]) -> TaskVector:
    return TaskVector.between(base, moved(base))


def test_strength_minus_one_gives_the_fine_tuned_weights() -> None:
    base = random_weights(0, dtype=torch.float16)
    finetuned = moved(base)
    assert same(TaskVector.between(base, finetuned).apply(base, -1.0), finetuned)  # to the last bit


def test_strength_minus_one_is_exact_in_float32_up_to_one_rounding(base: dict[str, Tensor]) -> None:
    finetuned = moved(base)
    back = TaskVector.between(base, finetuned).apply(base, -1.0)
    for key, weight in finetuned.items():
        # The difference is rounded once, the sum once: half a unit in the last place of the largest of the three each.
        unit = torch.finfo(torch.float32).eps * torch.maximum(weight.abs(), base[key].abs())
        assert (back[key] - weight).abs().le(unit).all()


def test_small_deltas_of_fp16_weights_survive() -> None:
    base = {"w": torch.full((8,), 1.0, dtype=torch.float16)}
    finetuned = {"w": torch.full((8,), 1.0 + 2**-10, dtype=torch.float16)}  # one step of fp16
    tau = TaskVector.between(base, finetuned)
    assert tau.delta["w"].dtype == torch.float32
    assert torch.equal(tau.delta["w"], torch.full((8,), 2**-10))
    assert torch.equal((0.3 * tau).delta["w"], torch.full((8,), 0.3 * 2**-10))


def test_zero_strength_changes_nothing(base: dict[str, Tensor], tau: TaskVector) -> None:
    assert same(tau.apply(base, 0.0), base)


@pytest.mark.parametrize(("first", "second"), [(0.5, 1.5), (1.75, -3.0), (2.0, 0.25)])
def test_apply_is_linear_in_the_strength(base: dict[str, Tensor], tau: TaskVector, first: float, second: float) -> None:
    one, two, both = (tau.apply(base, alpha) for alpha in (first, second, first + second))
    for key, weight in base.items():
        assert torch.allclose(both[key] - weight, (one[key] - weight) + (two[key] - weight), atol=2e-6)
        assert not torch.equal(both[key], weight)


def test_positive_strength_moves_away_from_the_fine_tuned_weights(base: dict[str, Tensor], tau: TaskVector) -> None:
    erased = tau.apply(base, 1.0)
    for key, weight in moved(base).items():
        assert torch.allclose(erased[key], 2 * base[key] - weight, atol=1e-6)


def test_base_stays_as_it_was(base: dict[str, Tensor], tau: TaskVector) -> None:
    before = {key: weight.clone() for key, weight in base.items()}
    results = [tau.apply(base, -alpha) for alpha in (0.5, 1.0, 2.0)]
    assert same(base, before)
    assert same(results[-1], tau.apply(before, -2.0))  # the in-place edit of the field ends at -3.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_apply_keeps_the_dtype(dtype: torch.dtype) -> None:
    base = random_weights(0, dtype=dtype)
    erased = TaskVector.between(base, moved(base)).apply(base, 1.5)
    assert {weight.dtype for weight in erased.values()} == {dtype}


def test_weights_that_are_not_floats_are_shared(base: dict[str, Tensor]) -> None:
    counter = torch.tensor([3])
    tau = TaskVector.between({**base, "steps": counter}, {**moved(base), "steps": torch.tensor([9])})
    assert "steps" not in tau.delta
    assert tau.apply({**base, "steps": counter}, 1.0)["steps"] is counter


def test_one_strength_for_each_parameter(base: dict[str, Tensor], tau: TaskVector) -> None:
    strengths = {"down.conv.weight": 2.0, "up.conv.weight": 0.5, "mid.attn.weight": 0.0}
    erased = tau.apply(base, strengths)
    for key in base:
        assert torch.equal(erased[key], tau.apply(base, strengths.get(key, 0.0))[key])
    assert torch.equal(erased["down.conv.bias"], base["down.conv.bias"])  # not named


def test_a_uniform_map_of_strengths_is_one_strength(base: dict[str, Tensor], tau: TaskVector) -> None:
    assert same(tau.apply(base, dict.fromkeys(base, 1.25)), tau.apply(base, 1.25))


def test_restrict_edits_only_what_was_kept(base: dict[str, Tensor], tau: TaskVector) -> None:
    erased = tau.restrict(lambda key: key.startswith("down.")).apply(base, 1.0)
    whole = tau.apply(base, 1.0)
    for key in base:
        assert torch.equal(erased[key], whole[key] if key.startswith("down.") else base[key])


def test_parts_of_a_vector_sum_to_it(tau: TaskVector) -> None:
    down, rest = (tau.restrict(lambda key, d=is_down: key.startswith("down.") is d) for is_down in (True, False))
    assert not down.delta.keys() & rest.delta.keys()
    assert close(down + rest, tau)
    assert (down + rest).base == tau.base
    assert {key: change.shape for key, change in (down + rest).delta.items()} == {
        k: torch.Size(s) for k, s in SHAPES.items()
    }


def test_restrict_to_nothing_is_refused(tau: TaskVector) -> None:
    with pytest.raises(KeyMismatch, match=r"down\.conv\.bias"):
        tau.restrict(lambda key: "attn2" in key)


LAWS: dict[str, Callable[[TaskVector, TaskVector, TaskVector], tuple[TaskVector, TaskVector]]] = {
    "commutative": lambda a, b, c: (a + b, b + a),
    "associative": lambda a, b, c: ((a + b) + c, a + (b + c)),
    "distributive": lambda a, b, c: (2.5 * (a + b), 2.5 * a + 2.5 * b),
    "subtraction": lambda a, b, c: (a - b, a + (-1.0) * b),
    "inverse": lambda a, b, c: (a + b - b, a),
    "scales": lambda a, b, c: (0.5 * (4.0 * a), 2.0 * a),
}


@pytest.mark.parametrize("law", LAWS)
def test_vectors_form_a_vector_space(base: dict[str, Tensor], law: str) -> None:
    left, right = LAWS[law](*(TaskVector.between(base, moved(base, seed)) for seed in (1, 2, 3)))
    assert close(left, right)
    assert left.norm() > 0


def test_applying_a_sum_is_applying_one_after_the_other(base: dict[str, Tensor], tau: TaskVector) -> None:
    other = TaskVector.between(base, moved(base, 11))
    at_once = (tau + other).apply(base, 1.0)
    in_turn = other.apply(tau.apply(base, 1.0), 1.0, check=False)
    assert all(torch.allclose(at_once[key], in_turn[key], atol=1e-6) for key in base)


def test_a_sum_keeps_the_base_that_is_known(tau: TaskVector) -> None:
    unknown = TaskVector(tau.delta)
    assert (tau + unknown).base == (unknown + tau).base == (tau - unknown).base == tau.base != ""


def test_norm_and_inner_product_agree_with_the_flat_vector(base: dict[str, Tensor], tau: TaskVector) -> None:
    other = TaskVector.between(base, moved(base, 11))
    flat, flat_other = (torch.cat([v.delta[key].flatten().double() for key in SHAPES]) for v in (tau, other))
    assert tau.norm() == pytest.approx(flat.norm().item())
    assert tau.dot(other) == pytest.approx((flat @ flat_other).item())
    assert tau.dot(tau) == pytest.approx(tau.norm() ** 2)


def test_save_and_load(tmp_path: Path, base: dict[str, Tensor], tau: TaskVector) -> None:
    tau.noting(concept="bomb", licence="Apache-2.0").noting(alpha="1.5").save(tmp_path / "tau.safetensors")
    back = TaskVector.load(tmp_path / "tau.safetensors")
    assert same(dict(back.delta), dict(tau.delta))
    assert back.base == tau.base == weights_hash(base)
    assert back.about == {"concept": "bomb", "licence": "Apache-2.0", "alpha": "1.5"}
    assert tau.about == {}  # noting() made new vectors


def test_other_safetensors_are_no_vector(tmp_path: Path, base: dict[str, Tensor]) -> None:
    write_tensors(base, tmp_path / "weights.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="not a task vector"):
        TaskVector.load(tmp_path / "weights.safetensors")


def test_another_base_is_refused(base: dict[str, Tensor], tau: TaskVector) -> None:
    other = {**base, "up.conv.weight": base["up.conv.weight"] + 1e-3}
    with pytest.raises(WrongBase, match=weights_hash(other)[:12]):
        tau.apply(other, 1.0)
    tau.apply(other, 1.0, check=False)
    with pytest.raises(WrongBase, match="different bases"):
        _ = tau + TaskVector.between(other, moved(other))


def test_mismatching_keys_are_named(base: dict[str, Tensor], tau: TaskVector) -> None:
    lacking = {key: weight for key, weight in base.items() if key != "mid.attn.weight"}
    with pytest.raises(KeyMismatch, match=r"1 parameters: mid\.attn\.weight"):
        TaskVector.between(base, lacking)
    with pytest.raises(KeyMismatch, match="extra"):
        TaskVector.between(base, {**moved(base), "extra": torch.zeros(1)})
    with pytest.raises(KeyMismatch, match=r"mid\.attn\.weight"):
        tau.apply(lacking, 1.0)


def test_a_strength_for_an_unknown_parameter_is_refused(base: dict[str, Tensor], tau: TaskVector) -> None:
    with pytest.raises(KeyMismatch, match=r"up\.conv\.wieght"):
        tau.apply(base, {"up.conv.wieght": 1.0})  # a typo that would erase nothing


def test_hash_depends_on_values_and_names_only(base: dict[str, Tensor]) -> None:
    found = weights_hash(base)
    assert weights_hash(dict(reversed(base.items()))) == found
    assert weights_hash({key: weight.clone() for key, weight in base.items()}) == found
    stored = {key: weight.half() for key, weight in base.items()}
    assert weights_hash(stored) == weights_hash({key: weight.float() for key, weight in stored.items()})
    sliced = {key: weight.expand(2, *weight.shape).transpose(0, -1).transpose(0, -1)[0] for key, weight in base.items()}
    assert weights_hash(sliced) == found


@pytest.mark.parametrize("change", ["value", "name", "shape", "missing"])
def test_hash_sees_a_change(base: dict[str, Tensor], change: str) -> None:
    other = {key: weight.clone() for key, weight in base.items()}
    if change == "value":
        other["down.conv.bias"][2] += 1e-6
    elif change == "shape":
        other["mid.attn.weight"] = other["mid.attn.weight"].view(4, 16)
    else:
        weight = other.pop("up.conv.weight")
        other |= {"up.weight": weight} if change == "name" else {}
    assert weights_hash(other) != weights_hash(base)
