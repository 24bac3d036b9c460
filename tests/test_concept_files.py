"""Concept files: read strictly, groups, captions, and the examples of the docs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tverase.concepts import Concept, halves
from tverase.concepts.resolve import resolve, resolve_all
from tverase.errors import ConfigError
from tverase.sampling import Sampling

ROOT = Path(__file__).parents[1]
SAMPLING = Sampling(steps=1, guidance=1.0)
WHOLE = """\
name: van gogh
kind: style
noun: Van Gogh
names: [a painting in the style of Van Gogh, by Van Gogh]
synonyms: [swirling brush strokes]
compositions: [a field by Van Gogh, a night by Van Gogh, a vase by Van Gogh]
templates: ["a painting in the style of {}"]
neighbours: [monet]
retain: {a garden by Monet: monet, a pond by Monet: [monet], a photo of a dog: photo, a photo of a cat: photo}
judge: {kind: clip, model: folder, labels: [gogh, monet, photo]}
label: gogh
"""
SMALL = "name: bomb\nnames: [a bomb, a red bomb]\ncompositions: [a small bomb, a large bomb]\n"  # fits into pico's text encoder
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "x.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return written


def one(path: Path) -> Concept:
    (found,) = resolve(str(path)).concepts
    return found


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_a_whole_file(write: Write) -> None:
    path = write(WHOLE)
    found = one(path)
    assert (found.name, found.kind, found.noun, found.label) == ("van gogh", "style", "Van Gogh", "gogh")
    assert found.tuning == ("a field by Van Gogh", "a vase by Van Gogh")
    assert found.compositions == ("a night by Van Gogh",)
    assert found.templates == ("a painting in the style of {}", "a field by {}", "a vase by {}")
    assert list(found.prompts_by_kind) == ["name", "synonyms", "compositions"]
    assert found.judge == {"kind": "clip", "model": "folder", "labels": ["gogh", "monet", "photo"]}
    assert {p.text: p.labels for p in found.retain} == {
        "a garden by Monet": ("monet",), "a pond by Monet": ("monet",), "a photo of a dog": ("photo",), "a photo of a cat": ("photo",),
    }  # fmt: skip
    assert [{p.labels for p in half} for half in halves([found])] == [{("monet",), ("photo",)}] * 2
    assert found.source == str(path)
    assert not resolve(str(path)).notices


def test_what_is_left_out_is_assumed_and_said(write: Write) -> None:
    path = write(
        "name: van gogh\nkind: style\njudge: {kind: clip, model: folder, labels: [van gogh painting, photo]}\n"
    )
    (notice,) = resolve(str(path)).notices
    for part in ("label: 'van gogh painting'", "templates 'a painting in the style of {}'", "names", "retain 40"):
        assert part in notice
    assert one(path).label == "van gogh painting"


def test_captions_from_a_file_and_a_list(write: Write) -> None:
    write("# mine\na dog\n\na cat\n  a bird \n", "captions.txt")
    found = one(write("name: bomb\nretain: captions.txt\n"))
    assert [(p.text, p.labels) for p in found.retain] == [("a dog", ()), ("a cat", ()), ("a bird", ())]
    found = one(write("name: bomb\nretain: [a dog, a cat]\n"))
    assert {p.role for p in found.retain} == {"tune", "report"}


def test_retain_prompts_that_contain_the_concept_are_listed(write: Write) -> None:
    path = write("name: bomb\nretain: [a dog, a Bomb on a table, bombast]\n")
    (warning,) = resolve(str(path)).warnings
    assert "1 retain prompts contain the concept 'bomb': 'a Bomb on a table'." in warning


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nnmae: y\n", "line 2: unknown key 'nmae'; did you mean 'name'"),
        ("name: x\nname: y\n", "line 2, column 1: the key 'name' is there twice"),
        ("kind: style\n", "the key 'name' is missing"),
        ("name: x\nkind: painter\n", "line 2: unknown kind 'painter'. There are: class, nsfw"),
        ("name: x\nnames: []\n", "line 2: names: is empty; list at least one"),
        ("name: x\nnames: [a, ' ']\n", "a prompt is empty"),
        ("name: x\ntemplates: [a photo]\n", "must contain {} exactly once"),
        ("name: x\ntemplates: ['{} {}']\n", "must contain {} exactly once"),
        ("name: x\nnames: [1.5]\n", "line 2: names.0: input should be a valid string"),
        ("name: x\nretain: [a dog]\n", "line 2: expected at least 2 retain prompts"),
        ("name: x\nretain: []\n", "line 2: retain: is empty"),
        ("name: x\nretain: [a, '']\n", "a retain prompt is empty"),
        ("name: x\nretain: none.txt\n", "line 2: the captions in"),
        ("name: x\nimages: none\n", "line 2: the images folder"),
        ("name: x\njudge: {kind: clpi}\n", "line 2: unknown judge 'clpi'; did you mean 'clip'"),
        (
            "name: x\njudge: {kind: clip, model: f, labels: [x], modle: x}\n",
            "line 2: judge clip: unknown field 'modle'",
        ),
        (
            "name: x\njudge: {kind: clip, model: f, labels: [x, y]}\nlabel: z\n",
            "line 3: unknown label of the judge 'z'",
        ),
        (
            "name: x\njudge: {kind: clip, model: f, labels: [x, y]}\nretain:\n  a dog: y\n  a cat: z\n",
            "line 5: unknown label of the judge 'z'. There are: x, y",
        ),
        ("name: '!'\n", "a letter or a digit"),
        ("name: x\ngrown: [{prompt: a, who: b}]\n", "line 2: unknown key 'who'"),
        ("concepts: []\n", "lists no concept"),
        ("concepts: [bomb]\nname: x\nkind: style\n", "line 3: unknown key 'kind'"),
        ("concepts: [none.yaml]\n", "none.yaml does not exist"),
        ("concepts: [x.yaml]\n", "lists itself"),
        ("- a\n", "expected a mapping"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(write: Write, text: str, said: str) -> None:
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        resolve(str(path))
    message = str(caught.value)
    assert said in message
    assert "x.yaml" in message or "none" in message
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_is_no_name() -> None:
    for spec in ("concepts/none.yaml", "folder/thing"):
        with pytest.raises(ConfigError, match="does not exist"):
            resolve(spec)


def test_a_group_lists_files_and_names(write: Write) -> None:
    write("name: red star\n", "parts/star.yaml")
    write("concepts: [star.yaml, bomb]\n", "parts/inner.yaml")
    path = write("name: all\nconcepts: [parts/inner.yaml, noto]\n", "all.yaml")
    found = resolve(str(path))
    assert [c.name for c in found.concepts] == ["red star", "bomb", "noto"]
    assert len(found.notices) == 1
    with pytest.raises(ConfigError, match="'bomb' is named twice"):
        resolve_all([str(path), "bomb"])


def test_the_shipped_files_are_whole() -> None:
    for path in sorted((ROOT / "concepts").glob("*.yaml")):
        found = resolve(str(path))
        assert not found.notices, path
        assert not found.warnings, path
        assert all(len(half) >= 6 for half in halves(found.concepts)), path


def test_the_examples_of_the_docs_are_true(write: Write, tmp_path: Path) -> None:
    blocks = re.findall(
        r"```(yaml|python)\n(.*?)```", (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8"), re.S
    )
    whole, group, own = (text for kind, text in blocks if kind == "yaml")
    found = one(write(whole, "van-gogh.yaml"))
    assert (found.label, len(found.retain), found.tuning[0]) == (
        "a painting by Van Gogh",
        4,
        "a wheat field in the style of Van Gogh",
    )
    write("name: monet\n", "monet.yaml")
    assert [c.slug for c in resolve(str(write(group, "group.yaml"))).concepts] == ["van-gogh", "monet", "skull"]
    picture(tmp_path / "photos" / "mascot" / "a.png")
    for name in ("cat", "dog"):
        picture(tmp_path / "photos" / "others" / f"{name}.png")
        write(f"a {name}", f"photos/others/{name}.txt")
    assert list(one(write(own, "mascot.yaml")).folders) == ["images", "retain_images"]
    place: dict[str, Any] = {}
    exec(next(text for kind, text in blocks if kind == "python"), place)  # our own page
    made = place["Fruit"]().concept("pear")
    assert [p.labels for p in made.retain] == [("apple",)]
