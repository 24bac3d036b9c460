"""The registry finds plug-ins without importing them, here and in other distributions, and says what is wrong."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows._list import PLURALS, listed, table
from flows.cli import app
from tverase import registry
from tverase.errors import ConfigError
from tverase.registry import KINDS, built, entries, load
from tverase.settings import Settings

BLUE = '''"""Sees blue (a test).

More words.
"""
from tverase.settings import Settings

PAPER = "Nobody, 1999"


class Blue(Settings):
    """How blue."""

    least: float = 0.5


class Undocumented(Settings):
    least: float = 0.1


def no_class() -> None:
    """Is a function."""
'''


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A distribution on the path that offers judges, sound ones and broken ones."""
    package = tmp_path / "mypkg_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('listing must not import me')")
    (tmp_path / "blue_of_tests.py").write_text(BLUE)
    (package / "inner.py").write_text('"""Is inside (a test)."""\nPLUGIN = 1\n')
    (tmp_path / "broken_of_tests.py").write_text('"""Breaks."""\nimport no_such_module_of_tests\n')
    (tmp_path / "syntax_of_tests.py").write_text("def (:\n")
    points = {
        "blue": "blue_of_tests:Blue", "plain": "blue_of_tests:Undocumented", "function": "blue_of_tests:no_class",
        "absent": "blue_of_tests:Green", "inner": "mypkg_of_tests.inner:PLUGIN", "broken": "broken_of_tests:X",
        "syntax": "syntax_of_tests:X", "gone": "nowhere_of_tests.at.all:X",
    }  # fmt: skip
    info = tmp_path / "mypkg-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypkg\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(
        "[tverase.judges]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("_of_tests")]:
        del sys.modules[name]


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from tverase.registry import KINDS, entries\n"
        "for kind in KINDS: entries(kind)\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'diffusers', 'transformers', 'mlflow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_loads_and_has_a_line(kind: str) -> None:
    for name, entry in entries(kind).items():
        plugin = load(kind, name)
        assert isinstance(plugin, type)
        assert (entry.kind, entry.name, entry.origin) == (kind, name, "tverase")
        assert entry.about.endswith((".", ")")), entry


def test_a_built_in_is_a_module_with_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judges" / "sub").mkdir(parents=True)
    (tmp_path / "judges" / "red_light.py").write_text('"""Sees red."""\nPLUGIN = object\nPAPER: str = "Me, 2001"\n')
    (tmp_path / "judges" / "sub" / "deep.py").write_text('"""Lies deep."""\nNAME = "well"\nPLUGIN = object\n')
    (tmp_path / "judges" / "helper.py").write_text('"""No plug-in."""\nOTHER = object\n')
    (tmp_path / "judges" / "half.py").write_text("PLUGIN = (\n")
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    found = entries("judge")
    assert list(found) == ["red-light", "well"]
    assert (found["red-light"].about, found["red-light"].paper) == ("Sees red.", "Me, 2001")
    assert found["well"].module == f"{tmp_path.name}.judges.sub.deep"


def test_entry_points_are_found_and_not_imported(site: Path) -> None:
    found = entries("judge")
    blue = found["blue"]
    assert (blue.about, blue.paper, blue.origin) == ("How blue.", "Nobody, 1999", "mypkg 1.5")
    assert found["plain"].about == "Sees blue (a test)."
    assert found["inner"].about == "Is inside (a test)."
    assert {found[name].about for name in ("syntax", "gone")} == {""}
    assert "blue_of_tests" not in sys.modules
    assert "blue" not in entries("attack")


def test_an_entry_point_is_loaded_and_built(site: Path) -> None:
    assert load("judge", "blue").__name__ == "Blue"
    assert built("judge", {"kind": "blue", "least": 0.7}).least == 0.7
    assert built("judge", {"kind": "blue"}).least == 0.5
    assert built("judge", "blue").least == 0.5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "ModuleNotFoundError: No module named 'no_such_module_of_tests'"),
        ("absent", "AttributeError"),
        ("syntax", "SyntaxError"),
        ("gone", "ModuleNotFoundError"),
        ("inner", "RuntimeError: listing must not import me"),
    ],
)
def test_a_broken_plug_in_is_one_sentence(site: Path, name: str, said: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"judge '{name}' of mypkg 1\.5 cannot be loaded .*{said}.*uninstall"
    ) as info:
        load("judge", name)
    assert "\n" not in str(info.value)


def test_two_plug_ins_of_one_name_are_refused(site: Path) -> None:
    (site / "entry.py").write_text('"""Another."""\n')
    info = site / "other-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[tverase.judges]\nblue = entry:Blue\n")
    with pytest.raises(ConfigError, match=r"two judges are called 'blue', of .*uninstall its package") as info:
        load("judge", "blue")
    assert "mypkg 1.5 (blue_of_tests)" in str(info.value)
    assert "other 2.0 (entry)" in str(info.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"kind": "bleu"}, r"unknown judge 'bleu'; did you mean 'blue' or 'by-label'\? There are: .*blue"),
        ({"kind": "blue", "lest": 1}, r"judge blue: unknown field 'lest'; did you mean 'least'\? There are: least"),
        ({"kind": "blue", "least": "much"}, r"judge blue: least = 'much': Input should be a valid number"),
        ({"least": 1}, r"expected a mapping with 'kind' or a string for the judge, got \{'least': 1\}; kinds: .*blue"),
        ("blue:0.5", r"'blue' takes no short form; write a mapping with kind: blue \(fields: least\)"),
        ({"kind": "function"}, r"judge 'function' is a function; expected a subclass of tverase.Settings"),
        (3, r"expected a mapping with 'kind' or a string for the judge, got 3"),
    ],
)
def test_a_wrong_spec_is_one_sentence(site: Path, spec: dict[str, object] | str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as info:
        built("judge", spec)
    assert "\n" not in str(info.value)


def test_a_missing_field_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Needs(Settings):
        labels: list[str]

    monkeypatch.setattr(registry, "load", lambda kind, name: Needs)
    with pytest.raises(ConfigError, match="judge needs: labels is missing; the fields are labels"):
        built("judge", {"kind": "needs"})


def test_an_unknown_kind_lists_the_kinds() -> None:
    with pytest.raises(ConfigError, match="unknown kind of plug-in 'juge'; did you mean 'judge'"):
        entries("juge")
    with pytest.raises(ConfigError, match="unknown kind of plug-in 'juges'; did you mean 'judges'"):
        listed("juges")


def test_the_command_prints_a_table_or_json(site: Path) -> None:
    shown = CliRunner().invoke(app, ["list", "judges"])
    assert shown.exit_code == 0
    assert any(
        line.startswith("blue ") and "[Nobody, 1999] (from mypkg 1.5)" in line for line in shown.output.split("\n")
    )
    rows = json.loads(CliRunner().invoke(app, ["list", "judges", "--json"]).output)
    assert {"kind", "name", "module", "attribute", "about", "paper", "origin"} == set(rows[0])
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    assert list(PLURALS) == ["attacks", "erasers", "judges", "models", "concepts"]
    assert table([]) == "none"
