"""The forget set of hardening: prompts, embeddings in many templates, random embeddings, and the findings of attacks."""

from dataclasses import replace
from typing import cast

import pytest
import torch

from tverase.attacks.base import Finding
from tverase.concepts import Concept, halves
from tverase.context import Context
from tverase.hardening.forget import forget_inputs, forget_set, varied
from tverase.hardening.settings import Harden
from tverase.inversion.diverse import Invert
from tverase.inversion.run import space_of, spaces_of, words_of
from tverase.inversion.sets import Found, InversionSet
from tverase.judges.base import Judge
from tverase.models.base import in_turn
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.spaces.states import StateSpace
from tverase.spaces.tokens import TokenSpace
from tverase.world.concepts import concept as named
from tverase.world.vocabulary import vocabulary

SETTINGS = Harden(inputs=6)


def concept(name: str) -> Concept:
    return named(name, vocabulary())


@pytest.fixture
def context(pico: TextToImage) -> Context:
    return Context(pico, (concept("bomb"),), cast(Judge, None), Sampling(), Invert())  # nothing is judged


def test_the_forget_set_is_prompts_embeddings_and_random_embeddings(context: Context) -> None:
    bomb, space, count = context.concepts[0], context.model.space("a {}"), 12
    points = torch.stack([space.anchor("owl"), space.anchor("fire")])
    rows = forget_inputs(context, bomb, points, count)
    assert len(rows) == 3 * count
    assert torch.equal(rows[:count], in_turn(context.model.encode([*bomb.names[:2], *bomb.tuning]), count))
    assert len(torch.unique(rows[count : 2 * count].flatten(1), dim=0)) > len(points)  # in many templates
    assert len(torch.unique(rows[2 * count :].flatten(1), dim=0)) == count


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_findings_are_kept_as_they_are_and_varied(share: float, context: Context) -> None:
    space, bomb = context.model.space(context.concepts[0].template), context.concepts[0]
    point = space.anchor("owl")
    found = Finding("one", space.cond(point[None]).detach(), point=point)
    other = Finding("two", context.model.encode(["a cat"]))
    settings = SETTINGS.model_copy(update={"as_found": share})
    rows = varied(context, [(bomb, found), (bomb, other)], settings, generator(0, "tests/varied"))
    assert len(rows) == 2 * SETTINGS.inputs  # one has a place in the space of embeddings, the other has none
    same = [torch.allclose(row, found.cond[0], atol=1e-6) for row in rows[: SETTINGS.inputs]]
    assert sum(same) == round(share * SETTINGS.inputs)
    assert all(torch.equal(row, other.cond[0]) for row in rows[SETTINGS.inputs :])


def test_the_forget_set_has_every_concept(context: Context) -> None:
    both = replace(context, concepts=(*context.concepts, concept("skull")))
    point = context.model.space("a {}").anchor("owl")[None]
    tune = InversionSet(point, (Found("t0", "bomb", 0.0, 1.0, 0.5, 9, 10, accepted=True),), "a {}")
    rows = forget_set(both, tune, SETTINGS)
    assert len(rows) == 3 * SETTINGS.inputs + 2 * SETTINGS.inputs  # there is no embedding of the second concept
    assert torch.equal(rows[: 3 * SETTINGS.inputs], forget_set(context, tune, SETTINGS))


@pytest.mark.parametrize("names", [["bomb"], ["bomb", "skull"]])
def test_hardening_and_scoring_share_no_prompt(names: list[str]) -> None:
    concepts = [concept(name) for name in names]
    for one in concepts:
        scored = {prompt for kind, prompts in one.prompts_by_kind.items() if kind != "name" for prompt in prompts}
        assert scored.isdisjoint(one.tuning)
    tuning, scoring = halves(concepts)
    assert {p.text for p in tuning}.isdisjoint(p.text for p in scoring)


def test_one_place_decides_what_a_point_means(pico: TextToImage) -> None:
    bomb = concept("bomb")
    words, states = Invert(tokens=2), Invert(space="states")
    assert space_of(pico, bomb, words) == words_of(pico, bomb, words) == TokenSpace(pico, "a {}", 2)
    assert space_of(pico, bomb, states) == StateSpace(pico, "a {}")
    assert words_of(pico, bomb, states) == TokenSpace(pico, "a {}")
    noto = concept("noto")
    assert space_of(pico, noto, states) == StateSpace(pico, "something in {} style")
    assert len(spaces_of(pico, bomb, words)) == len(bomb.templates)
    assert spaces_of(pico, bomb, states) == [space_of(pico, bomb, states)]
