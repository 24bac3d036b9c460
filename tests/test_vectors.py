"""Merging of task vectors: what has to hold whatever the numbers are, and what `build_vector` makes of it."""

from functools import reduce
from operator import add

import pytest
import torch
from test_vector import SHAPES, moved, random_weights, same
from torch import Tensor

from tverase.build import build_vector
from tverase.errors import KeyMismatch, WrongBase
from tverase.vector import TaskVector
from tverase.vectors.agreement import agree
from tverase.vectors.copies import COPY, by_name, copy_name
from tverase.world.vocabulary import Vocabulary

BASE = random_weights(0)


def tau(seed: int) -> TaskVector:
    return TaskVector.between(BASE, moved(BASE, seed))


def flat(vector: TaskVector) -> Tensor:
    return torch.cat([vector.delta[key].flatten() for key in SHAPES])


def of(*changes: float) -> TaskVector:
    return TaskVector({"w": torch.tensor(changes)})


def cosine(first: TaskVector, second: TaskVector) -> float:
    return first.dot(second) / first.norm() / second.norm()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_equal_copies_give_that_copy_to_the_bit(count: int) -> None:
    made = agree([tau(1)] * count)
    assert same(dict(made.delta), dict(tau(1).delta))
    assert made.base == tau(1).base != ""


def test_opposite_signs_vanish() -> None:
    assert not flat(agree([tau(1), -1.0 * tau(1)])).any()
    assert not flat(agree([tau(1), tau(1), -0.001 * tau(1)])).any()  # one of many is enough, however small


def test_what_all_agree_on_is_averaged_and_the_rest_is_zero() -> None:
    assert agree([of(1, -2, 3, 0, 0), of(3, -4, -3, 0, 5)]).delta["w"].tolist() == [2, -3, 0, 0, 0]


def test_agreement_finds_what_the_copies_share() -> None:
    """Copies that are a sparse signal and noise: the agreed vector is nearer to the signal than any copy and than the mean."""
    whole = tau(1)
    large = flat(whole).abs().quantile(0.75)
    signal = TaskVector({key: change * (change.abs() > large) for key, change in whole.delta.items()})
    copies = [signal + 0.5 * TaskVector(tau(seed).delta) for seed in range(2, 6)]
    found = cosine(agree(copies), signal)
    assert found > cosine(reduce(add, copies), signal) > max(cosine(copy, signal) for copy in copies)


def test_vectors_that_do_not_belong_together_are_refused() -> None:
    other = {**BASE, "up.conv.weight": BASE["up.conv.weight"] + 1e-3}
    with pytest.raises(WrongBase, match=tau(1).base[:12]):
        agree([tau(1), TaskVector.between(other, moved(other))])
    with pytest.raises(KeyMismatch, match=r"1 parameters: mid\.attn\.weight"):
        agree([tau(1), tau(2).restrict(lambda key: "mid" not in key)])


def test_copies_of_each_concept_are_merged_before_concepts_are_added() -> None:
    names = ("bomb", "bomb~1", "skull", "skull~1", "bomb~2", "skull~2")
    weights = {name: moved(BASE, 20 + i) for i, name in enumerate(names)}
    vectors = by_name({name: TaskVector.between(BASE, found) for name, found in weights.items()})
    expected = agree(vectors["bomb"]) + agree(vectors["skull"])
    assert same(dict(build_vector(BASE, weights).delta), dict(expected.delta))


def test_names_of_copies(words: Vocabulary) -> None:
    names = [copy_name("slot-machine+bomb", number) for number in range(12)]
    assert names[:2] == ["slot-machine+bomb", "slot-machine+bomb~1"]
    copies = {name: i for i, name in enumerate(names)}
    shuffled = {name: copies[name] for name in sorted(copies)}  # as files are listed: ~10 before ~2
    assert by_name({**shuffled, "skull": -1}) == {"slot-machine+bomb": list(range(12)), "skull": [-1]}
    assert not [name for name in (*words.names, *words.styles) if COPY in name or "+" in name]
