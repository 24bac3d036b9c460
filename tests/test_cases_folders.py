"""Odd and hostile model folders of users, each with its right answer: refused in one sentence, or used."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from folders import TEXT, UNET, VAE, config, deep, fifo, in_precision, linked, more, spoiled
from safetensors.torch import load_file

from tverase.errors import ModelError
from tverase.models.folder import check_folder, licence, open_model, write_edited
from tverase.rng import generator
from tverase.sampling import Sampling, draw


@pytest.fixture
def folder(pico_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pico_folder, tmp_path / "model"))


SNR = "scheduler/scheduler_config.json"


def private(f: Path) -> None:
    f.with_name("private.txt").write_text("a private key")
    (f / "tokenizer" / "notes.txt").symlink_to(f.with_name("private.txt"))


def own_code(f: Path) -> None:
    shutil.copytree(f / "tokenizer", f / "feature_extractor")
    (f / "feature_extractor" / "own.py").write_text("open('RAN', 'w').write('x')\nclass Own: pass\n")
    own = {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "own.Own"}}
    (f / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(own))
    config(f / "model_index.json", feature_extractor=["transformers", "CLIPProcessor"])


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "symlinked_part": (lambda f: linked(f / "vae", f.with_name("vae")), "link to another folder"),
    "zero_terminal_snr_with_epsilon": (
        lambda f: config(f / SNR, prediction_type="epsilon", rescale_betas_zero_snr=True),
        "zero terminal SNR",
    ),
    "nan_weights": (lambda f: spoiled(f / UNET, float("nan")), "not finite: the tensor"),
    "a_key_too_many": (lambda f: more(f / UNET, "mid_block.lora.up.weight"), "mid_block.lora.up.weight"),
    "code_by_auto_map": (own_code, "brings code of its own"),
    "fifo_as_weights": (lambda f: fifo(f / UNET), "no regular file"),
    "deeply_nested_config": (lambda f: (f / "unet/config.json").write_text(deep(50_000, "{}")), "cannot be read"),
    "config_of_a_wrong_type": (lambda f: config(f / "vae/config.json", up_block_types=[1, 2]), "could not be opened"),
    "scheduler_of_another_kind": (
        lambda f: config(f / "model_index.json", scheduler=["transformers", "T5Tokenizer"]),
        "expected diffusers",
    ),
    "weights that are no floating-point numbers": (lambda f: in_precision(f / UNET, torch.int8), "of the type I8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_is_refused(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, says = REFUSED[case]
    make(folder)
    monkeypatch.chdir(folder.parent)

    def used() -> None:
        check_folder(folder)
        open_model(folder)

    with pytest.raises(ModelError, match=re.escape(says)) as error:
        used()
    assert "\n" not in str(error.value)
    assert not list(folder.parent.rglob("RAN"))


def copies(f: Path) -> None:
    for path in ("unet_ema", "checkpoints", ".git"):
        (f / path).mkdir()
    for path in (
        "unet_ema/x.safetensors",
        "checkpoints/y.safetensors",
        "unet/flax.msgpack",
        "unet/model.onnx",
        "unet/z.bin",
    ):
        shutil.copy(f / UNET, f / path)
    (f / ".git" / "config").write_text("url = https://user:secret@example.org/x.git\n")
    (f / ".env").write_text("TOKEN=secret")
    (f / "train.py").write_text("print('hello')\n")


def both_precisions(f: Path) -> None:
    in_precision(f / UNET, torch.float32)
    half = f / UNET.replace(".safetensors", ".fp16.safetensors")
    shutil.copy(f / UNET, half)
    in_precision(half, torch.float16)


def one_variant(f: Path) -> None:
    for path in (UNET, VAE, TEXT):
        (f / path).rename(f / path.replace(".safetensors", ".fp16.safetensors"))


USED: dict[str, Callable[[Path], object]] = {
    "symlink_to_a_private_file": private,
    "private files, and weights_that_nobody_erases": copies,
    "fp16_beside_fp32": both_precisions,
    "only_fp16_variant": one_variant,
    "tokenizer_without_a_limit": lambda f: config(f / "tokenizer/tokenizer_config.json", model_max_length=...),
    "latin1_card": lambda f: (f / "README.md").write_bytes("---\nlicense: mit\n---\nMod\xe8le\n".encode("latin-1")),
    "file_name_that_is_not_utf8": lambda f: os.close(os.open(os.fsencode(f) + b"/caf\xe9.txt", os.O_CREAT)),
}


@pytest.mark.parametrize("case", USED)
def test_a_folder_that_is_used(case: str, folder: Path, tmp_path: Path) -> None:
    """It draws, and only the pipeline's own files reach the result, in the precision of the file that was opened."""
    known = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} | {"README.md"}
    USED[case](folder)
    check_folder(folder)
    model = open_model(folder)
    images = draw(model, model.encode(["a bomb"]), generator(0, "tests/cases"), Sampling(steps=2))
    assert torch.isfinite(images).all()
    left_out = write_edited(folder, model.weights(), tmp_path / "erased")
    written = {
        path.relative_to(tmp_path / "erased").as_posix() for path in (tmp_path / "erased").rglob("*") if path.is_file()
    }
    plain = {name.replace(".fp16", "") for name in written}
    assert plain <= known
    names = {
        path: path.relative_to(folder).as_posix().replace(".fp16", "") for path in folder.rglob("*") if path.is_file()
    }
    new = [path for path, name in names.items() if name not in plain]
    assert len(left_out) >= len([path for path in new if path.name != "README.md"])
    if case == "fp16_beside_fp32":
        assert {tensor.dtype for tensor in load_file(tmp_path / "erased" / UNET).values()} == {torch.float32}
    if case == "latin1_card":
        assert licence(folder) == "mit"
    draw_again = open_model(tmp_path / "erased")
    assert draw_again.weights().keys() == model.weights().keys()
