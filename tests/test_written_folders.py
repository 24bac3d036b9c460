"""What an erased folder holds: the pipeline's own files, in the precision that was opened, with a card, and it draws."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from folders import (
    TEXT,
    UNET,
    VAE,
    config,
    fifo,
    hub_cache,
    in_precision,
    sharded,
    tensors,
)
from safetensors.torch import load_file

from tverase.errors import KeyMismatch, ModelError
from tverase.files import sha256
from tverase.models.card import ErasedCard
from tverase.models.folder import check_folder, licence, open_model, write_edited

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(pico_folder: Path, tmp_path: Path) -> Path:
    """A copy of the pico model that may be changed."""
    return Path(shutil.copytree(pico_folder, tmp_path / "model"))


def private(folder: Path) -> set[str]:
    """What lies beside the pipeline's files in real folders; the answer says how it is named when it is left out."""
    (folder / ".env").write_text("TOKEN=secret")
    (folder / ".git" / "lfs").mkdir(parents=True)
    (folder / ".git" / "config").write_text("url = https://user:secret@example.org/x.git")
    shutil.copy(folder / UNET, folder / ".git" / "lfs" / "object")
    (folder / "train.py").write_text("print('secret')")
    (folder / "README.md").write_text("---\nlicense: mit\n---\nsecret")
    secret = folder.with_name("private.txt")
    secret.write_text("secret")
    (folder / "tokenizer" / "notes.txt").symlink_to(secret)
    (folder / "NOTICE").symlink_to(secret)
    (folder / "elsewhere").symlink_to(folder.parent)
    return {".env", ".git/", "train.py", "README.md", "tokenizer/notes.txt", "NOTICE", "elsewhere"}


COPIES = (
    "unet_ema/diffusion_pytorch_model.safetensors",
    "checkpoints/step-1000.safetensors",
    "unet/diffusion_flax_model.msgpack",
    "unet/model.onnx",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/model.safetensors",
    "unet/old/diffusion_pytorch_model.safetensors",
    "vae/unet.safetensors",
    "text_encoder/diffusion_pytorch_model.safetensors",
    "tokenizer/vocab.safetensors",
    "scheduler/backup.json",
    "v1-5-pruned.ckpt",
    "LICENSE.safetensors",
    "LICENSE",
    "COPYING.md",
    "safety_checker/diffusion_pytorch_model.safetensors",
)


def copies(folder: Path) -> set[str]:
    """The base weights under other names, everywhere."""
    for name in COPIES:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / UNET, folder / name)
    config(folder / "model_index.json", unet_ema=["diffusers", "UNet2DConditionModel"])
    config(folder / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    single = {name for name in COPIES if name.count("/") == 0 or name.split("/")[0] in ("unet", "vae", "tokenizer")}
    return {name for name in single if "/old/" not in name} | {"unet/old/", "unet_ema/", "checkpoints/"}


@pytest.mark.parametrize("beside", [private, copies])
def test_only_the_pipelines_own_files_are_written(
    folder: Path, tmp_path: Path, beside: Callable[[Path], set[str]]
) -> None:
    plain = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    base = (folder / UNET).read_bytes()
    expected = beside(folder)
    edited = {key: weight + 0.01 for key, weight in open_model(folder).weights().items()}
    left_out = write_edited(folder, edited, tmp_path / "erased")
    found = {str(p.relative_to(tmp_path / "erased")): p for p in (tmp_path / "erased").rglob("*") if not p.is_dir()}
    assert found.keys() == plain
    assert not any(path.is_symlink() or b"secret" in path.read_bytes() for path in found.values())
    assert not any(path.read_bytes() == base for path in found.values())
    assert expected <= set(left_out)
    index = json.loads((tmp_path / "erased" / "model_index.json").read_text())
    assert "unet_ema" not in index
    assert index["safety_checker"] == [None, None]
    open_model(tmp_path / "erased")


def test_licence_texts_are_kept(folder: Path, tmp_path: Path) -> None:
    for name in ("LICENSE.txt", "NOTICE", "COPYING"):
        (folder / name).write_text(f"terms of {name}")
    write_edited(folder, open_model(folder).weights(), tmp_path / "erased")
    assert (tmp_path / "erased" / "NOTICE").read_text() == "terms of NOTICE"
    assert {"LICENSE.txt", "COPYING"} <= set(os.listdir(tmp_path / "erased"))


def test_a_snapshot_of_the_hub_cache_is_opened_and_copied(pico_folder: Path, tmp_path: Path) -> None:
    snapshot = hub_cache(pico_folder, tmp_path)
    check_folder(snapshot)
    assert write_edited(snapshot, open_model(snapshot).weights(), tmp_path / "erased") == ()
    assert not any(p.is_symlink() for p in (tmp_path / "erased").rglob("*"))
    assert sha256(tmp_path / "erased" / VAE) == sha256(pico_folder / VAE)
    other = hub_cache(pico_folder, tmp_path / "other")
    (snapshot / VAE).unlink()
    (snapshot / VAE).symlink_to((other / VAE).resolve())  # a blob, but of another repository
    with pytest.raises(ModelError, match="link that leads out"):
        check_folder(snapshot)


@pytest.mark.parametrize("opened", [torch.float32, torch.bfloat16, torch.float16])
def test_the_precision_written_is_that_of_the_opened_file(folder: Path, tmp_path: Path, opened: torch.dtype) -> None:
    for variant, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("a", torch.float32)):
        path = folder / UNET.replace(".safetensors", f".{variant}.safetensors")
        shutil.copy(folder / UNET, path)
        in_precision(path, dtype)
    in_precision(folder / UNET, opened)
    write_edited(folder, open_model(folder).weights(), tmp_path / "erased")
    assert {weight.dtype for weight in load_file(tmp_path / "erased" / UNET).values()} == {opened}


def test_each_tensor_keeps_its_own_precision(folder: Path, tmp_path: Path) -> None:
    tensors(folder / UNET, lambda t: {key: value.float() if "norm" in key else value for key, value in t.items()})
    write_edited(folder, open_model(folder).weights(), tmp_path / "erased")
    before, after = load_file(folder / UNET), load_file(tmp_path / "erased" / UNET)
    assert {key: value.dtype for key, value in after.items()} == {key: value.dtype for key, value in before.items()}
    assert len({value.dtype for value in after.values()}) == 2


def as_variant(folder: Path, word: str) -> None:
    for name in (UNET, VAE, TEXT):
        (folder / name).rename(folder / name.replace(".safetensors", f".{word}.safetensors"))


@pytest.mark.parametrize("word", ["fp16", "non_ema"])
def test_a_folder_of_one_variant_is_opened(folder: Path, pico: Any, tmp_path: Path, word: str) -> None:
    as_variant(folder, word)
    check_folder(folder)
    model = open_model(folder)
    assert all(torch.equal(weight, pico.weights()[key]) for key, weight in model.weights().items())
    write_edited(folder, model.weights(), tmp_path / "erased")
    assert all((tmp_path / "erased" / name).is_file() for name in (UNET, VAE, TEXT)), "opened without naming a variant"


def test_shards_are_opened_and_copied(folder: Path, pico: Any, tmp_path: Path) -> None:
    for name in (UNET, VAE, TEXT):
        sharded(folder / name)
    check_folder(folder)
    model = open_model(folder)
    assert all(torch.equal(weight, pico.weights()[key]) for key, weight in model.weights().items())
    assert write_edited(folder, model.weights(), tmp_path / "erased") == ()
    assert (tmp_path / "erased" / UNET).is_file()
    assert not (tmp_path / "erased" / (UNET + ".index.json")).exists()
    assert open_model(tmp_path / "erased").encode(["a bomb"]).equal(pico.encode(["a bomb"]))


@pytest.mark.parametrize("name", ["../../private.safetensors", "/etc/passwd", ".hidden.safetensors", "x.bin", ""])
def test_an_index_names_files_of_its_own_folder(folder: Path, name: str) -> None:
    sharded(folder / VAE, first=name or " ")
    with pytest.raises(ModelError, match="expected names of safetensors files of its own folder"):
        check_folder(folder)


def test_edited_weights_have_every_key(folder: Path, tmp_path: Path) -> None:
    weights = dict(open_model(folder).weights())
    dropped = sorted(weights)[0]
    del weights[dropped]
    with pytest.raises(KeyMismatch, match=dropped):
        write_edited(folder, weights, tmp_path / "erased")


@pytest.mark.parametrize("limit", [..., 10**30, 77])
def test_a_tokenizer_without_a_limit_has_the_text_encoders(
    folder: Path, pico: Any, tmp_path: Path, limit: object
) -> None:
    config(folder / "tokenizer/tokenizer_config.json", model_max_length=limit)
    model = open_model(folder)
    assert model.encode(["a bomb"]).equal(pico.encode(["a bomb"]))
    write_edited(folder, model.weights(), tmp_path / "erased")
    written = json.loads((tmp_path / "erased/tokenizer/tokenizer_config.json").read_text())
    assert written["model_max_length"] == model.text_encoder.config.max_position_embeddings


DRAW = """
import sys
from diffusers import DiffusionPipeline, StableDiffusionPipeline
for kind in (DiffusionPipeline, StableDiffusionPipeline):
    pipe = kind.from_pretrained(sys.argv[1])
    image = pipe("a noto penguin", num_inference_steps=2).images[0]
    assert image.size == (int(sys.argv[2]),) * 2, image.size
assert not any(name.partition(".")[0] == "tverase" for name in sys.modules)
print("drawn")
"""


def drawn_with_defaults(folder: Path, size: int) -> str:
    run = subprocess.run(
        [sys.executable, "-c", DRAW, str(folder), str(size)], capture_output=True, text=True, timeout=300, check=False
    )
    return run.stdout.strip() or run.stderr[-2000:]


def test_the_embedded_model_draws_with_every_librarys_defaults() -> None:
    assert drawn_with_defaults(ROOT / "models" / "emoji-sd", 32) == "drawn"


def test_an_erased_folder_draws_with_every_librarys_defaults(folder: Path, tmp_path: Path) -> None:
    """Whatever precisions the source mixes or names, and without a limit of the tokenizer."""
    in_precision(folder / VAE, torch.float32)
    in_precision(folder / UNET, torch.bfloat16)
    config(folder / "text_encoder/config.json", dtype=..., torch_dtype="float16", nested={"dtype": "bfloat16"})
    config(folder / "tokenizer/tokenizer_config.json", model_max_length=...)
    write_edited(folder, open_model(folder).weights(), tmp_path / "erased")
    assert sha256(tmp_path / "erased" / TEXT) == sha256(folder / TEXT), "the stored weights stay as they are"
    assert drawn_with_defaults(tmp_path / "erased", 8) == "drawn"


def test_the_card_says_what_was_done(folder: Path, tmp_path: Path) -> None:
    import yaml

    left_out = ("unet_ema/", "odd`|name\n.txt")
    card = ErasedCard(["bomb", "van gogh"], 1.25, str(folder), "ba5e", "7a0", "mit", left_out)
    card.write(folder)
    text = (folder / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "mit"
    assert header["library_name"] == "diffusers"
    assert header["base_model"] == "model"
    assert "task-vector" in header["tags"]
    for said in ("`bomb`, `van gogh`", "| alpha | 1.25 |", "`ba5e`", "`7a0`", "- `unet_ema/`", "- `odd name .txt`"):
        assert said in text
    assert all(f"| {name} | `{sha256(folder / name)}` |" in text for name in (UNET, VAE, TEXT))
    assert str(tmp_path) not in text, "where somebody keeps the base model is nobody's business"
    assert licence(folder) == "mit"


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: mit\n---\nMod\xe8le\n".encode("latin-1"), "mit"),
        (b"---\ntitle: \xff\xfe\nlicense: 'apache-2.0'  # ours\n---\n", "apache-2.0"),
        (b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n", "mit"),
        (b"---\nlicense:\n- cc-by-4.0\n- mit\n---\n", "cc-by-4.0"),
        (b"---\nlicense: [openrail, mit]\n---\n", "openrail"),
        (b"---\ntitle: x\n---\nlicense: mit\n", "unknown"),
        (b"---\nlicense: a`b|c\n---\n", "unknown"),
        (b"", "unknown"),
    ],
)
def test_the_licence_is_read_as_far_as_it_can_be(folder: Path, card: bytes, expected: str) -> None:
    (folder / "README.md").write_bytes(card)
    assert licence(folder) == expected


def test_a_card_that_is_a_fifo_is_not_waited_for(folder: Path) -> None:
    fifo(folder / "README.md")
    assert licence(folder) == "unknown"


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"unet/\xff.safetensors", b"\xfe"])
def test_a_name_that_is_not_utf8_is_named_and_left_out(folder: Path, tmp_path: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(folder), name), "wb") as handle:
        handle.write(b"x")
    before = sha256(folder)
    left_out = write_edited(folder, open_model(folder).weights(), tmp_path / "erased")
    assert left_out == (name.decode("utf-8", "backslashreplace"),)
    with open(os.path.join(os.fsencode(folder), name), "wb") as handle:
        handle.write(b"y")
    assert sha256(folder) != before


def test_the_notices_name_every_source_of_the_art() -> None:
    notice = (ROOT / "NOTICE").read_text()
    sources = json.loads((ROOT / "data" / "emoji" / "index.json").read_text())["sources"]
    assert all(f"{source['name']} {source['version']}" in " ".join(notice.split()) for source in sources)
    assert "Copyright (c) Microsoft Corporation" in notice
    assert notice.count("The above copyright notice and this permission notice shall be included in all copies") >= 2
    assert (ROOT / "models" / "emoji-sd" / "NOTICE").read_text() == notice
    assert licence(ROOT / "models" / "emoji-sd") == "apache-2.0"
