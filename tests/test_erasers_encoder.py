"""Erasers that train the text encoder without images: HiRM and DES."""

from typing import Any

import pytest
import torch
from erasing import material_of, of_digits
from torch import Tensor

from tverase.concepts import Concept
from tverase.erasers.base import Material, erased
from tverase.erasers.des import Des, Pairs
from tverase.erasers.encoder import EditedEncoder
from tverase.erasers.hirm import Hirm, blocks, said
from tverase.errors import ModelError
from tverase.models.digits import Digits
from tverase.models.text2image import TextToImage


@pytest.fixture(scope="module")
def material(pico: TextToImage) -> Material:
    return material_of(pico)


def test_hirm_trains_the_first_block_and_its_last_states_go_to_the_target(material: Material) -> None:
    model = material.model
    eraser = Hirm(steps=30, lr=1e-2, prompts="name")
    found = eraser.run(material)
    first, last = blocks(model.text_encoder)  # type: ignore[attr-defined]
    assert found.weights
    assert all(name.startswith(first) for name in found.weights)
    target = eraser.target(material, material.concepts[0], last)
    assert float(target.square().mean().sqrt()) == pytest.approx(eraser.size, rel=1e-5)
    guarded = erased(model, found)
    distance = [float((said(m, last, "a bomb") - target).square().mean()) for m in (model, guarded)]
    assert distance[1] < 0.6 * distance[0]
    assert guarded.weights() is model.weights()


def test_hirm_towards_a_superclass_has_the_frozen_states_as_its_target(material: Material) -> None:
    model = material.model
    last = blocks(model.text_encoder)[1]  # type: ignore[attr-defined]
    found = Hirm(steps=30, lr=1e-2, towards="a cat", prompts="name").run(material)
    before = (model.encode(["a bomb"]) - model.encode(["a cat"])).norm()
    after = (erased(model, found).encode(["a bomb"]) - model.encode(["a cat"])).norm()
    assert float(after) < 0.5 * float(before)
    assert torch.equal(Hirm(towards="a cat").target(material, Concept.named("bomb"), last), said(model, last, "a cat"))


def test_des_sends_the_concept_away_and_holds_the_safe_prompts(material: Material) -> None:
    eraser = Des(steps=25, batch=4, lr=3e-3)
    found = eraser.run(material)
    assert isinstance(found, EditedEncoder)
    pairs, model = Pairs.of(material, eraser.scale), material.model
    guarded = erased(model, found)

    def cosine(m: Any, prompts: list[str], to: Tensor) -> float:
        return float(torch.cosine_similarity(m.encode(prompts).flatten(1), to).mean())

    before, after = (cosine(m, pairs.unsafe, pairs.targets) for m in (model, guarded))
    assert after > before + 0.3 * (1 - before)
    assert cosine(guarded, pairs.names, pairs.empty) > cosine(model, pairs.names, pairs.empty)
    safe = pairs.safe[:8]
    moved = cosine(guarded, safe, pairs.embeddings[:8])
    assert moved > cosine(guarded, pairs.unsafe[:8], model.encode(pairs.unsafe[:8]).flatten(1))


def test_des_targets_are_the_least_similar_safe_embeddings_minus_the_concept(material: Material) -> None:
    pairs = Pairs.of(material, 0.8)
    length = pairs.embeddings.norm(dim=1).mean()
    assert float(pairs.shift.norm()) == pytest.approx(0.8 * float(length), rel=1e-5)
    mine = material.model.encode([pairs.unsafe[0]]).flatten(1)
    least = torch.cosine_similarity(mine, pairs.embeddings).argmin()
    assert torch.allclose(pairs.targets[0], pairs.embeddings[least] - pairs.shift[0], atol=1e-5)


@pytest.mark.parametrize("eraser", [Hirm(), Des()], ids=["hirm", "des"])
def test_models_without_a_text_encoder_are_refused(eraser: Any, digits: Digits) -> None:
    with pytest.raises(ModelError, match="Digits has no text encoder that can be edited"):
        eraser.run(of_digits(digits))
