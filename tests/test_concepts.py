"""Concepts: names and slugs, the emoji vocabulary as before, templates by kind, joint retain sets."""

import ast
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

import tverase
from tverase.concepts import Concept, Prompt, evenly, halves, joint, run_name, slug, spread
from tverase.concepts.base import KINDS, LONGEST, RESERVED, Kind, distinct
from tverase.concepts.build import build
from tverase.concepts.resolve import known_names, resolve, resolve_all
from tverase.concepts.retain import divided
from tverase.errors import ConfigError
from tverase.world.concepts import concept
from tverase.world.vocabulary import Vocabulary

# sha256 of the halves of the retain set as they were when the vocabulary was the only source of concepts: counts, then
# the first 16 digits for the half that tunes and the half that reports, of [[text, labels], ...] as JSON.
FROZEN = {
    ("bomb",): (157, 158, "92b24729da4a05af", "af33bf9e8f58686f", "a blob dagger", "a noto dagger"),
    ("noto",): (128, 128, "0e1d422c0d6a10ab", "83981b360a300e0e", "a fluent bomb", "a blob bomb"),
    ("bomb", "noto"): (126, 126, "3fa0fcdc6956718e", "d857f1e564b16018", "a blob dagger", "a fluent dagger"),
    ("noto", "bomb"): (126, 126, "3fa0fcdc6956718e", "d857f1e564b16018", "a blob dagger", "a fluent dagger"),
    ("bomb", "skull", "slot machine"): (
        152, 153, "7b76b3b532a1ed44", "92e426838d84f34e", "a blob dagger", "a noto dagger",
    ),
    ("noto", "blob", "fluent", "flat", "contrast"): (
        32, 32, "224bd8e41bb64ac7", "331c6fee93d79755", "a bomb", "a dagger",
    ),
}  # fmt: skip
EVERYTHING = "7d409e0943e1341a"  # of all 69 concepts: names, prompts, templates, slugs, neighbours


def digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("names", FROZEN, ids="+".join)
def test_the_retain_set_of_emoji_concepts_is_the_list_of_before(names: tuple[str, ...]) -> None:
    tuning, scoring = halves(resolve_all(names).concepts)
    said = [digest([(p.text, list(p.labels)) for p in half]) for half in (tuning, scoring)]
    assert (len(tuning), len(scoring), *said, tuning[0].text, scoring[0].text) == FROZEN[names]


def test_all_emoji_concepts_are_as_before(words: Vocabulary) -> None:
    found = {}
    for name in (*words.names, *words.styles):
        made = concept(name, words)
        prompts = made.names, made.synonyms, made.compositions, made.tuning, list(made.templates)
        found[name] = [
            name,
            made.kind,
            made.noun,
            *prompts,
            made.slug,
            sorted(made.neighbours),
            list(made.prompts_by_kind),
        ]
        assert (made.label, made.judge) == (name, {"kind": "embedded", "folder": "models/judges"})
    assert digest(found) == EVERYTHING


def test_every_concept_has_prompts_that_name_it(words: Vocabulary) -> None:
    for name in (*words.names, *words.styles):
        made = concept(name, words)
        prompts = [prompt for prompts in made.prompts_by_kind.values() for prompt in prompts]
        assert all(made.prompts_by_kind.values())
        assert len(set(prompts)) == len(prompts)
        assert all(f" {name}" in prompt for prompt in (*made.names, *made.compositions))
        assert made.template.count("{}") == 1


def test_retain_prompts_have_nothing_to_do_with_the_concepts(words: Vocabulary) -> None:
    prompts = joint([concept("bomb", words), concept("noto", words)])
    assert len({p.text for p in prompts}) == (len(words.names) - 1) * (len(words.styles) - 1)
    assert not [p for p in prompts if {"bomb", "noto"} & {*p.labels} or "bomb" in p.text or "noto" in p.text]


def test_retain_prompts_where_a_whole_axis_goes(words: Vocabulary) -> None:
    styles, things = ([concept(n, words) for n in names] for names in (words.styles, words.names))
    assert [p.labels for p in joint(styles)] == [(name,) for name in words.names]
    assert [p.labels for p in joint(things)] == [(name,) for name in words.styles]
    with pytest.raises(ConfigError, match="nothing is left"):
        joint([*styles, *things])


@pytest.mark.parametrize("count", [7, 63, 320, 1000])
def test_few_or_many_retain_prompts_are_spread_over_the_styles(words: Vocabulary, count: int) -> None:
    prompts = joint([concept("bomb", words)])
    chosen = spread(prompts, count, torch.Generator().manual_seed(0))
    often = Counter(p.text for p in chosen)
    assert len(chosen) == count
    assert max(often.values()) - min(often.values() if count >= len(prompts) else [1]) <= 1
    assert len({p.labels[1] for p in chosen}) == len(words.styles) or count < 10


def test_neighbours_are_of_the_same_group(words: Vocabulary) -> None:
    near = concept("bomb", words).neighbours
    assert "dagger" in near
    assert "bomb" not in near
    assert {words.thing(name).group for name in near} == {"unsafe"}
    assert set(concept("noto", words).neighbours) == set(words.styles) - {"noto"}


def test_a_union_drops_what_belongs_to_another_concept() -> None:
    """By label where a prompt has one, otherwise by its words; and each text comes once."""
    monet = Concept(name="monet", names=("by monet",), retain=(
        Prompt("a field by van gogh"), Prompt("a field"), Prompt("sunflowers", ("van gogh",)), Prompt("van gogh's chair", ("chair",)),
    ))  # fmt: skip
    gogh = Concept(
        name="van gogh", names=("by van gogh",), retain=(Prompt("a field"), Prompt("Monet in a boat"), Prompt("a boat"))
    )
    assert [p.text for p in joint([monet, gogh])] == ["a field", "van gogh's chair", "a boat"]
    assert [p.text for p in joint([monet])] == [p.text for p in monet.retain]


def test_prompts_are_divided_evenly_whatever_their_order() -> None:
    prompts = [Prompt(f"prompt {i}", (f"label {i % 3}",)) for i in range(30)]
    roles = {p.text: p.role for p in divided(prompts)}
    assert roles == {p.text: p.role for p in divided(prompts[::-1])}
    assert Counter(roles.values()) == {"tune": 15, "report": 15}
    assert {(p.labels, p.role) for p in divided(prompts)} == {
        ((f"label {i}",), role) for i in range(3) for role in ("tune", "report")
    }
    assert [p.text for p in divided(prompts)] == [p.text for p in prompts]


@pytest.mark.parametrize(("name", "expected"), [
    ("slot machine", "slot-machine"), ("Van Gogh", "van-gogh"), ("Café  NOIR!", "cafe-noir"), ("../../etc/passwd", "etc-passwd"),
    ("a+b", "a-b"), ("-x-", "x"), ("C\N{LATIN SMALL LIGATURE FI}", "cfi"),
])  # fmt: skip
def test_slugs_are_file_names(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize("name", ["\N{CJK UNIFIED IDEOGRAPH-706B}", "x" * 200, "straße", "a b " * 40, "\N{FIRE}" * 3])
def test_odd_and_long_names_have_short_slugs_of_their_own(name: str) -> None:
    found = slug(name)
    assert 0 < len(found) <= LONGEST
    assert found.isascii()
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert found != slug(name + "!x")
    assert slug(name) == found


def test_the_name_of_a_run_is_a_file_name_however_many_concepts_there_are(words: Vocabulary) -> None:
    every = [concept(name, words) for name in (*words.names, *words.styles)]
    assert run_name(every[:2]) == "bomb+dagger"
    assert len(run_name(every)) <= LONGEST
    assert run_name(every) != run_name(every[:-1])


def test_two_concepts_of_one_file_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'Van Gogh' and 'van-gogh' share the file name 'van-gogh'; rename"):
        resolve_all(["Van Gogh", "van-gogh"])
    with pytest.raises(ConfigError, match="'bomb' is named twice"):
        resolve_all(["bomb", "bomb"])
    one = resolve("bomb").concepts[0]
    with pytest.raises(ConfigError, match="'bomb' is named twice"):
        distinct([one, one])


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_the_retain_set_uses_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name!r} has a name that the retain set uses"):
        resolve_all([name])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"templates": ("a photo",)}, "exactly once"),
        ({"templates": ("{} and {}",)}, "exactly once"),
        ({"templates": ("{} {x}",)}, "exactly once"),
        ({"names": ()}, "at least 1"),
        ({"names": ("a", " ")}, "a prompt is empty"),
        ({"name": "!?"}, "a letter or a digit"),
        ({"name": "a\nb"}, "control characters"),
        ({"name": ""}, "at least 1"),
        ({"kind": "thing"}, "'object', 'style'"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_concept_that_is_none_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Concept.model_validate({"name": "bomb", "names": ("a bomb",), **given})
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_alone_is_built_by_its_kind_and_says_so(kind: Kind) -> None:
    made = build("umbrella", kind)
    found = made.concept
    assert all("umbrella" in prompt for prompt in found.prompts)
    assert not [prompt for prompt in found.prompts if "a umbrella" in prompt]
    assert set(found.tuning).isdisjoint(found.compositions)
    assert len(halves([found])[0]) == len(halves([found])[1]) == 20
    assert (found.noun, found.label, found.judge) == ("umbrella", "umbrella", None)
    said = " ".join(made.assumed)
    assert all(word in said for word in ("templates", "names", "retain"))


def test_any_name_resolves() -> None:
    assert {"bomb", "noto", "3"} <= set(known_names())
    assert resolve("bomb") == resolve(" bomb ")
    assert not resolve("bomb").notices
    assert resolve("3").concepts[0].kind == "class"
    made = resolve("Café Noir")
    assert made.concepts[0].slug == "cafe-noir"
    assert "in no vocabulary" in made.notices[0]
    assert "tverase concept new" in made.notices[0]


def test_evenly_keeps_the_order() -> None:
    assert evenly([1, 2, 3, 4], 2) == [1, 3]
    assert evenly([1, 2], 4) == [1, 1, 2, 2]


def test_no_world_is_known_outside_of_worlds_and_their_pretraining() -> None:
    """A new vocabulary is a producer, found by its name; nothing imports one."""
    root = Path(tverase.__file__).parent
    found = [
        (path.relative_to(root).parts, node.lineno)
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] not in ("world", "pretrain")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom) and "world" in ast.unparse(node).replace(".", " ").split()
    ]
    assert found == []
