"""The wheel works outside of the repository: it has every file that the package reads, and its commands run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "tverase")
NEEDED = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel is installed, built from a copy of the sources."""
    place = tmp_path_factory.mktemp("wheel")
    source, target = place / "source", place / "target"
    source.mkdir()
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in NEEDED:
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", source, "--no-deps", "--no-build-isolation", "-w", place], check=True)
    (wheel,) = place.glob("tverase-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True)
    return target


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty working folder."""
    return tmp_path


def python(target: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the installed package, in `place`; nothing is fetched."""
    environment = {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def test_it_has_every_file_of_the_packages_and_no_other(target: Path) -> None:
    mine = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    installed = {
        path.relative_to(target).as_posix()
        for path in target.rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and not path.parts[len(target.parts)].endswith((".dist-info", "bin"))
    }
    assert installed == mine
    assert "tverase/py.typed" in installed


def test_the_installed_package_is_the_one_that_runs(target: Path, place: Path) -> None:
    run = python(
        target, place, "-c", "import flows, tasks, tverase; print(flows.__file__, tasks.__file__, tverase.__file__)"
    )
    assert all(path.startswith(str(target)) for path in run.stdout.split()), run.stdout + run.stderr


def test_a_project_begins_in_an_empty_folder(target: Path, place: Path) -> None:
    run = python(target, place, "-m", "flows.cli", "init", "--concept", "van gogh", "--kind", "style")
    assert run.returncode == 0, run.stderr
    assert {path.name for path in place.iterdir()} == {
        "params.yaml",
        "dvc.yaml",
        "prefect.yaml",
        "concepts",
        ".gitignore",
    }
    assert "site-packages" not in (place / "dvc.yaml").read_text()
    assert str(target) not in (place / "dvc.yaml").read_text()
    run = python(target, place, "-m", "flows.cli", "status")
    assert run.returncode == 7, run.stderr
    assert run.stderr.startswith("error: stable-diffusion-v1-5/stable-diffusion-v1-5 is no folder here"), run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["judges", "attacks", "erasers", "models", "concepts"])
def test_it_lists_the_plug_ins(target: Path, place: Path, kind: str) -> None:
    here = python(ROOT, ROOT, "-m", "flows.cli", "list", kind)
    there = python(target, place, "-m", "flows.cli", "list", kind)
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout


def test_what_is_only_in_the_repository_is_said_in_a_sentence(target: Path, place: Path) -> None:
    code = (
        "import tverase\ntry: tverase.open_model('models/emoji-sd')\nexcept tverase.TveraseError as error: print(error)"
    )
    run = python(target, place, "-c", code)
    assert run.stdout.startswith("models/emoji-sd is not there; the embedded models are in tverase's repository"), run
    assert run.stdout.count("\n") == 1
    assert list(place.iterdir()) == []


def test_known_concepts_and_templates_are_inside(target: Path, place: Path) -> None:
    code = (
        "from tverase import Concept\n"
        "from tverase.report.html import fill\n"
        "print(len(Concept.named('bomb').retain), Concept.named('7').name)\n"
        "from importlib.resources import files\n"
        "print(len(files('tverase.report').joinpath('report.html.j2').read_text()) > 1000)"
    )
    run = python(target, place, "-c", code)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[1:] == ["7", "True"]
