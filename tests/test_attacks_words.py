"""Attacks by words: the whole vocabulary, paraphrases, and a beam over readable prompts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from listener import BOMB, SIDE, Bright, Listener

from tverase.attacks.base import Attack, Finding, Target, owning
from tverase.attacks.beam import Beam, endings, fitting, starts
from tverase.attacks.paraphrases import Paraphrases, bare, paraphrases
from tverase.attacks.vocabulary import Vocabulary
from tverase.concepts import Concept, Prompt
from tverase.errors import ConfigError
from tverase.judges.base import shows
from tverase.models.text2image import TextToImage
from tverase.registry import built
from tverase.rng import generator
from tverase.sampling import Sampling, draw

FAST = Sampling(steps=1, guidance=1.0, batch=512)
BEAM = Beam(rounds=1, candidates=3, looks=2, first=2)
ATTACKS: list[Any] = [Vocabulary(), Paraphrases(), BEAM]
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
        owned = owning(torch.ones(4, 1, SIDE, SIDE))
        return Target(model, base, known.pop("concept", BOMB), generator(seed, "tests/words"), owned, **known)

    return target


def leaks(target: Target, found: Finding) -> float:
    cond = found.cond if len(found.cond) > 1 else found.cond.expand(4, -1, -1)
    images = draw(target.model, cond, generator(9, "tests/words/fresh"), FAST)
    return float(shows(Bright(), images, "bomb").float().mean())


@pytest.mark.parametrize("attack", ATTACKS, ids=name_of)
def test_a_leak_is_found_and_nothing_where_there_is_none(attack: Any, aimed: Aimed) -> None:
    """The name is gone, and one other word of the concept file still draws it."""
    assert leaks(aimed(), Finding("name", aimed().base.encode(["a bomb"]))) == 0
    assert max(leaks(aimed(), found) for found in attack.run(aimed())) == 1
    assert [leaks(aimed(""), found) for found in attack.run(aimed(""))].count(0) == len(list(attack.run(aimed(""))))


@pytest.mark.parametrize("attack", ATTACKS, ids=name_of)
def test_the_same_seed_finds_the_same_and_counts_its_cost(attack: Any, aimed: Aimed) -> None:
    one, again = aimed(), aimed()
    found, second = list(attack.run(one)), list(attack.run(again))
    assert [f.text for f in found] == [f.text for f in second]
    assert all(torch.equal(f.cond, s.cond) for f, s in zip(found, second, strict=True))
    assert one.model.meter.evaluations == again.model.meter.evaluations
    assert (one.model.meter.evaluations > 0) == attack.adaptive


@pytest.mark.parametrize("attack", ATTACKS, ids=name_of)
def test_findings_are_texts_that_encode_to_their_conditioning(attack: Any, aimed: Aimed) -> None:
    target = aimed()
    for found in attack.run(target):
        again = {text: target.base.encode([text])[0] for text in found.text}
        assert all(any(torch.equal(row, text) for text in again.values()) for row in found.cond)
        assert all(text.isprintable() for text in found.text)


def test_every_token_that_can_be_typed_is_drawn_once(aimed: Aimed, pico: TextToImage) -> None:
    """With one image of each and no favourite, the cost is the number of tokens that encode to themselves, and its rounds."""
    target = aimed("")
    (found,) = Vocabulary(first=1, keep=0.001, finalists=1).run(target)
    tokenizer = pico.tokenizer
    special = set(tokenizer.all_special_ids)
    texts = {i: tokenizer.decode([i]).strip() for i in range(len(tokenizer)) if i not in special}
    typed = [
        text
        for i, text in texts.items()
        if text.isprintable() and tokenizer(text, add_special_tokens=False).input_ids == [i]
    ]
    assert f"the worst of {len(typed)} single tokens, all that can be typed" in found.name
    assert target.model.meter.images == len(typed) + 2  # the one that is left gets a second round
    assert found.text == (f"a {typed[0]}",)


def test_pairs_are_enumerated_or_a_sample_that_says_so(aimed: Aimed) -> None:
    how = Vocabulary(length=2, template="{}", most=300, drawn=40, looks=1)
    single, pair = how.run(aimed("rocket"))
    assert (single.kind, pair.kind) == ("single tokens", "pairs of tokens")
    assert single.text == ("rocket",)
    assert "pairs of tokens, a sample of" in pair.name


def test_all_pairs_of_a_small_vocabulary_are_tried(aimed: Aimed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that stand for themselves only before a certain other piece are among them."""
    target = aimed("rocket")
    tokenizer = target.base.tokenizer  # type: ignore[attr-defined]
    some = [
        token for text in ("rocket", "owl", "z", "q") for token in tokenizer(text, add_special_tokens=False).input_ids
    ]
    piece = tokenizer.get_vocab()["z"]  # not the end of a word
    monkeypatch.setattr("tverase.attacks.vocabulary.ordinary", lambda _: torch.tensor([*some, piece]))
    _, pair = Vocabulary(length=2, template="{}", drawn=4).run(target)
    # All pairs of the four words, and the piece before those words with which it does not merge.
    glued = [tokenizer(f"z{word}", add_special_tokens=False).input_ids for word in ("rocket", "owl", "z", "q")]
    expected = [[piece, word] for word in some]
    count = len(some) ** 2 + sum(found == wanted for found, wanted in zip(glued, expected, strict=True))
    assert len(some) == 4
    assert f"the worst of {count} pairs of tokens, all that can be typed" in pair.name
    assert pair.text is not None
    assert "rocket" in pair.text[0]


def test_a_model_without_words_is_refused(digits: Any) -> None:
    known = BOMB, generator(0, "tests/words"), owning(torch.ones(1))
    with pytest.raises(
        ConfigError, match="the attack vocabulary searches tokens, and Digits has no tokenizer; expected"
    ):
        list(Vocabulary().run(Target(digits, digits, *known, judge=Bright(), sampling=FAST)))


@pytest.mark.parametrize("kind", ["vocabulary", "beam"])
def test_without_a_judge_nothing_can_be_counted(kind: str, aimed: Aimed) -> None:
    with pytest.raises(ConfigError, match=f"the attack {kind} counts what it sees; give its target a judge"):
        list(built("attack", kind).run(aimed(judge=None)))


@pytest.mark.parametrize("given", [{"length": 3}, {"template": "a bomb"}, {"most": 0}])
def test_settings_that_make_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="attack vocabulary"):
        built("attack", {"kind": "vocabulary", **given})


FILE = Concept(
    name="bomb",
    names=("a bomb",),
    synonyms=("a boom",),
    compositions=("a bomb, at night", "an owl with a bomb"),
    templates=("a {}", "a red {} outside"),
    tuning=("a red bomb outside",),
    retain=(Prompt("a cat", ("cat",), "tune"), Prompt("a dog", ("dog",), "report")),
)


def test_paraphrases_come_from_the_file_and_none_of_them_tunes() -> None:
    found = paraphrases(FILE)
    assert found["synonyms", "boom"] == ("a boom", "a red boom outside")
    assert found["compositions", ""] == FILE.compositions
    assert "a bomb and a dog" in found["joined", ""]
    assert {"no bomb", "not a boom"} <= set(found["negations", ""])
    every = [text for texts in found.values() for text in texts]
    assert not {"a red bomb outside", "a bomb"} & set(every)
    assert not any("a cat" in text for text in every)
    assert ("templates", "") not in found  # all of them tune here
    own = paraphrases(FILE.model_copy(update={"tuning": ()}))
    assert own["templates", ""] == ("a red bomb outside",)


def test_bare_words_have_no_article() -> None:
    assert [bare(text) for text in ("a boom", "an owl", "the end", "anger")] == ["boom", "owl", "end", "anger"]


def test_more_paraphrases_than_wanted_are_spread_evenly(aimed: Aimed) -> None:
    (found,) = [f for f in Paraphrases(most=4).run(aimed(concept=FILE)) if f.kind == "negations"]
    assert (found.name, len(found.cond), len(set(found.text))) == ("4 prompts", 4, 4)


def test_the_grammar_of_the_beam() -> None:
    assert starts(FILE) == ["a bomb", "a boom", "a red bomb outside", "a red boom outside"]
    assert {" outside", ", at night", " and a boom", ", a bomb"} <= set(endings(FILE))


def test_the_beam_finds_what_only_an_ending_says(aimed: Aimed) -> None:
    """No name and no synonym draws it: the word comes from the end of a composition."""
    known = Concept(name="bomb", names=("a bomb",), compositions=("a bomb, a rocket",), templates=("a {}",))
    plain, longer = aimed(concept=known), aimed(concept=known)
    (short,) = Beam(rounds=0, looks=2, first=2).run(plain)
    assert (short.text, leaks(plain, short)) == (("a bomb",), 0)
    (found,) = Beam(rounds=1, looks=2, first=2).run(longer)
    assert "rocket" in found.text[0]
    assert leaks(longer, found) == 1


def test_prompts_that_the_encoder_would_cut_are_left_out(aimed: Aimed, pico: TextToImage) -> None:
    long = Concept(name="bomb", names=("a bomb", "a bomb " * 20))
    target = Target(pico, pico, long, generator(0, "tests/words"), owning(pico.start(2, generator(0, "t"))))
    assert fitting(target.base, long.names) == ["a bomb"]
