"""CONTRIBUTING.md and the pages on attacks, erasers and own models: their blocks are files that other tests run, or are valid."""

import re
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tverase.attacks.base import Finding, Target
from tverase.attacks.concept_inversion import ConceptInversion
from tverase.config import Params
from tverase.erasers.base import Material
from tverase.errors import ModelError
from tverase.models.layout import STABLE_DIFFUSION
from tverase.models.stable_diffusion import StableDiffusion
from tverase.registry import KINDS, entries

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, kind: str = r"\w+") -> list[str]:
    """The code blocks of a page."""
    return re.findall(rf"```{kind}\n(.*?)```", page(name), re.S)


QUOTED = dict(
    block.removeprefix("# ").split("\n", 1) for block in blocks("CONTRIBUTING.md") if block.startswith("# ex")
)


@pytest.mark.parametrize("path", QUOTED)
def test_a_block_is_the_file_that_it_names(path: str) -> None:
    assert QUOTED[path] == page(path)


def test_every_plug_in_of_the_example_is_shown() -> None:
    plug_ins = {path for path in (EXAMPLES / "plugins").glob("*/*") if path.stem != "__init__" and path.is_file()}
    shown = {ROOT / path for path in QUOTED}
    assert len(plug_ins) > 5
    assert plug_ins <= shown
    assert EXAMPLES / "step" / "sheet.py" in shown


def test_every_kind_has_a_section() -> None:
    heads = re.findall(r"^### An? (.*)$", page("CONTRIBUTING.md"), re.M)
    assert heads == ["concept", "judge", "model family", "attack", "eraser", "step"]
    assert {head.removesuffix(" family") for head in heads} - {"step"} == set(KINDS)


def test_every_room_is_named() -> None:
    text = page("CONTRIBUTING.md").partition("## How to add")[0]
    rooms = {path.parent.name for path in (ROOT / "tverase").glob("*/__init__.py")}
    named = set(re.findall(r"`(\w+)`", "\n".join(line for line in text.splitlines() if line.startswith("| `"))))
    assert rooms == named


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/attacks.md", "docs/erasers.md", "docs/own-model.md"])
def test_files_that_are_named_exist(name: str) -> None:
    text = re.sub(r"```.*?```", "", page(name), flags=re.S)
    named = re.findall(
        r"(?<![\w./-])((?:tverase|tasks|tests|docs|params|concepts|examples|benchmarks)/[\w./-]+\.\w+)", text
    )
    missing = [path for path in named if not (ROOT / path).exists()]
    assert named
    assert missing == []
    for module in re.findall(r"python -m (\w+(?:\.\w+)+)", text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module


def table(name: str, head: str) -> set[str]:
    """What is in the first column of the tables whose head begins so."""
    found = set()
    for after in page(name).split(f"| {head} |")[1:]:
        lines = after.partition("\n\n")[0]
        found |= set(re.findall(r"^\| `([\w-]+)`", lines, re.M))
        found |= {one for row in re.findall(r"^\| (`.*?`) \|", lines, re.M) for one in re.findall(r"`(\w[\w-]*)`", row)}
    return found


def fields_of(kind: Any) -> set[str]:
    return {name.partition("(")[0] for name in kind.__dataclass_fields__}


def test_the_tables_have_every_attack_and_eraser() -> None:
    assert table("docs/attacks.md", "attack") == set(entries("attack"))
    assert table("docs/erasers.md", "eraser") == set(entries("eraser"))
    assert table("docs/attacks.md", "key") == set(ConceptInversion.model_fields)


@pytest.mark.parametrize(
    ("name", "kind"), [("docs/attacks.md", Target), ("docs/attacks.md", Finding), ("docs/erasers.md", Material)]
)
def test_the_fields_of_the_contracts_are_explained(name: str, kind: Any) -> None:
    text = page(name).partition("## The contract")[2]
    assert {field for field in fields_of(kind) if not re.search(rf"`{field}\b", text)} == set()


YAML = [(name, block) for name in ("docs/attacks.md", "docs/erasers.md") for block in blocks(name, "yaml")]


@pytest.mark.parametrize(("name", "block"), YAML)
def test_the_yaml_is_valid(name: str, block: str) -> None:
    content = yaml.safe_load(block)
    params = Params.parse(content)
    assert content.keys() <= params.model_fields_set


@pytest.mark.parametrize("name", ["docs/attacks.md", "docs/erasers.md"])
def test_entry_points_are_those_of_the_example(name: str) -> None:
    project = tomllib.loads(page("examples/plugins/pyproject.toml"))["project"]["entry-points"]
    (block,) = blocks(name, "toml")
    for group, points in tomllib.loads(block)["project"]["entry-points"].items():
        assert points == project[group]


def test_the_settings_of_the_page_are_those_of_the_file() -> None:
    given = yaml.safe_load(page("params/stable-diffusion.yaml"))
    rows = re.findall(r"^\| `([\w.]+)`(?:, `([\w.]+)`)? \| (.*?) \| (.*?) \|", page("docs/own-model.md"), re.M)
    rows = [row for row in rows if "." in row[0]]
    seen, defaults = 0, Params()
    for first, second, embedded, real in rows:
        for key, before, after in zip((first, second), embedded.split(", "), real.split(", "), strict=False):
            section, _, name = key.partition(".")
            if not name:
                continue
            assert str(yaml.safe_load(after.replace("e", ".0e") if "e-" in after else after)) == str(
                given[section][name]
            )
            default = getattr(getattr(defaults, section), name)
            assert str(default) == str(yaml.safe_load(before.replace("e", ".0e") if "e-" in before else before)), key
            seen += 1
    assert seen >= 8


def test_the_fork_opens_and_writes_its_folders(pico_folder: Path, tmp_path: Path) -> None:
    (code,) = [block for block in blocks("CONTRIBUTING.md", "python") if not block.startswith("# ex")]
    names: dict[str, Any] = {
        "StableDiffusion": StableDiffusion,
        "STABLE_DIFFUSION": STABLE_DIFFUSION,
        "replace": replace,
    }
    exec(code, names)
    fork, folder = names["Fork"](), Path(shutil.copytree(pico_folder, tmp_path / "fork"))
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "ForkPipeline"))
    with pytest.raises(ModelError, match="holds a ForkPipeline"):
        StableDiffusion().check(folder)
    fork.check(folder)
    model = fork.open(folder)
    fork.write(folder, {key: 2 * weight for key, weight in model.weights().items()}, tmp_path / "edited")
    edited = fork.open(tmp_path / "edited").weights()
    assert all(torch.allclose(edited[key], 2 * weight) for key, weight in model.weights().items())
