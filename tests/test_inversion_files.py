"""What an inversion leaves for others: textual inversions that diffusers loads, and an index that says what each cost."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tasks.invert import STEP
from tasks.make_images import STEP as MAKE_IMAGES
from tverase.config import Params
from tverase.drawing import require_drawn
from tverase.errors import NothingToErase
from tverase.files import read_json, read_tensors
from tverase.inversion.embeddings import stems, write_embeddings
from tverase.inversion.run import space_of
from tverase.inversion.sets import ROLES, Found, InversionSet, per_accepted
from tverase.judges.base import shows
from tverase.judges.cnn import CnnJudge
from tverase.models.folder import open_pipeline
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.world.concepts import concept
from tverase.world.vocabulary import vocabulary

CONCEPTS = ["bomb", "slot machine", "noto"]


def found(name: str, of: str = "bomb", *, accepted: bool = True) -> Found:
    return Found(name, of, 0.0, 0.2, 0.1, 9 if accepted else 1, 10, accepted)


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_pipeline_that_loads_them_says_what_our_space_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: dict[str, Any], pico: TextToImage, tokens: int
) -> None:
    """All of them at once, of an object, of one of two words and of a style."""
    monkeypatch.chdir(tmp_path)
    content = small_run | {"concepts": CONCEPTS}
    params = Params.parse(content | {"invert": small_run["invert"] | {"tokens": tokens}})
    MAKE_IMAGES.execute(params)
    STEP.execute(params)
    folder = params.out / "inversions"
    index = read_json(folder / "index.json")
    points = {
        item.name: point
        for inversions in (InversionSet.load(folder / f"{role}.safetensors") for role in ROLES)
        for item, point in zip(inversions.found, inversions.points, strict=True)
    }
    pipe = open_pipeline(params.model)
    pipe.load_textual_inversion([folder / item["file"] for item in index["found"]], local_files_only=True)
    assert len(index["found"]) == len(points) == len(CONCEPTS) * len(ROLES) * 2
    for item in index["found"]:
        prompt = index["templates"][item["concept"]].format(item["placeholder"])
        said, _ = pipe.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)
        space = space_of(pico, concept(item["concept"], vocabulary()), params.invert)
        assert torch.allclose(said, space.cond(points[item["name"]][None]), atol=1e-5), item
    costs = index["evaluations_per_accepted"]
    assert list(costs) == sorted(CONCEPTS)
    assert 0 < sum(costs.values()) * len(ROLES) * 2 < index["evaluations"], "the pictures are not counted"


def test_cost_is_that_of_search_and_acceptance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    params = Params.parse(small_run)
    MAKE_IMAGES.execute(params)
    STEP.execute(params)
    invert, sampling = params.invert, params.sampling
    each = invert.steps * invert.batch + invert.images * sampling.steps * 2  # with and without the caption
    assert read_json(params.out / "inversions" / "index.json")["evaluations_per_accepted"] == {"bomb": each}


def test_cost_where_nothing_or_little_is_found() -> None:
    assert per_accepted(100, [found("a"), found("b"), found("c", accepted=False)]) == 50.0
    assert per_accepted(100, [found("a", accepted=False)]) is None
    assert per_accepted(0, []) is None


def test_only_what_draws_the_concept_is_written(tmp_path: Path) -> None:
    points = torch.arange(24.0).view(6, 4)
    names = ["a", "b", "c"], ["d", "e", "f"]
    sets = {
        "tune": InversionSet(points[:3], tuple(found(n, accepted=n != "b") for n in names[0]), "a {}"),
        "report": InversionSet(points[3:], tuple(found(n, "red apple") for n in names[1]), "a {}"),
    }
    written = write_embeddings(sets, 2, tmp_path)
    assert list(written) == ["a", "c", "d", "e", "f"]
    assert written["c"] == {"placeholder": "<bomb-tune-3>", "file": "embeddings/tune/bomb-3.safetensors"}
    assert written["d"]["placeholder"] == "<red-apple-report-1>"
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {item["file"] for item in written.values()}
    tensors, about = read_tensors(tmp_path / written["c"]["file"])
    assert {key: tensor.tolist() for key, tensor in tensors.items()} == {"<bomb-tune-3>": points[2].view(2, 2).tolist()}
    assert about == {"name": "c", "concept": "bomb"}
    assert write_embeddings({"tune": sets["tune"].accepted("owl")}, 2, tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("concepts", "expected"), [
    (["bomb", "slot machine"], ["bomb", "slot-machine"]),
    (["Van Gogh", "van-gogh", "van gogh!"], ["van-gogh", "van-gogh-2", "van-gogh-3"]),
    (["a", "a-2", "A"], ["a", "a-2", "a-3"]),
    (["../../etc", "a/b\\c", "\N{CJK UNIFIED IDEOGRAPH-706B}"], ["etc", "a-b-c", "concept"]),
    (["bomb", "bomb"], ["bomb"]),
])  # fmt: skip
def test_names_are_safe_and_no_two_are_the_same(concepts: list[str], expected: list[str]) -> None:
    assert stems(concepts) == dict(zip(dict.fromkeys(concepts), expected, strict=True))


def test_every_concept_of_the_world_has_a_plain_name() -> None:
    words = vocabulary()
    named = stems(chain(words.names, words.styles))
    assert named == {name: name.replace(" ", "-") for name in (*words.names, *words.styles)}


@pytest.fixture(scope="module")
def images(pico: TextToImage) -> Tensor:
    return torch.rand(20, 3, 8, 8, generator=generator(0, "tests/files")) * 2 - 1


def test_a_concept_that_is_not_drawn_often_enough_is_refused(judges_folder: Path, images: Tensor) -> None:
    """At the very rate at which the judge sees it, it is not."""
    judge, words = CnnJudge.load(judges_folder / "object.safetensors"), vocabulary()
    rates = {name: int(shows(judge, images, name).sum()) / len(images) for name in words.names}
    name = max(rates, key=lambda name: rates[name])
    bomb = concept("bomb", words).model_copy(update={"label": name})
    assert require_drawn(bomb, images, judge, rates[name]).rate == rates[name] > 0
    with pytest.raises(NothingToErase, match=r"draws .* in only .* there is nothing to erase"):
        require_drawn(bomb, images, judge, rates[name] + 0.01)
