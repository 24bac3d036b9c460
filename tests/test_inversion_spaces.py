"""Diverse Inversion in wider spaces: several free words, and all that the text encoder says."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from witness import SeesAll

from tasks import build_vector, choose_strength, erase, evaluate, finetune, harden, invert, make_images, select
from tverase.attacks.base import Finding, Target, owning
from tverase.attacks.concept_inversion import ConceptInversion, concept_inversion
from tverase.concepts import Concept
from tverase.config import Params
from tverase.context import Context
from tverase.errors import ConfigError
from tverase.files import read_json
from tverase.hardening.forget import REACH, STRETCH, forget_inputs, varied
from tverase.hardening.settings import Harden
from tverase.inversion.diverse import Invert, Round, search
from tverase.inversion.run import space_of, words_of
from tverase.inversion.sets import InversionSet
from tverase.models.base import Meter
from tverase.models.digits import Digits
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling
from tverase.spaces.cone import cosine
from tverase.spaces.states import StateSpace
from tverase.spaces.tokens import TokenSpace
from tverase.world.concepts import concept
from tverase.world.digit_concepts import digit_concept
from tverase.world.vocabulary import vocabulary

BINS = torch.tensor([[-0.2, 0.2], [0.4, 0.6], [0.95, 0.98]])
SPACES: list[dict[str, Any]] = [{"tokens": 2}, {"tokens": 3}, {"space": "states"}]


@pytest.fixture(scope="module")
def bomb() -> Concept:
    return concept("bomb", vocabulary())


def context_of(model: TextToImage, bomb: Concept, how: dict[str, Any]) -> Context:
    return Context(model, (bomb,), SeesAll(), Sampling(steps=1), Invert(**how))


def attacked(context: Context, latents: Tensor, attack: ConceptInversion, rng: torch.Generator) -> list[Finding]:
    """What an attack finds against the model itself."""
    (of,) = context.concepts
    return list(attack.run(Target(context.model, context.model, of, rng, owning(latents), context.invert)))


@pytest.fixture(scope="module")
def latents(pico: TextToImage) -> Tensor:
    return pico.start(4, generator(0, "tests/spaces"))


def rounds(model: TextToImage, of: Concept, latents: Tensor, settings: Invert) -> list[Round]:
    space = space_of(model, of, settings)
    anchor, rng = space.anchor(of.noun), generator(0, "tests/spaces/search")
    return list(search(model, space, anchor, BINS, latents, settings, rng))


@pytest.mark.parametrize(("noun", "tokens", "said"), [
    ("bomb", 1, "a bomb"), ("bomb", 2, "a bomb bomb"), ("slot machine", 2, "a slot machine"),
])  # fmt: skip
def test_the_concepts_own_point_says_its_words(pico: TextToImage, noun: str, tokens: int, said: str) -> None:
    space = TokenSpace(pico, tokens=tokens)
    assert torch.allclose(space.cond(space.anchor(noun)[None]), pico.encode([said]), atol=1e-6)


def test_words_that_do_not_fit_the_places_are_their_mean_in_each(pico: TextToImage) -> None:
    mean = TokenSpace(pico).anchor("slot machine")
    assert torch.equal(TokenSpace(pico, tokens=3).anchor("slot machine"), torch.cat([mean] * 3))


@pytest.mark.parametrize("template", ["a {}", "a noto {}, on a blue background", "{}"])
def test_free_words_stand_side_by_side(pico: TextToImage, template: str) -> None:
    space, one = TokenSpace(pico, template, 2), TokenSpace(pico)
    points = torch.stack([torch.cat([one.anchor("owl"), one.anchor("fire")]), torch.cat([one.anchor("car")] * 2)])
    said = [template.format(words) for words in ("owl fire", "car car")]
    assert torch.allclose(space.cond(points), pico.encode(said), atol=1e-6)
    assert torch.equal(space.words(points)[0], torch.stack([one.anchor("owl"), one.anchor("fire")]))


def test_starts_are_as_long_as_that_many_words(pico: TextToImage) -> None:
    space = TokenSpace(pico, tokens=4)
    points = space.start(space.anchor("bomb"), *BINS.T, generator(0, "tests/spaces/start"))
    median = pico.token_embedding.weight.norm(dim=1).median()
    assert torch.allclose(points.norm(dim=1), 2 * median.expand(len(BINS)), rtol=1e-4)


def test_more_words_than_there_is_room_for(pico: TextToImage) -> None:
    space = TokenSpace(pico, tokens=pico.tokenizer.model_max_length - 2)
    with pytest.raises(ConfigError, match=r"free tokens is longer than the .* lower `invert\.tokens`"):
        space.cond(space.anchor("bomb")[None])


@pytest.mark.parametrize("how", SPACES, ids=str)
def test_every_point_moves_and_stays_in_its_bin(
    pico: TextToImage, bomb: Concept, latents: Tensor, how: dict[str, Any]
) -> None:
    settings = Invert(steps=3, batch=2, lr=0.1, **how)
    anchor = space_of(pico, bomb, settings).anchor("bomb")
    first, *_, last = rounds(pico, bomb, latents, settings)
    cosines = cosine(last.points, anchor)
    assert last.points.shape == (len(BINS), len(anchor))
    assert ((BINS[:, 0] - 1e-4 <= cosines) & (cosines <= BINS[:, 1] + 1e-4)).all()
    assert (last.points - first.points).norm(dim=1).min() > 0


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("how", [{}, *SPACES], ids=str)
def test_the_chunk_changes_memory_and_nothing_else(
    pico: TextToImage, bomb: Concept, latents: Tensor, how: dict[str, Any], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the images of one embedding do not fit into it."""
    settings = Invert(steps=1, batch=3, lr=0.1, **how)
    (whole,) = rounds(pico, bomb, latents, settings)
    sizes, denoise = [], TextToImage.denoise

    def watched(self: TextToImage, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        sizes.append(len(noised))
        return denoise(self, noised, timesteps, cond)

    monkeypatch.setattr(TextToImage, "denoise", watched)
    (parts,) = rounds(pico, bomb, latents, settings.model_copy(update={"chunk": chunk}))
    assert max(sizes) <= chunk
    assert sum(sizes) == len(BINS) * settings.batch
    assert torch.allclose(whole.losses, parts.losses, rtol=1e-4)
    assert torch.allclose(whole.points, parts.points, atol=1e-3)


@pytest.mark.parametrize("room", [1, 2, 4, 5])
def test_what_does_not_fit_into_the_memory_is_done_in_halves(
    pico: TextToImage, bomb: Concept, latents: Tensor, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same points by the same number of evaluations; what fits is found out once."""
    settings, denoise, failed = Invert(steps=2, batch=3, lr=0.1), TextToImage.denoise, list[int]()
    models = [replace(pico, meter=Meter()) for _ in range(2)]
    whole = rounds(models[0], bomb, latents, settings)[-1]

    def cramped(self: TextToImage, noised: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        answer = denoise(self, noised, timesteps, cond)
        if len(noised) > room:
            failed.append(len(noised))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answer

    monkeypatch.setattr(TextToImage, "denoise", cramped)
    parts = rounds(models[1], bomb, latents, settings)[-1]
    assert failed == sorted(set(failed), reverse=True)
    assert torch.allclose(whole.losses, parts.losses, rtol=1e-3)
    assert torch.allclose(whole.points, parts.points, atol=1e-3)
    assert models[0].meter.evaluations == models[1].meter.evaluations
    room = 0
    with pytest.raises(torch.OutOfMemoryError):
        rounds(models[1], bomb, latents, settings)


@pytest.mark.parametrize("how", SPACES, ids=str)
def test_the_forget_set_and_findings_in_every_space(
    pico: TextToImage, bomb: Concept, latents: Tensor, how: dict[str, Any]
) -> None:
    context, count = context_of(pico, bomb, how), len(BINS) * len(bomb.templates)
    space = space_of(pico, bomb, context.invert)
    points = space.start(space.anchor("bomb"), *BINS.T, generator(0, "tests/spaces/forget"))
    rows = forget_inputs(context, bomb, points, count)
    assert rows.shape == (3 * count, *pico.null.shape[1:])
    assert torch.equal(rows[count : count + len(points)], space.cond(points))
    places = len(points) * (1 if "space" in how else len(bomb.templates))
    assert len(torch.unique(rows[count : 2 * count].flatten(1), dim=0)) == places
    rng = generator(0, "tests/spaces/varied")
    found = attacked(context, latents, ConceptInversion(words=2, steps=1, batch=1), rng)
    assert all(one.point is not None for one in found)
    more = varied(context, [(bomb, one) for one in found], Harden(inputs=count), rng)
    assert more.shape == (count, *pico.null.shape[1:])


@pytest.mark.parametrize(("as_found", "own"), [(0.0, 0), (0.5, 3), (1.0, 6)])
@pytest.mark.parametrize("how", SPACES, ids=str)
def test_a_share_of_the_findings_stays_as_it_is(
    pico: TextToImage, bomb: Concept, how: dict[str, Any], as_found: float, own: int
) -> None:
    context = context_of(pico, bomb, how)
    space = space_of(pico, bomb, context.invert)
    points = space.start(space.anchor("bomb"), *BINS.T, generator(0, "tests/spaces/varied"))
    found = [(bomb, Finding(str(i), space.cond(point[None]), point=point)) for i, point in enumerate(points)]
    rows = varied(context, found, Harden(inputs=6, as_found=as_found), generator(0, "tests/spaces/varied"))
    just = space.cond(points)
    same = [any(torch.allclose(row, point, atol=1e-5) for point in just) for row in rows]
    assert len(rows) == 6
    assert same[6 - own :] == [True] * own
    assert any(same[: 6 - own]) == ("space" in how and own < 6)  # words are of other lengths, in other templates


def test_the_forget_set_is_of_many_lengths(
    pico: TextToImage, bomb: Concept, latents: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attack that goes on for longer ends with longer embeddings, so these are in it as well, each in many templates."""
    seen: list[Tensor] = []
    cond = TokenSpace.cond

    def watched(self: TokenSpace, points: Tensor) -> Tensor:
        seen.append(points.detach().clone())
        return cond(self, points)

    monkeypatch.setattr(TokenSpace, "cond", watched)
    context = context_of(pico, bomb, {})
    space, none = space_of(pico, bomb, Invert()), torch.zeros(0)
    forget_inputs(context, bomb, none, 64)
    usual = space.start(space.anchor("bomb"), *BINS.T, generator(0, "tests/spaces/forget")).norm(dim=1)[0]
    lengths = seen[-1].norm(dim=1) / usual
    assert 0.999 < lengths.min() < 1.5
    assert 8 < lengths.max() < REACH * 1.001

    attack, places = ConceptInversion(words=3, steps=1, batch=1), len(bomb.templates)
    found = attacked(context, latents, attack, generator(0, "tests/spaces/lengths"))
    settings = Harden(inputs=5 * places, as_found=0)
    rows = varied(context, [(bomb, one) for one in found], settings, generator(0, "tests/spaces/lengths"))
    assert len(rows) == 5 * places
    held_now = torch.stack(seen[-places:])
    *_, last = concept_inversion(pico, space, "bomb", latents, attack, generator(0, "tests/spaces/lengths"))
    alike = torch.nn.functional.cosine_similarity(held_now[:, :, None], last.points.detach()[None, None], dim=-1)
    assert torch.allclose(alike.amax(-1), torch.ones(places, 5), atol=1e-5)
    shares = held_now.norm(dim=-1) / last.points.detach().norm(dim=1)[alike.argmax(-1)]
    low, high = STRETCH
    assert low * 0.999 < shares.min() < 0.9
    assert 1.5 < shares.max() < high * 1.001
    assert all(len(set(one.tolist())) == 3 for one in alike.argmax(-1))


@pytest.mark.parametrize(("settings", "why"), [
    ({"space": "states", "tokens": 2}, "tokens counts free words"),
    ({"space": "words"}, "Input should be 'tokens' or 'states'"),
    ({"tokens": 0}, "greater than 0"),
    ({"bins": ((0.0, 0.2), (0.0, 0.2))}, "a bin is given twice"),
])  # fmt: skip
def test_what_cannot_be_searched_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Invert(**settings)


def test_digits_have_one_code_and_no_words(digits: Digits) -> None:
    with pytest.raises(ConfigError, match="hears one code and no words"):
        words_of(digits, digit_concept(3), Invert(tokens=2))


@pytest.mark.parametrize("states", [False, True])
def test_a_space_without_an_end_is_nowhere_covered(pico: TextToImage, states: bool) -> None:
    """So that nothing is drawn for it, and a text model has no such inputs in its forget set."""
    space = StateSpace(pico) if states else pico.space("a {}", 2)
    rng = generator(0, "tests/spaces/anywhere")
    before = rng.get_state()
    found = space.anywhere(5, rng)
    assert found.shape == (0, len(space.anchor("bomb")))
    assert torch.equal(rng.get_state(), before)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pipeline up to the vector, in the working folder; what params.yaml says of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        for step in (make_images, finetune, build_vector):
            step.STEP.execute(Params.parse(small_run))
        yield small_run


@pytest.mark.parametrize("how", [*SPACES[1:], {"accept": 1, "images": 40}], ids=str)
def test_all_steps_take_the_points_as_they_are(begun: dict[str, Any], how: dict[str, Any]) -> None:
    """The last finds nothing in any bin, which is a result and no error."""
    params = Params.parse(begun | {"invert": begun["invert"] | how})
    for step in (invert, select, harden, choose_strength, erase, evaluate):
        assert not step.STEP.execute(params).reused
    sets = [InversionSet.load(params.out / "inversions" / f"{role}.safetensors") for role in ("tune", "report")]
    index = read_json(params.out / "inversions" / "index.json")
    rows = read_json(params.out / "evaluation" / "evaluation.json")["rows"]
    shown = [row["input"] for row in rows if row["kind"] == "inversion"]
    assert (index["space"], index["tokens"]) == (how.get("space", "tokens"), how.get("tokens", 1))
    assert shown == [item.name for item in sets[1].accepted().found]
    assert Path(params.out / "inversions" / "embeddings").exists() == (how == SPACES[1])
    if "accept" in how:
        assert (len(sets[0]), shown) == (2, [])
        assert all(bin_["found"] == 0 for bin_ in index["by_bin"]["tune"])
        assert index["evaluations_per_accepted"] == {"bomb": None}
    else:
        (of,) = params.concept_list
        anchor = space_of(open_model(params.model), of, params.invert).anchor(of.noun)
        assert sets[0].points.shape == (2, len(anchor))
