"""Mutants of parameter files and command lines, each from a seeded `random.Random`.

A maker returns what was changed as a short text. One that begins with "wrong:" must be refused; any other may be refused or work.
"""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

WRONG = "wrong: "
# What is no value of any number, word or list among the parameters.
ODD: tuple[Any, ...] = (
    None, -1, 0, 10**30, 1e300, 1e-12, float("inf"), float("-inf"), float("nan"), True, "", " ", "x", "x" * 5000, "a\nb",
    "\u202e\u0000", "../../x", "~", "~nobody/x", "%s{0}", "2020-13-45", [], {}, [[]], [None], {"kind": "x"}, {"a": {"b": 1}},
    [1, 2, 3], "concept-inversion", ["bomb", "bomb"], "é" * 200, "/dev/zero", "C:\\x",
)  # fmt: skip
TOKENS = (
    b"{", b"}", b"[", b"]", b":", b"- ", b"&a ", b"*a ", b"!!int ''", b"!!python/object/apply:os.system [x]", b"\t", b"\x00",
    b"\xff\xfe", b"\xef\xbb\xbf", b"---\n", b"...\n", b"<<: *a\n", b"? ", b"|\n", b"'", b'"', b"%YAML 9.9\n", b"!x ", b"\r",
    "\u2028".encode(), b"#", b"2020-13-45", b"0x", b"1_0", b"{" * 2000, b"9" * 5000, b"a: 1\na: 2\n",
)  # fmt: skip
Content = dict[str, Any]
Path_ = tuple[str, ...]


def leaves(content: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The paths of all values that are no mapping."""
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


def at(content: Any, path: Path_) -> Any:
    for key in path:
        content = content[key]
    return content


def mutated_params(content: Content, chance: random.Random) -> tuple[bytes, str]:
    """A file of parameters with one to three changes, and what they are."""
    changed, told = copy.deepcopy(content), list[str]()
    for _ in range(chance.choice((1, 1, 2, 3))):
        told.append(chance.choice(TREES)(changed, chance))
    raw = yaml.safe_dump(changed, sort_keys=False).encode("utf-8", "surrogatepass")
    if chance.random() < 0.4:
        raw, more = chance.choice(TEXTS)(raw, chance)
        told = [more]  # bytes may have undone what the tree was changed to
    return raw, next((text for text in told if text.startswith(WRONG)), told[-1])


def _odd(content: Content, chance: random.Random) -> str:
    path = chance.choice(list(leaves(content)) or [()])
    if not path:
        return "nothing is left"
    before, value = at(content, path), chance.choice(ODD)
    at(content, path[:-1])[path[-1]] = value
    number = isinstance(before, int | float) and not isinstance(before, bool)
    infinite = isinstance(value, float) and (value != value or abs(value) == float("inf"))
    wrong = (number and (infinite or isinstance(value, str | list | dict))) or (isinstance(before, str) and infinite)
    return f"{WRONG if wrong else ''}{'.'.join(path)} is {value!r:.60}"


def _typo(content: Content, chance: random.Random) -> str:
    path = chance.choice(list(leaves(content)) or [()])
    if not path:
        return "nothing is left"
    place, key = at(content, path[:-1]), path[-1]
    cut = chance.randrange(len(key)) if key else 0
    other = key[:cut] + key[cut + 1 :] + chance.choice("qxz")
    place[other] = place.pop(key)
    return f"{'' if 'attacks' in path or 'judge' in path else WRONG}{'.'.join(path)} is called {other}"


def _moved(content: Content, chance: random.Random) -> str:
    path = chance.choice([path for path in leaves(content) if len(path) > 1] or [()])
    if not path:
        return "nothing is left"
    content[f"{path[-1]}_"] = at(content, path)
    return f"{WRONG}{'.'.join(path)} is at the top"


def _flat(content: Content, chance: random.Random) -> str:
    sections = [key for key, value in content.items() if isinstance(value, dict) and key != "judge"]
    if not sections:
        return "nothing is left"
    key, value = chance.choice(sections), chance.choice((3, "x", [1], "-", 1.5))
    content[key] = value
    return f"{WRONG}{key} is {value!r}"


def _more(content: Content, chance: random.Random) -> str:
    content[chance.choice(("", "name", "register_", "__class__", "model_config", "concept", "0"))] = chance.choice(ODD)
    return f"{WRONG}a key that is none"


TREES: tuple[Callable[[Content, random.Random], str], ...] = (_odd, _odd, _odd, _odd, _typo, _moved, _flat, _more)


def _inserted(raw: bytes, chance: random.Random) -> tuple[bytes, str]:
    place, token = chance.randrange(len(raw) + 1), chance.choice(TOKENS)
    return raw[:place] + token + raw[place:], f"{token[:30]!r} at byte {place}"


def _cut(raw: bytes, chance: random.Random) -> tuple[bytes, str]:
    place = chance.randrange(len(raw) + 1)
    return raw[:place], f"{place} bytes of {len(raw)}"


def _flipped(raw: bytes, chance: random.Random) -> tuple[bytes, str]:
    changed = bytearray(raw)
    for _ in range(chance.choice((1, 3, 30))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed), "other bytes"


def _doubled(raw: bytes, chance: random.Random) -> tuple[bytes, str]:
    lines = raw.splitlines(keepends=True)
    place = chance.randrange(len(lines))
    key = re.match(rb"\s*[\w]+:", lines[place])
    lines.insert(place, lines[place] if lines[place].endswith(b"\n") else lines[place] + b"\n")
    # The line of a section and its copy: the first one is empty, and the key is there twice.
    return b"".join(lines), f"{WRONG if key else ''}line {place + 1} twice"


def _shifted(raw: bytes, chance: random.Random) -> tuple[bytes, str]:
    lines = raw.splitlines(keepends=True)
    place = chance.randrange(len(lines))
    lines[place] = chance.choice((b" ", b"      ", b"\t")) + lines[place]
    return b"".join(lines), f"line {place + 1} further in"


TEXTS: tuple[Callable[[bytes, random.Random], tuple[bytes, str]], ...] = (
    _inserted,
    _inserted,
    _cut,
    _flipped,
    _doubled,
    _shifted,
)


def mutated_json(raw: bytes, chance: random.Random) -> bytes:
    """A JSON object with another value, key or form, or with other bytes."""
    if chance.random() < 0.4:
        return chance.choice((*TEXTS, _garbage))(raw, chance)[0]
    content = json.loads(raw)
    path = chance.choice(list(leaves(content)))
    place, how = at(content, path[:-1]), chance.choice(("odd", "odd", "away", "named", "more"))
    if how == "odd":
        place[path[-1]] = chance.choice(ODD)
    elif how == "more":
        place[chance.choice(("x", "", "__class__", "../x"))] = chance.choice(ODD)
    else:
        value = place.pop(path[-1])
        if how == "named":
            place[f"{path[-1]}_"] = value
    return json.dumps(content).encode()


def _garbage(_: bytes, chance: random.Random) -> tuple[bytes, str]:
    other = (b"", b"[]", b"null", b"3", b'"x"', b"{}", b'{"outputs": {}}', b"[" * 100_000, b'{"a":' * 2000, b"\xff" * 9)
    return chance.choice(other), "something else"


# Commands that neither compute nor leave their folder, with what they may be given.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",), ("status", "--json"), ("report",), ("draw", "a bomb", "--count", "2"), ("list", "attacks"), ("list", "judges", "--json"),
    ("publish", "bomb", "--to", "store"), ("fetch", "bomb", "--to", "there", "--from", "store"), ("store", "list", "--from", "store"),
    ("concept", "new", "van gogh", "--out", "c.yaml"), ("concept", "check", "c.yaml"), ("prompts", "add", "c.yaml", "a lit fuse"),
    ("init", "--concept", "owl", "--model", "m"), ("run", "--set", "finetune.step=3"), ("run", "--force", "finetun"),
)  # fmt: skip
OPTIONS: tuple[tuple[str, ...], ...] = (
    ("--set", "finetune.steps=3"), ("--set", "concepts=[bomb, owl]"), ("--model", "m"), ("--params", "params.yaml"), ("--json",),
    ("--seed", "3"), ("--count", "9"), ("--out", "x.png"), ("--help",), ("--version",), ("--to", "store"), ("--kind", "style"),
    ("--images", "2"), ("--unproved",), ("--from", "store"), ("--by", "me"), ("--strict",),
)  # fmt: skip
WORDS = (
    "", " ", "-", "--", "---", "=", "a=", "=b", "x=[", "x={", "finetune.steps=.inf", "seed=!!int ''", "seed.deep=1", "concepts=[]",
    "concepts=[../x.yaml]", "concepts=[~]", "model=~nobody/x", "runtime.device=gpu", "runtime.device=cuda:99", "judge=python:os:system",
    "judge=python:x", "judge={kind: hue}", "eraser={kind: x}", "x" * 6000, "\udcff", "\u202e", "a\nb", "../..", "/proc/none/x",
    "/dev/null", "/", ".", "~", "a b", "bomb@1", "bomb@", "@", "0" * 64, "s3://", "s3://x y/z", "s3:///x", "file:///x", "-1", "1e9",
    "nan", "none.yaml", "params.yaml", "[bold]", "%s", "params.yaml=1", "..=1", "finetune.=1", ".=1", "seed=1=2", "name=x",
    "evaluate.attacks.x.kind=1", "harden.attacks=[{}]", "choose_strength.epsilon=1e-300",
)  # fmt: skip


def mutated_command(chance: random.Random) -> list[str]:
    """The words behind `tverase`."""
    words = list(chance.choice(COMMANDS))
    for _ in range(chance.choice((0, 1, 2))):
        words += chance.choice(OPTIONS)
    if words[0] == "run":
        return words  # it stays wrong: what is right would compute
    for _ in range(chance.choice((1, 1, 2, 3))):
        place = chance.randrange(len(words))
        match chance.choice(("word", "word", "word", "value", "cut", "twice", "away", "swap")):
            case "word":
                words.insert(place + 1, chance.choice(WORDS))
            case "value":
                words[place] = chance.choice(WORDS)
            case "cut":
                words[place] = words[place][: chance.randrange(len(words[place]) + 1)]
            case "twice":
                words.insert(place, words[place])
            case "away" if len(words) > 1:
                words.pop(place)
            case _:
                chance.shuffle(words)
    return ["status", *words] if "run" in words[:1] else words
