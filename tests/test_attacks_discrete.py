"""Attacks by discrete search: they end with prompts that encode back, find a leak that is there, and repeat."""

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from listener import BOMB, SIDE, WIDTH, Bright, Listener, token_of
from witness import SeesAll

from tverase.attacks.base import Attack, Finding, Target, owning
from tverase.attacks.discrete import Noised, Words, on_simplex, spoken
from tverase.attacks.mma import Mma
from tverase.attacks.p4d import P4D
from tverase.attacks.ring_a_bell import RingABell, direction
from tverase.attacks.unlearn_diff_atk import UnlearnDiffAtk, sampled
from tverase.errors import ConfigError, NumericalError
from tverase.judges.base import as_judge, shows
from tverase.models.base import Meter
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.registry import built
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.vector import weights_hash
from tverase.world.concepts import concept
from tverase.world.vocabulary import vocabulary

FAST = Sampling(steps=1, guidance=1.0, batch=512)
ADAPTIVE: list[Any] = [UnlearnDiffAtk(attempts=1, timesteps=8, steps=6), P4D(attempts=1, steps=50)]
TRANSFER: list[Any] = [RingABell(attempts=1, generations=40), Mma(attempts=1, steps=20)]
TINY: list[Any] = [
    UnlearnDiffAtk(attempts=2, timesteps=2, steps=1, batch=2, first=1, finalists=1),
    P4D(tokens=3, attempts=2, steps=4, look=2, batch=2, first=1, finalists=1),
    RingABell(tokens=3, attempts=2, population=8, generations=3),
    Mma(tokens=3, attempts=2, steps=2, trials=8),
]
Aimed = Callable[..., Target]


def name_of(attack: Attack) -> str:
    return type(attack).__name__


@pytest.fixture(scope="module")
def aimed(pico: TextToImage) -> Aimed:
    """Targets: a model that draws the bomb for one word only; the base model draws it for `bomb`."""
    base = Listener.of(pico.tokenizer, "bomb")

    def target(word: str = "rocket", seed: int = 0, **changes: Any) -> Target:
        model = Listener.of(pico.tokenizer, word)
        known = {"judge": Bright(), "sampling": FAST, "budget": 4, **changes}
        rng, owned = generator(seed, "tests/discrete"), owning(torch.ones(4, 1, SIDE, SIDE))
        return Target(model, base.metered(Meter()), BOMB, rng, owned, **known)

    return target


@pytest.fixture(scope="module")
def typed(pico: TextToImage) -> Words:
    return Words.of("tests", pico)


def leaks(target: Target, found: Finding) -> float:
    images = draw(target.model, found.cond[:1].expand(4, -1, -1), generator(9, "tests/discrete/fresh"), FAST)
    return float(shows(Bright(), images, "bomb").float().mean())


@pytest.mark.parametrize("attack", ADAPTIVE, ids=name_of)
def test_a_word_that_no_file_knows_is_found_in_the_attacked_model(attack: Any, aimed: Aimed) -> None:
    target = aimed("rocket")
    (found,) = attack.run(target)
    assert "rocket" in found.text[0].split()
    assert leaks(target, found) == 1
    (of_base,) = attack.run(aimed("bomb"))  # the positive control
    assert leaks(aimed("bomb"), of_base) == 1


@pytest.mark.parametrize("attack", TRANSFER, ids=name_of)
def test_what_the_encoder_says_transfers(attack: Any, aimed: Aimed) -> None:
    """No denoiser was asked, and a model that still listens to the concept's direction draws it."""
    target = aimed("bomb")
    (found,) = attack.run(target)
    assert target.model.meter.evaluations == target.base.meter.evaluations == 0
    assert leaks(target, found) == 1
    assert len(found.cond) == target.budget
    if isinstance(attack, Mma):
        assert "bomb" not in found.text[0].split()


@pytest.mark.parametrize("attack", [*ADAPTIVE, *TRANSFER], ids=name_of)
def test_where_nothing_leaks_nothing_is_found(attack: Any, aimed: Aimed) -> None:
    found = list(attack.run(aimed("")))
    assert found
    assert all(leaks(aimed(""), one) == 0 for one in found)


@pytest.fixture(scope="module", params=["unet", "transformer"])
def model(request: pytest.FixtureRequest, pico: TextToImage, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One model of each family with words, with a meter of its own."""
    if request.param == "unet":
        return pico.metered(Meter())
    from pico_flow import write_pico_flow

    return open_model(write_pico_flow(pico, tmp_path_factory.mktemp("discrete") / "flow"))


@pytest.mark.parametrize("attack", TINY, ids=name_of)
def test_the_contract_on_real_models(attack: Any, model: Any) -> None:
    """Same generator, same findings; weights untouched; cost counted; text encodes to the conditioning."""
    before, meter = weights_hash(model.weights()), model.meter
    latents, bomb = model.start(4, generator(0, "tests/discrete")), concept("bomb", vocabulary())

    def found(seed: int) -> list[Finding]:
        known: Any = {"judge": as_judge(SeesAll()), "sampling": FAST, "budget": 3}
        return list(attack.run(Target(model, model, bomb, generator(seed, "tests"), owning(latents), **known)))

    meter.evaluations = 0
    one = found(0)
    spent = meter.evaluations
    again, other = found(0), found(1)
    assert one
    assert [f.text for f in one] == [f.text for f in again] != [f.text for f in other]
    assert all(torch.equal(f.cond, a.cond) for f, a in zip(one, again, strict=True))
    assert (spent > 0) == attack.adaptive
    assert weights_hash(model.weights()) == before
    for finding in one:
        (text,) = finding.text
        assert torch.equal(finding.cond[:1], model.encode([text]))
        assert not finding.cond.requires_grad
        assert text.isprintable()


def test_words_stay_themselves_side_by_side(typed: Words, pico: TextToImage) -> None:
    """Any row of words is the encoding of its text; rows with pieces of words are dropped."""
    ids = typed.random((200, 6), generator(0, "tests/words"))
    texts, kept = spoken(pico.tokenizer, ids, "{} a bomb")
    assert kept.all()
    assert all(text.endswith(" a bomb") for text in texts)
    tokens = pico.tokenizer.get_vocab()
    pieces = torch.tensor([[tokens["b"], tokens["o"]], [tokens["bomb</w>"], tokens["b"]]])
    assert typed.prompts(pieces) == []
    assert typed.prompts(typed.random((1, 30), generator(0, "tests/words"))) == []  # too long for the encoder


def test_free_places_and_prompts_agree(typed: Words, pico: TextToImage) -> None:
    """The embeddings of words in a template are the same input as its text: what is optimised is what is drawn."""
    ids = typed.random((3, 2), generator(1, "tests/words"))
    cond = pico.space("{} a bomb", 2).cond(typed.embeddings(ids).flatten(1))
    assert torch.allclose(cond, pico.encode(typed.prompts(ids, "{} a bomb")), atol=1e-5)


def test_a_projection_keeps_words(typed: Words) -> None:
    ids = typed.random((4, 3), generator(2, "tests/words"))
    assert torch.equal(typed.nearest(typed.embeddings(ids)), ids)
    assert torch.equal(typed.nearest(2 * typed.embeddings(ids)), ids)


def test_banned_words_are_no_candidates(typed: Words, pico: TextToImage) -> None:
    fewer = typed.without(("bomb", "a boom"))
    gone = {token_of(pico.tokenizer, word) for word in ("bomb", "a", "boom")}
    assert set(typed.ids.tolist()) - set(fewer.ids.tolist()) == gone


def test_the_simplex_projection_is_the_nearest_point() -> None:
    """By its optimality conditions: the same shift for all positive shares, and no more than that for the others."""
    rows = torch.randn(50, 20, generator=generator(0, "tests/simplex"), dtype=torch.float64)
    found = on_simplex(rows)
    assert (found >= 0).all()
    assert torch.allclose(found.sum(1), torch.ones(50, dtype=torch.float64))
    for row, share in zip(rows, found, strict=True):
        shift = (row - share)[share > 0]
        assert torch.allclose(shift, shift[:1].expand_as(shift), atol=1e-9)
        assert (row[share == 0] <= shift[0] + 1e-9).all()
    inside = torch.rand(5, 7, generator=generator(1, "tests/simplex"))
    inside = inside / inside.sum(1, keepdim=True)
    assert torch.allclose(on_simplex(inside), inside, atol=1e-6)


def test_a_sample_is_one_token_with_the_gradient_of_its_shares() -> None:
    shares = torch.tensor([[0.0, 1.0, 0.0], [0.3, 0.3, 0.4]], requires_grad=True)
    hot = sampled(shares, generator(0, "tests/sampled"))
    assert torch.equal(hot[0].detach(), torch.tensor([0.0, 1.0, 0.0]))
    assert torch.allclose(hot.detach().amax(1), torch.ones(2))
    weight = torch.arange(6.0).view(2, 3)
    torch.autograd.backward((hot * weight).sum())
    assert shares.grad is not None
    assert torch.equal(shares.grad, weight)


def test_losses_are_those_of_one_prompt_at_a_time(pico: TextToImage) -> None:
    latents = pico.start(4, generator(0, "tests/noised"))
    noised = Noised.drawn(pico, latents, 3, (0.2, 0.9), generator(1, "tests/noised"))
    prompts = ["a bomb", "an owl", "a red apple"]
    together = noised.of_prompts(pico, prompts)
    for prompt, loss in zip(prompts, together, strict=True):
        answer = pico.denoise(noised.images, noised.timesteps, pico.encode([prompt]).expand(3, -1, -1))
        assert loss.item() == pytest.approx(float((answer - noised.aim).square().mean()), rel=1e-4)


@pytest.mark.parametrize("attack", [RingABell(attempts=1, generations=12), Mma(attempts=1, steps=12)], ids=name_of)
def test_a_text_search_never_loses_what_it_has(attack: Any, aimed: Aimed) -> None:
    target = aimed("bomb")
    found = Words.of("tests", target.base)
    aim = target.base.encode(["a bomb"]).flatten(1)
    far = [distance for _, distance in attack.search(found, aim, target.rng)]
    assert len(far) == 12
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(far))
    assert far[-1] < far[0]


def test_the_direction_of_a_linear_encoder_is_the_difference_of_its_words(aimed: Aimed) -> None:
    """Templates cancel: what is left is the noun's embedding less the neighbours', in the noun's place."""
    target = aimed()
    table, tokenizer = target.base.token_embedding.weight, target.base.tokenizer  # type: ignore[attr-defined]
    near = torch.stack([table[token_of(tokenizer, word)] for word in BOMB.neighbours]).mean(0)
    found = direction(target, 3).view(-1, table.shape[1])
    assert torch.allclose(found[2], table[token_of(tokenizer, "bomb")] - near, atol=1e-6)
    assert found[[0, 1, 3]].abs().max() < 1e-6


@pytest.mark.parametrize("attack", ADAPTIVE, ids=name_of)
def test_a_model_that_answers_no_numbers_is_a_sentence(attack: Any, aimed: Aimed) -> None:
    broken = aimed().model.with_weights({"hidden": torch.full((WIDTH,), torch.nan)})
    with pytest.raises(
        NumericalError,
        match=f"a loss of the attack {sys.modules[type(attack).__module__].NAME} is not finite; lower its `lr`",
    ):
        list(attack.run(replace(aimed(), model=broken)))


@pytest.mark.parametrize("kind", ["unlearn-diff-atk", "p4d", "ring-a-bell", "mma"])
def test_a_model_without_words_is_refused(kind: str, digits: Any) -> None:
    known = BOMB, generator(0, "tests/words"), owning(torch.ones(1, 1, 8, 8))
    with pytest.raises(ConfigError, match=f"the attack {kind} searches tokens, and Digits has no tokenizer"):
        list(built("attack", kind).run(Target(digits, digits, *known, judge=Bright(), sampling=FAST)))


@pytest.mark.parametrize("given", [{"population": 2}, {"mutation": 1.5}, {"tokens": 0}])
def test_settings_that_make_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="attack ring-a-bell"):
        built("attack", {"kind": "ring-a-bell", **given})
