"""Merging and pruning of task vectors: what has to hold whatever the numbers are, and what `build_vector` makes of it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from test_vector import SHAPES, close, moved, random_weights, same
from torch import Tensor

from tverase.build import BuildVector, build_vector, pruned
from tverase.config import Params
from tverase.errors import ConfigError, KeyMismatch, WrongBase
from tverase.vector import TaskVector
from tverase.vectors.agreement import agree, mean
from tverase.vectors.copies import COPY, by_name, copy_name
from tverase.vectors.dare import dare
from tverase.vectors.magnitude import magnitude
from tverase.vectors.ties import disjoint_mean, elect
from tverase.world.vocabulary import Vocabulary

BASE = random_weights(0)
Merge = Callable[[Sequence[TaskVector]], TaskVector]
MERGES: dict[str, Merge] = {"agree": agree, "ties": disjoint_mean, "mean": mean}


def tau(seed: int) -> TaskVector:
    return TaskVector.between(BASE, moved(BASE, seed))


def flat(vector: TaskVector) -> Tensor:
    return torch.cat([vector.delta[key].flatten() for key in SHAPES])


def of(*changes: float) -> TaskVector:
    return TaskVector({"w": torch.tensor(changes)})


def cosine(first: TaskVector, second: TaskVector) -> float:
    return first.dot(second) / first.norm() / second.norm()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("merge", MERGES)
def test_equal_copies_give_that_copy_to_the_bit(merge: str, count: int) -> None:
    made = MERGES[merge]([tau(1)] * count)
    assert same(dict(made.delta), dict(tau(1).delta))
    assert made.base == tau(1).base != ""


def test_opposite_signs_vanish() -> None:
    assert not flat(agree([tau(1), -1.0 * tau(1)])).any()
    assert not flat(agree([tau(1), tau(1), -0.001 * tau(1)])).any()  # one of many is enough, however small
    assert not flat(disjoint_mean([tau(1), -1.0 * tau(1)])).any()


def test_what_all_agree_on_is_averaged_and_the_rest_is_zero() -> None:
    copies = [of(1, -2, 3, 0, 0), of(3, -4, -3, 0, 5)]
    assert agree(copies).delta["w"].tolist() == [2, -3, 0, 0, 0]
    assert mean(copies).delta["w"].tolist() == [2, -3, 0, 0, 2.5]
    assert disjoint_mean([*copies, of(2, 1, 2, 0, 0)]).delta["w"].tolist() == [2, -3, 2.5, 0, 5]


def test_agreement_finds_what_the_copies_share() -> None:
    """Copies that are a sparse signal and noise: the agreed vector is nearer to the signal than any copy and than the mean."""
    signal = magnitude(tau(1), 0.25)
    copies = [signal + 0.5 * tau(seed) for seed in range(2, 6)]
    found = cosine(agree(copies), signal)
    assert found > cosine(mean(copies), signal) > max(cosine(copy, signal) for copy in copies)


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 0.99, 1.0])
def test_magnitude_keeps_exactly_the_share_that_is_asked(keep: float) -> None:
    whole, kept = tau(1), magnitude(tau(1), keep)
    for key, change in whole.delta.items():
        left = kept.delta[key] != 0
        assert left.sum() == max(1, round(keep * change.numel()))
        assert torch.equal(kept.delta[key][left], change[left])
        assert left.all() or change[left].abs().min() >= change[~left].abs().max()
    assert same(dict(magnitude(kept, keep).delta), dict(kept.delta))
    assert keep < 1 or same(dict(kept.delta), dict(whole.delta))


def test_of_equal_changes_the_first_stay() -> None:
    assert magnitude(of(1, -1, 1, -1, 1), 0.4).delta["w"].tolist() == [1, -1, 0, 0, 0]
    assert magnitude(of(0, 0, 0), 0.1).delta["w"].tolist() == [0, 0, 0]
    many = torch.ones(5000).index_fill(0, torch.arange(0, 5000, 3), 2.0)
    kept = magnitude(TaskVector({"w": many}), 0.5).delta["w"]
    assert torch.equal(
        kept.nonzero().flatten(), torch.cat([torch.arange(0, 5000, 3), (many == 1).nonzero()[:833, 0]]).msort()
    )


@pytest.mark.parametrize("keep", [0.3, 0.5, 1.0])
def test_dare_is_the_vector_on_average(keep: float) -> None:
    rounds, whole = 400, flat(tau(1)).double()
    drawn = torch.stack([flat(dare(tau(1), keep, seed, "tests/dare")).double() for seed in range(rounds)])
    kept = drawn != 0
    assert torch.allclose(drawn[kept] * keep, whole.expand_as(drawn)[kept], rtol=1e-6)
    deviation = (keep * (1 - keep) / rounds) ** 0.5  # of the share of rounds in which one change is kept
    assert (kept.double().mean(0) - keep).abs().max() <= 5 * deviation
    assert (drawn.mean(0) - whole).abs().le(5 * deviation / keep * whole.abs() + 1e-9).all()
    assert abs(kept.double().mean() - keep) <= 5 * deviation / len(whole) ** 0.5


def test_dare_depends_on_its_seed_and_purpose_and_on_nothing_else() -> None:
    first = dare(tau(1), 0.5, 0, "a")
    torch.manual_seed(123)
    assert same(dict(dare(tau(1), 0.5, 0, "a").delta), dict(first.delta))
    assert not torch.equal(flat(dare(tau(1), 0.5, 1, "a")), flat(first))
    assert not torch.equal(flat(dare(tau(1), 0.5, 0, "b")), flat(first))
    part = dare(tau(1).restrict(lambda key: "mid" in key), 0.5, 0, "a")
    assert torch.equal(part.delta["mid.attn.weight"], first.delta["mid.attn.weight"])
    twins = dare(TaskVector({"one": torch.ones(50), "other": torch.ones(50)}), 0.5, 0, "a").delta
    assert not torch.equal(twins["one"], twins["other"])


def test_the_elected_sum_is_on_the_side_of_the_sum_and_at_least_as_long() -> None:
    vectors = {str(seed): tau(seed) for seed in range(1, 5)}
    elected = elect(vectors)
    plain, side = (sum(flat(v) for v in group.values()) for group in (vectors, elected))
    assert torch.equal(torch.sign(torch.as_tensor(side)), torch.sign(torch.as_tensor(plain)))
    assert (torch.as_tensor(side).abs() >= torch.as_tensor(plain).abs() - 1e-6).all()
    for name, vector in elected.items():
        left = flat(vector) != 0
        assert 0 < left.sum() < len(left)
        assert torch.equal(flat(vector)[left], flat(vectors[name])[left])


def test_without_a_conflict_election_changes_nothing() -> None:
    one, other = of(1, 0, 2, -3), of(5, 4, 0, -1)
    assert elect({"a": one, "b": other})["b"].delta["w"].tolist() == [5, 4, 0, -1]
    assert same(dict(elect({"a": tau(1)})["a"].delta), dict(tau(1).delta))
    won = elect({"a": of(3, 2), "b": of(-1, -2)})
    assert [won[name].delta["w"].tolist() for name in won] == [[3, 0], [0, 0]]


@pytest.mark.parametrize("merge", MERGES)
def test_vectors_that_do_not_belong_together_are_refused(merge: str) -> None:
    other = {**BASE, "up.conv.weight": BASE["up.conv.weight"] + 1e-3}
    with pytest.raises(WrongBase, match=tau(1).base[:12]):
        MERGES[merge]([tau(1), TaskVector.between(other, moved(other))])
    with pytest.raises(KeyMismatch, match=r"1 parameters: mid\.attn\.weight"):
        MERGES[merge]([tau(1), tau(2).restrict(lambda key: "mid" not in key)])


def finetuned(*names: str) -> dict[str, dict[str, Tensor]]:
    """Weights by name, each moved on its own way."""
    return {name: moved(BASE, 20 + i) for i, name in enumerate(names)}


def made(weights: dict[str, dict[str, Tensor]], seed: int = 0, **settings: Any) -> TaskVector:
    return build_vector(BASE, weights, BuildVector(**settings), seed)


def test_ties_on_one_vector_is_trimming() -> None:
    whole = made(finetuned("bomb"))
    assert same(dict(made(finetuned("bomb"), prune="magnitude", keep=0.2, combine="ties").delta),
                dict(magnitude(whole, 0.2).delta))  # fmt: skip


def test_without_options_it_is_the_sum() -> None:
    weights = finetuned("bomb", "skull")
    first, second = (TaskVector.between(BASE, found) for found in weights.values())
    assert same(dict(made(weights).delta), dict((first + second).delta))
    assert close(made(weights, prune="dare", keep=1.0), first + second)
    assert not close(made(weights, combine="ties"), first + second)


@pytest.mark.parametrize("merge", MERGES)
def test_copies_of_each_concept_are_merged_before_concepts_are_added(merge: str) -> None:
    weights = finetuned("bomb", "bomb~1", "skull", "skull~1", "bomb~2", "skull~2")
    vectors = by_name({name: TaskVector.between(BASE, found) for name, found in weights.items()})
    expected = MERGES[merge](vectors["bomb"]) + MERGES[merge](vectors["skull"])
    assert same(dict(made(weights, merge=merge).delta), dict(expected.delta))


def test_each_copy_loses_the_control_of_its_number() -> None:
    weights = finetuned("bomb", "bomb~1", "control", "control~1")
    bomb, bomb_1, control, control_1 = (TaskVector.between(BASE, found) for found in weights.values())
    expected = agree([bomb - 0.5 * control, bomb_1 - 0.5 * control_1])
    assert same(dict(made(weights, subtract_control=0.5).delta), dict(expected.delta))
    with pytest.raises(ConfigError, match=r"finetune\.control=true"):
        made(finetuned("bomb"), subtract_control=0.5)


@pytest.mark.parametrize("prune", ["magnitude", "dare"])
def test_pruning_and_choosing_layers_may_change_places(prune: str) -> None:
    settings = BuildVector(prune=prune, keep=0.4)
    first = pruned(tau(1), settings, 0, "bomb").restrict(lambda key: "down" in key)
    then = pruned(tau(1).restrict(lambda key: "down" in key), settings, 0, "bomb")
    assert same(dict(first.delta), dict(then.delta))


def test_concepts_are_pruned_apart() -> None:
    weights = finetuned("bomb", "skull")
    apart = [made({name: found}, prune="dare", keep=0.5) for name, found in weights.items()]
    assert close(made(weights, prune="dare", keep=0.5), apart[0] + apart[1])
    kept = [flat(vector) != 0 for vector in apart]
    assert not torch.equal(kept[0], kept[1])  # what is dropped of one says nothing about the other
    assert not close(made(weights, prune="dare", keep=0.5), made(weights, seed=1, prune="dare", keep=0.5))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"prune": "magnitude"}, "prune=magnitude needs keep"),
        ({"prune": "dare"}, "prune=dare needs keep"),
        ({"keep": 0.2}, "set build_vector.prune to magnitude or dare"),
        ({"prune": "dare", "keep": 0}, "build_vector.keep: Input should be greater than 0"),
        ({"prune": "dare", "keep": 1.1}, "build_vector.keep: Input should be less than or equal to 1"),
        ({"prune": "ties", "keep": 0.2}, "'magnitude' or 'dare'"),
        ({"merge": "vote"}, "'agree', 'ties' or 'mean'"),
        ({"combine": "joint"}, "'sum' or 'ties'"),
    ],
)
def test_mistakes_are_named(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Params.parse({"build_vector": section})
    assert said in str(caught.value)


def test_names_of_copies(words: Vocabulary) -> None:
    names = [copy_name("slot-machine+bomb", number) for number in range(12)]
    assert names[:2] == ["slot-machine+bomb", "slot-machine+bomb~1"]
    copies = {name: i for i, name in enumerate(names)}
    shuffled = {name: copies[name] for name in sorted(copies)}  # as files are listed: ~10 before ~2
    assert by_name({**shuffled, "control": -1}) == {"slot-machine+bomb": list(range(12)), "control": [-1]}
    assert not [name for name in (*words.names, *words.styles) if COPY in name or "+" in name]
