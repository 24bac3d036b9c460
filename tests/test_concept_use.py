"""What is done with concept files: own images, grown prompts, the positive control, and files that are written."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner
from witness import SeesAll

from flows.cli import app
from tverase.concepts import Concept, Prompt, halves
from tverase.concepts.base import KINDS
from tverase.concepts.check import check_concept, check_prompts, require_seen
from tverase.concepts.own import image_files, read_images
from tverase.concepts.prompts import ROLES, add_prompts, normalised, role_of
from tverase.concepts.resolve import resolve
from tverase.drawing import draw_concept, learned_images, own_images, retain_images
from tverase.errors import ConfigError, NothingToErase
from tverase.inversion.diverse import Invert
from tverase.inversion.sets import InversionSet
from tverase.models.text2image import TextToImage
from tverase.sampling import Sampling
from tverase.trial import Inputs

ROOT = Path(__file__).parents[1]
SAMPLING = Sampling(steps=1, guidance=1.0)
WHOLE = """\
name: van gogh
noun: Van Gogh
names: [by van gogh]
compositions: [a field, a night, a vase]
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


def test_grown_prompts_keep_their_set_and_the_file_its_comments(write: Write) -> None:
    path = write(f"# a comment\n{WHOLE}# the end\n")
    texts = [f"a swirling sky, number {i}" for i in range(30)]
    new = add_prompts(path, texts, by="anna", attack="p4d", when="2026-01-01")
    assert set(new.values()) == set(ROLES)
    assert add_prompts(path, ["A  SWIRLING sky, number 3", texts[4], "by van gogh"]) == {}
    later = add_prompts(path, ["another: 'odd' \"one\" # here"])
    assert path.read_text(encoding="utf-8").startswith("# a comment\n" + WHOLE + "# the end\n")
    found = one(path)
    sets = {"tune": found.tuning[2:], "validate": found.validating, "report": found.reporting}
    for role, prompts in sets.items():
        assert list(prompts) == [text for text in [*texts, *later] if role_of(text) == role]
    assert found.prompts_by_kind["grown"] == found.reporting
    grown = yaml.safe_load(path.read_text(encoding="utf-8"))["grown"]
    assert grown[0] == {"prompt": texts[0], "by": "anna", "when": "2026-01-01", "attack": "p4d"}
    assert "by" not in grown[-1]
    path.write_text("\n".join(["grown: [{prompt: old}]", WHOLE]), encoding="utf-8")
    add_prompts(path, ["new"])
    assert [g["prompt"] for g in yaml.safe_load(path.read_text(encoding="utf-8"))["grown"]] == ["old", "new"]
    assert one(path).name == "van gogh"


def test_the_set_of_a_grown_prompt_is_frozen() -> None:
    """If these change, prompts that were only scored would tune."""
    said = {text: role_of(text) for text in ("a lit fuse", "a black ball", "boom", "Boom ", "ticking")}
    assert said == FROZEN
    assert normalised(" A\tB  \N{FULLWIDTH LATIN CAPITAL LETTER C}") == "a b c"


FROZEN = {"a lit fuse": "report", "a black ball": "validate", "boom": "tune", "Boom ": "tune", "ticking": "validate"}


@pytest.mark.parametrize("bad", ["", "  ", "a\nb", "a\x00b"])
def test_a_prompt_that_is_none_leaves_the_file_alone(write: Write, bad: str) -> None:
    path = write(WHOLE)
    with pytest.raises(ConfigError, match="nothing was added"):
        add_prompts(path, ["good", bad])
    assert path.read_text(encoding="utf-8") == WHOLE
    group = write("concepts: [bomb]\n", "g.yaml")
    with pytest.raises(ConfigError, match="lists concepts"):
        add_prompts(group, ["good"])


def test_grown_prompts_are_inputs_of_a_trial(pico: TextToImage, write: Write) -> None:
    path = write("name: bomb\ncompositions: [a red bomb, a blue bomb]\n")
    add_prompts(path, ["a lit fuse", "a black ball", "boom", "ticking", "a spark", "a bang", "smoke"])
    found = one(path)
    inputs = Inputs.of(pico, [found], {"tune": nothing(), "validate": nothing()}, Invert())
    assert inputs.names["validate"] == ["bomb: grown"]
    assert torch.equal(inputs.cond["bomb: grown"], pico.encode(found.validating))
    assert len(inputs.cond["bomb: compositions"]) == len(found.tuning) > 1
    assert set(found.reporting).isdisjoint({*found.tuning, *found.validating})


def nothing() -> InversionSet:
    return InversionSet(torch.zeros(0, 4), (), "a {}")


def test_own_images_take_the_place_of_drawn_ones(pico: TextToImage, write: Write, tmp_path: Path) -> None:
    for i, colour in enumerate(("red", "green", "blue")):
        picture(tmp_path / "own" / f"{i}.png", colour)
    found = one(write("name: bomb\nimages: own\nretain: [a dog, a cat]\n"))
    assert found.images == tmp_path / "own"
    drawn = draw_concept(pico, found, 6, 0, SAMPLING)
    learned = learned_images(pico, found, drawn, 4)
    assert learned.images.shape == drawn.images.shape
    assert learned.latents.shape == drawn.latents.shape
    assert learned.images[:, :, 0, 0].unique(dim=0).shape[0] == 3
    assert torch.allclose(learned.images[0, :, 4, 4], torch.tensor([1.0, -1.0, -1.0]))
    expected = pico.to_latents(read_images(image_files(tmp_path / "own"), 8, 8))
    assert torch.allclose(learned.latents[::2], expected, atol=1e-5)
    without = found.model_copy(update={"images": None})
    assert learned_images(pico, without, drawn, 4) is drawn


def test_pictures_are_cropped_around_their_centre(tmp_path: Path) -> None:
    wide = Image.new("RGB", (40, 10), "black")
    wide.paste("white", (15, 0, 25, 10))
    wide.save(tmp_path / "a.png")
    (found,) = read_images([tmp_path / "a.png"], 8, 8)
    assert found.shape == (3, 8, 8)
    assert float(found.min()) > 0.9


def test_own_retain_images_come_with_captions(pico: TextToImage, write: Write, tmp_path: Path) -> None:
    texts = [f"a thing, number {i}" for i in range(8)]
    for i, text in enumerate(texts):
        picture(tmp_path / "keep" / f"{i}.jpg")
        write(f"{text}\n", f"keep/{i}.txt")
    found = one(write("name: bomb\nretain_images: keep\n"))
    assert sorted(p.text for p in found.retain) == texts
    prompts, latents = retain_images(pico, [found], 12, 0, SAMPLING)
    tuning, scoring = halves([found])
    assert len(prompts) == len(latents) == 12
    assert set(prompts) == {p.text for p in tuning}
    assert set(prompts).isdisjoint(p.text for p in scoring)
    plain = found.model_copy(update={"retain_images": None})
    prompts, latents = retain_images(pico, [plain], 12, 0, SAMPLING)
    assert set(prompts) == {p.text for p in tuning}
    (tmp_path / "keep" / "3.txt").unlink()
    with pytest.raises(ConfigError, match=r"3\.jpg has no readable caption; write its caption into"):
        one(tmp_path / "x.yaml")


def test_an_images_folder_that_cannot_be_used(pico: TextToImage, write: Write, tmp_path: Path) -> None:
    path = write("name: bomb\nimages: own\n")
    (tmp_path / "own").mkdir()
    with pytest.raises(ConfigError, match=r"holds no picture; expected \.png"):
        one(path)
    write("no picture", "own/a.png")
    with pytest.raises(ConfigError, match=r"a\.png cannot be read as a picture"):
        own_images(pico, image_files(tmp_path / "own"), 2, 2)


def test_prompts_that_the_encoder_would_cut_are_refused(pico: TextToImage) -> None:
    room = pico.tokenizer.model_max_length
    fits, long = " ".join(["owl"] * (room - 2)), " ".join(["owl"] * (room + 1))
    retain = (Prompt("a dog"), Prompt("a cat"))
    check_prompts(pico, [Concept(name="owl", names=(fits,), retain=retain)])
    for field in ("names", "synonyms", "tuning"):
        odd = Concept.model_validate({"name": "owl", "names": ("an owl",), "retain": retain, field: (long,)})
        with pytest.raises(ConfigError, match=r"more tokens than the text encoder takes: 'owl owl .*' \(3 too many\)"):
            check_prompts(pico, [odd])
    with pytest.raises(ConfigError, match="shorten"):
        check_prompts(pico, [Concept(name="owl", names=("an owl",), retain=(*retain, Prompt(long)))])


class Blind(SeesAll):
    """It sees the concept in no image."""

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return super().probabilities(images).flip(1)


def test_the_positive_control_of_a_file(pico: TextToImage, write: Write) -> None:
    found = one(write(SMALL + "retain: {a dog: none, a cat: none}\n"))
    lines = list(check_concept(pico, found, SeesAll(), SAMPLING, 0, 3))
    assert {line.kind for line in lines} == {"name", "compositions", "tuning", "retain"}
    assert all(line.usable(0.3) == (line.kind != "retain") for line in lines)
    assert all(line.seen.trials == 3 for line in lines)
    require_seen(found, lines, SeesAll(), 0.3)
    blind = list(check_concept(pico, found, Blind(), SAMPLING, 0, 3))
    with pytest.raises(NothingToErase, match=r"judge all sees 'bomb' in only 0 of 6 images .* use another judge"):
        require_seen(found, blind, Blind(), 0.3)
    with pytest.raises(ConfigError, match="unknown label 'fuse'"):
        list(check_concept(pico, found.model_copy(update={"label": "fuse"}), SeesAll(), SAMPLING, 0, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_is_valid_and_says_nothing_new(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    said = CliRunner().invoke(app, ["concept", "new", 'Käthe\'s "#1": yes', "--kind", kind, "--out", str(path)])
    assert said.exit_code == 0, said.output
    found = resolve(str(path))
    (made,) = found.concepts
    assert (made.name, made.kind) == ('Käthe\'s "#1": yes', kind)
    assert not found.warnings
    assert path.read_text(encoding="utf-8").count("#") > 8
    again = CliRunner().invoke(app, ["concept", "new", "x", "--out", str(path)])
    assert isinstance(again.exception, ConfigError)
    assert "exists; choose another file" in str(again.exception)
    assert one(path) == made


def test_check_and_add_at_the_command_line(
    pico_folder: Path, judges_folder: Path, write: Write, tmp_path: Path
) -> None:
    judge = f"{{kind: embedded, folder: {judges_folder}}}"
    path = write(f"{SMALL}judge: {judge}\nretain: {{a noto dog: [dog, noto], a flat cat: [cat, flat]}}\n")
    params = write("sampling: {steps: 1}\nruntime: {threads: 1}\n", "params.yaml")
    given = ["concept", "check", str(path), "--model", str(pico_folder), "--params", str(params), "--images", "2"]
    said = CliRunner().invoke(app, given)
    assert "bomb, judged by object-cnn/0 + style-cnn/0" in said.output
    assert "lines are usable" in said.output
    assert isinstance(said.exception, NothingToErase)
    assert said.exception.exit_code == 5
    odd = CliRunner().invoke(app, ["concept", "check", str(tmp_path / "none.yaml"), "--params", str(params)])
    assert isinstance(odd.exception, ConfigError)
    added = CliRunner().invoke(app, ["prompts", "add", str(path), "boom", "ticking", "--by", "anna"])
    assert added.exit_code == 0
    assert f"2 added to {path}" in added.output
    assert {*one(path).tuning, *one(path).validating, *one(path).reporting} >= {"boom", "ticking"}
