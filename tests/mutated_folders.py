"""Mutants of model folders. A maker changes a folder in place and returns what it did; "wrong:" has to be refused."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from folders import config, deep, fifo, more, own_class, tensors
from mutants import ODD, WRONG, at, leaves
from safetensors.torch import load_file, save_file

NAMES = (
    "UNet2DModel",
    "FluxPipeline",
    "os.system",
    "",
    "x" * 3000,
    "../x",
    "__class__",
    "torch",
    None,
    3,
    ["a"],
    {"a": 1},
)
DTYPES = ("F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "X9", "", None)
SIZES = (-1, 0, 2**31, 2**40, 10**30, 1.5, "8", [8, 8], [])
GARBAGE = (
    b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff\xfe", b"\x00" * 100, b"{'a': 1}", deep(50_000, "{}").encode(),
    deep(200, "[]").encode(), b'{"a": NaN}', b'{"_class_name": "x"}', b" " * 70_000_000,
)  # fmt: skip
Maker = Callable[[Path, random.Random], str]


def mutated_folder(folder: Path, chance: random.Random) -> str:
    """Change the folder by one of `MAKERS`."""
    return chance.choice(MAKERS)(folder, chance)


def _files(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in suffixes)


def _needed(path: Path, folder: Path) -> str:
    """WRONG for a file without which no folder works."""
    return WRONG if path.suffix == ".safetensors" or path.name in ("model_index.json", "config.json") else ""


def truncated(folder: Path, chance: random.Random) -> str:
    path = chance.choice(_files(folder, ".safetensors"))
    raw = path.read_bytes()
    path.write_bytes(raw[: chance.randrange(len(raw))])
    return f"{WRONG}{path.name} is cut"


def longer(folder: Path, chance: random.Random) -> str:
    path = chance.choice(_files(folder, ".safetensors"))
    path.write_bytes(path.read_bytes() + b"\0" * chance.choice((1, 8, 4096)))
    return f"{WRONG}{path.name} has more bytes than its header says"


def flipped(folder: Path, chance: random.Random) -> str:
    path = chance.choice(_files(folder, ".safetensors", ".json", ".txt"))
    raw = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 4, 40))):
        raw[chance.randrange(min(len(raw), 2000))] = chance.randrange(256)
    path.write_bytes(raw)
    return f"other bytes in {path.name}"


def _header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])


def headed(folder: Path, chance: random.Random) -> str:
    """A header that lies about type, shape, place or its own length."""
    path = chance.choice(_files(folder, ".safetensors"))
    raw = path.read_bytes()
    if chance.random() < 0.2:
        path.write_bytes(chance.choice((b"\xff" * 8, (2**40).to_bytes(8, "little"), b"\0" * 8, b"")) + raw[8:])
        return f"{WRONG}{path.name} has a header without end"
    names = [name for name in json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]) if name != "__metadata__"]
    name, kind = chance.choice(names), chance.choice(("dtype", "shape", "data_offsets"))
    value: Any = {
        "dtype": chance.choice(DTYPES),
        "shape": chance.choice(([2**40, 2**40], [-1], [0], [2**63], [], None, ["a"], [1] * 2000)),
        "data_offsets": chance.choice(([0, 0], [5, 2], [0, 2**62], [-8, 0], [1], None)),
    }[kind]
    _header(path, lambda header: header[name].__setitem__(kind, value))
    return f"{kind} of {name} is {value!r:.40}"


def cast(folder: Path, chance: random.Random) -> str:
    """All weights of a part in another type."""
    path, kind = (
        chance.choice(_files(folder, ".safetensors")),
        chance.choice((torch.int8, torch.bool, torch.int64, torch.float64, torch.bfloat16, torch.float16)),
    )
    tensors(path, lambda found: {key: value.to(kind) for key, value in found.items()})
    return f"{'' if kind.is_floating_point else WRONG}{path.name} as {kind}"


def spoiled(folder: Path, chance: random.Random) -> str:
    path, value = (
        chance.choice(_files(folder, ".safetensors")),
        chance.choice((float("nan"), float("inf"), -float("inf"))),
    )

    def change(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensor = found[chance.choice(sorted(key for key, each in found.items() if each.is_floating_point()))]
        tensor.view(-1)[chance.randrange(tensor.numel())] = value
        return found

    tensors(path, change)
    return f"{WRONG}{value} in {path.name}"


def keys(folder: Path, chance: random.Random) -> str:
    """A key too many, too few, under another name, or of another shape."""
    path, how = (
        chance.choice(_files(folder, ".safetensors")),
        chance.choice(("more", "less", "renamed", "shape", "none")),
    )
    if how == "more":
        more(path, chance.choice(("mid_block.lora.up.weight", "x", "", "a" * 3000, "..", "\u202e")))
        return f"{WRONG}a key too many in {path.name}"
    found = load_file(path)
    name = chance.choice(sorted(found))
    value = found.pop(name)
    if how == "renamed":
        found[f"{name}_"] = value
    elif how == "shape":
        found[name] = torch.zeros(*value.shape, 2) if chance.random() < 0.5 else torch.zeros(0)
    save_file({} if how == "none" else found, path, {"format": "pt"})
    optional = name.endswith("position_ids")
    return f"{'' if optional and how != 'none' else WRONG}{name} in {path.name}: {how}"


def odd(folder: Path, chance: random.Random) -> str:
    """A value of a JSON file."""
    path = chance.choice(_files(folder, ".json"))
    content = json.loads(path.read_text())
    place = chance.choice(list(leaves(content)) or [()])
    if not isinstance(content, dict) or not place:
        return "nothing to change"
    value = chance.choice((*ODD, *SIZES, *NAMES))
    at(content, place[:-1])[place[-1]] = value
    path.write_text(json.dumps(content))
    return f"{path.parent.name}/{path.name}: {'.'.join(place)[:60]} is {value!r:.40}"


def huge(folder: Path, chance: random.Random) -> str:
    """A network that no machine holds."""
    path = chance.choice(_files(folder, ".json"))
    content = json.loads(path.read_text())
    numbers = [
        key for key, value in content.items() if isinstance(value, int | list) and not isinstance(value, bool) and value
    ]
    if not numbers:
        return "nothing to change"
    key, size = chance.choice(numbers), chance.choice((2**20, 2**31, 2**40, 10**30))
    content[key] = [size] * len(content[key]) if isinstance(content[key], list) else size
    path.write_text(json.dumps(content))
    return f"{path.parent.name}/{path.name}: {key} is {size}"


def garbage(folder: Path, chance: random.Random) -> str:
    path = chance.choice(_files(folder, ".json"))
    whole = path.read_bytes()
    raw = chance.choice(GARBAGE) if chance.random() < 0.9 else whole[:-20]
    path.write_bytes(raw)
    return f"{_needed(path, folder)}{path.parent.name}/{path.name} is {raw[:20]!r}"


def gone(folder: Path, chance: random.Random) -> str:
    path = chance.choice(_files(folder, ".safetensors", ".json", ".txt"))
    path.unlink()
    how = chance.choice(("missing", "fifo", "folder", "link to nothing", "link to a device", "link to itself"))
    if how == "fifo":
        fifo(path)
    elif how == "folder":
        path.mkdir()
    elif how != "missing":
        path.symlink_to({"link to nothing": "gone", "link to a device": "/dev/zero", "link to itself": path.name}[how])
    return f"{_needed(path, folder)}{path.parent.name}/{path.name} is {how}"


def elsewhere(folder: Path, chance: random.Random) -> str:
    """A file or a part that lies outside, behind a link."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()] + _files(folder, ".safetensors")
    path = chance.choice(inside)
    target = folder.with_name(f"{folder.name}-{path.name}")
    if target.exists():
        return "there already"
    shutil.move(path, target)
    path.symlink_to(target)
    return f"{WRONG}{path.name} is a link that leads out"


def pickled(folder: Path, chance: random.Random) -> str:
    path = chance.choice(_files(folder, ".safetensors"))
    path.unlink()
    torch.save({"a": torch.zeros(1)}, path.with_suffix(chance.choice((".bin", ".ckpt", ".pt"))))
    return f"{WRONG}{path.name} is a pickle"


def renamed(folder: Path, chance: random.Random) -> str:
    """Another class in the index or in a config."""
    path, name = chance.choice([*folder.rglob("config.json"), folder / "model_index.json"]), chance.choice(NAMES)
    config(path, **{chance.choice(("_class_name", "_diffusers_version", "architectures", "model_type")): name})
    return f"{path.parent.name}/{path.name} names {name!r:.40}"


def code(folder: Path, chance: random.Random) -> str:
    """A class of the folder's own, or `auto_map` in one of its files."""
    if chance.random() < 0.5:
        path = chance.choice(sorted(folder.rglob("config.json")) or [folder / "model_index.json"])
        config(path, auto_map={"AutoModel": "own.Own"})
    else:
        own_class(folder, chance.choice(("unet", "vae", "helper", "text_encoder")), "own", "Own")
    return f"{WRONG}code of its own"


MAKERS: tuple[Maker, ...] = (
    truncated, longer, flipped, flipped, headed, headed, cast, spoiled, keys, keys, odd, odd, odd, odd, huge, huge, garbage,
    garbage, gone, elsewhere, pickled, renamed, code,
)  # fmt: skip
