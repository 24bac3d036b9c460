"""The strict YAML reader: plain values, and every problem in one short sentence with its line."""

from pathlib import Path

import pytest

from tverase.errors import ConfigError
from tverase.yamlfile import parse_document, parse_value, read_document, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_plain_values_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "\ufeffa: 1\nb: [1.5, -2, .inf]\nc: {d: true, e: ~}\nf: 2020-01-01\ng: yes\nh: 'true'\ni: 1e-4\nj: ü\nk: &x [1]\nl: *x\n",
        encoding="utf-8",
    )
    assert read_yaml(path) == {
        "a": 1, "b": [1.5, -2, float("inf")], "c": {"d": True, "e": None}, "f": "2020-01-01", "g": "yes", "h": "true",
        "i": "1e-4", "j": "ü", "k": [1], "l": [1],
    }  # fmt: skip
    assert read_document(path).lines["c", "e"] == 3
    assert read_document(path).place(("c", "e", "deeper")) == f"{path}, line 3"
    path.write_text("# nothing\n", encoding="utf-8")
    assert read_yaml(path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "p.yaml, line 3, column 1: the key 'a' is there twice (first in line 1)"),
        ("a: {b: 1, c: {d: 1, d: 2}}", "line 1, column 21: the key 'd' is there twice"),
        ("a: !!int ''", "line 1, column 4: the tag"),
        ("a: !!int x", "line 1, column 4: 'x' is not of the type int"),
        ("a: !!float ''", "the tag"),
        ("a: !!timestamp 2020-13-45", "the tag"),
        ("a: !!python/object/apply:os.system [x]", "the tag"),
        ("a: !!binary x", "the tag"),
        ("a: !!set {x}", "the tag"),
        ("a: !mine 3", "the tag !mine is not allowed"),
        (BOMB, "more than 100,000 values"),
        ("a: &a [*a]", "refers to what it is part of"),
        ("a: &a {b: *a}", "refers to what it is part of"),
        ("[" * 3000, "nested too deeply"),
        ("a: " + "[" * 70 + "]" * 70, "nested too deeply"),
        ("- a", "expected a mapping of keys to values"),
        ("words", "expected a mapping"),
        ("1: a", "the key 1 is not text; put it in quotes"),
        ("~: a", "the key None is not text"),
        ("[a, b]: c", "is not text"),
        ("a: [1", "line 1"),
        ("a: b: c", "line 1, column 5"),
        ("a: *x", "undefined alias"),
        ("a: 1\n---\nb: 1", "another document"),
        ("a: \x00", "not YAML"),
        ("a:\n\t- b", "line 2"),
        ("a: " + "9" * 5000, "is not of the type int"),
        ("a: '" + "x" * 5000, "line 1"),
    ],
)
def test_a_problem_is_one_short_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "p.yaml")
    message = str(caught.value)
    assert said in message
    assert message.startswith("p.yaml")
    assert len(message) <= 300
    assert "\n" not in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)
    path = tmp_path / "p.yaml"
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 3\)"):
        read_yaml(path)
    path.write_text("a: 1\n" * 250_000, encoding="utf-8")
    with pytest.raises(ConfigError, match="larger than"):
        read_yaml(path)


def test_values_of_overrides() -> None:
    assert parse_value("[1, a]", "x=[1, a]") == [1, "a"]
    assert parse_value("", "x=") is None
    assert parse_value("0.5", "x=0.5") == 0.5
    with pytest.raises(ConfigError, match=r"x=\[1"):
        parse_value("[1", "x=[1")
