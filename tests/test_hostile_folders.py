"""Odd and hostile model folders: refused in one sentence by their cause, or opened."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from folders import (
    TEXT,
    UNET,
    VAE,
    config,
    deep,
    fifo,
    linked,
    more,
    own_class,
    spoiled,
    tensors,
)

from tverase.errors import ConfigError, ModelError, TveraseError
from tverase.models.folder import check_folder, locate, open_model, refuse_own_output, write_edited
from tverase.rng import generator
from tverase.sampling import Sampling, draw

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(pico_folder: Path, tmp_path: Path) -> Path:
    """A copy of the pico model that may be changed."""
    return Path(shutil.copytree(pico_folder, tmp_path / "model"))


SNR = "scheduler/scheduler_config.json"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a part behind a link": (lambda f: linked(f / "vae", f.with_name("vae")), r"vae is a link to another folder"),
    "weights behind a link": (lambda f: linked(f / UNET, f.with_name("u.safetensors")), "link that leads out"),
    "a config behind a link": (
        lambda f: linked(f / "vae" / "config.json", f.with_name("c.json")),
        "link that leads out",
    ),
    "an index behind a link": (lambda f: linked(f / "model_index.json", f.with_name("i.json")), "link that leads out"),
    "a link to nothing": (lambda f: ((f / UNET).unlink(), (f / UNET).symlink_to("gone.safetensors")), "is missing"),
    "a fifo as weights": (lambda f: fifo(f / UNET), "is no regular file"),
    "a fifo as config": (lambda f: fifo(f / "text_encoder" / "config.json"), "is no regular file"),
    "a fifo as index": (lambda f: fifo(f / "model_index.json"), "is no regular file"),
    "a fifo as tokenizer": (lambda f: fifo(f / "tokenizer" / "tokenizer.json"), "is no regular file"),
    "a fifo as scheduler": (lambda f: fifo(f / SNR), "is no regular file"),
    "a folder as tokens": (lambda f: (f / "tokenizer" / "added_tokens.json").mkdir(), "is no regular file"),
    "a folder as weights": (lambda f: ((f / VAE).unlink(), (f / VAE).mkdir()), "is no regular file"),
    "a device as weights": (lambda f: ((f / VAE).unlink(), (f / VAE).symlink_to("/dev/zero")), "link that leads out"),
    "NaN in the unet": (lambda f: spoiled(f / UNET, float("nan")), "unet are not finite: the tensor up_blocks.* NaN"),
    "infinity in the vae": (lambda f: spoiled(f / VAE, float("-inf")), "vae are not finite: the tensor"),
    "NaN in the text encoder": (lambda f: spoiled(f / TEXT, float("nan")), "text_encoder are not finite: the tensor"),
    "a key too many": (
        lambda f: more(f / UNET, "mid_block.lora.up.weight"),
        r"not have: \['mid_block.lora.up.weight'\]",
    ),
    "a key too many in the vae": (lambda f: more(f / VAE, "encoder.own.bias"), r"not have: \['encoder.own.bias'\]"),
    "a key too many for words": (lambda f: more(f / TEXT, "own.weight"), r"not have: .*own.weight"),
    "a deep config": (
        lambda f: (f / "unet/config.json").write_text(deep(50_000, "{}")),
        "unet.config.json cannot be read",
    ),
    "a deep index": (lambda f: (f / "model_index.json").write_text(deep(50_000, "[]")), "cannot be read"),
    "a deep tokenizer": (
        lambda f: (f / "tokenizer/tokenizer.json").write_text(deep(50_000, "{}")),
        "tokenizer.json cannot be read",
    ),
    "a config that Python still reads": (lambda f: (f / "vae/config.json").write_text(deep(500, "{}")), "levels deep"),
    "a config that is a list": (
        lambda f: (f / "vae/config.json").write_text("[1]"),
        "holds no JSON object, but a list",
    ),
    "a config that is not UTF-8": (lambda f: (f / "vae/config.json").write_bytes(b'{"a": "\xe9"}'), "cannot be read"),
    "a wrong type": (lambda f: config(f / "vae/config.json", up_block_types=[1, 2]), "could not be opened"),
    "another wrong type": (lambda f: config(f / "unet/config.json", block_out_channels="wide"), "could not be opened"),
    "words of a wrong type": (lambda f: config(f / "text_encoder/config.json", hidden_size=[]), "could not be opened"),
    "a size of a wrong type": (lambda f: config(f / "unet/config.json", sample_size="8"), "sample_size=8"),
    "a million layers": (lambda f: config(f / "text_encoder/config.json", num_hidden_layers=10**6), "expected 1 to"),
    "quantised": (lambda f: config(f / "unet/config.json", quantization_config={"bits": 4}), "are quantised"),
    "weights of another class": (
        lambda f: config(f / "unet/config.json", _class_name="UNet2DModel"),
        "of a UNet2DModel",
    ),
    "a tokenizer as scheduler": (
        lambda f: config(f / "model_index.json", scheduler=["transformers", "T5Tokenizer"]),
        r"part `scheduler` is a transformers.T5Tokenizer; expected diffusers",
    ),
    "a scheduler that is none": (
        lambda f: config(f / "model_index.json", scheduler=["diffusers", "OwnScheduler"]),
        "names the scheduler OwnScheduler, which diffusers does not have",
    ),
    "a scheduler of flows": (
        lambda f: config(f / "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"]),
        "no diffusion noise schedule",
    ),
    "another text encoder": (
        lambda f: config(f / "model_index.json", text_encoder=["transformers", "T5EncoderModel"]),
        r"`text_encoder` is a transformers.T5EncoderModel; expected transformers.CLIPTextModel",
    ),
    "a part that is not named": (lambda f: config(f / "model_index.json", vae=...), "does not name the part `vae`"),
    "a part that is null": (
        lambda f: config(f / "model_index.json", unet=[None, None]),
        "does not name the part `unet`",
    ),
    "a class in the folder": (
        lambda f: own_class(f, "unet", "own_unet", "UNet2DConditionModel"),
        "expected diffusers.UNet2D",
    ),
    "a further part with a class": (lambda f: own_class(f, "helper", "helper", "Helper"), "runs no code"),
    "a pipeline of its own": (lambda f: config(f / "model_index.json", _class_name=["own", "Pipe"]), "holds a"),
    "zero terminal SNR": (
        lambda f: config(f / SNR, prediction_type="epsilon", rescale_betas_zero_snr=True),
        "predicts epsilon on a noise schedule that ends without any signal",
    ),
    "betas that end in noise": (
        lambda f: config(f / SNR, prediction_type="epsilon", trained_betas=[0.1] * 999 + [1.0]),
        "predicts epsilon on a noise schedule that ends without any signal",
    ),
    "betas that are none": (lambda f: config(f / SNR, beta_start=-3.0, beta_end=2.0, beta_schedule="linear"), "betas"),
    "no timesteps": (lambda f: config(f / SNR, num_train_timesteps=0), "num_train_timesteps=0"),
    "no room for a word": (
        lambda f: config(f / "tokenizer/tokenizer_config.json", model_max_length=1),
        "cuts captions to 1 tokens; set model_max_length",
    ),
    "no word for padding": (
        lambda f: config(f / "tokenizer/tokenizer_config.json", pad_token=None),
        "names no pad token|could not be opened",
    ),
    "words that nobody knows": (
        lambda f: (
            config(f / "text_encoder/config.json", vocab_size=16),
            tensors(f / TEXT, lambda t: {k: v[:16] if "token_embedding" in k else v for k, v in t.items()}),
        ),
        "do not belong together",
    ),
    "two kinds of weights": (
        lambda f: (f / (UNET + ".index.json")).write_text("{}"),
        "has both diffusion_pytorch_model.safetensors and",
    ),
    "several variants": (
        lambda f: (
            shutil.copy(f / UNET, f / "unet/diffusion_pytorch_model.fp16.safetensors"),
            (f / UNET).rename(f / "unet/diffusion_pytorch_model.ema.safetensors"),
        ),
        "has only the variants ema, fp16; copy the one",
    ),
}


def looked_at_and_opened(folder: Path) -> None:
    check_folder(folder)
    open_model(folder)


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(folder: Path, case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    make(folder)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        looked_at_and_opened(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("case", [name for name in REFUSED if name.startswith(("NaN", "a fifo", "a class", "zero"))])
def test_refused_before_anything_is_built(folder: Path, case: str) -> None:
    make, message = REFUSED[case]
    make(folder)
    with pytest.raises(ModelError, match=message):
        check_folder(folder)


@pytest.mark.parametrize(
    "file", ["scheduler/scheduler_config.json", "vae/config.json", "tokenizer/tokenizer_config.json"]
)
def test_every_file_that_names_code_is_refused(folder: Path, file: str) -> None:
    config(folder / file, nested={"deeper": [{"auto_map": {"AutoModel": "own.Own"}}]})
    with pytest.raises(ModelError, match=r"brings code of its own \(auto_map\)"):
        check_folder(folder, finite=False)


def test_code_does_not_run_whatever_is_typed(folder: Path, tmp_path: Path) -> None:
    """A processor of its own: a library would ask on stdin whether to run it."""
    shutil.copytree(folder / "tokenizer", folder / "feature_extractor")
    (folder / "feature_extractor" / "own.py").write_text("open('RAN', 'w').close()\nclass Own: pass\n")
    own = {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "own.Own"}}
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(own))
    config(folder / "model_index.json", feature_extractor=["transformers", "CLIPImageProcessor"])
    code = f"from tverase.models.folder import open_model; open_model({str(folder)!r})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, input="y\ny\ny\n", capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert "brings code of its own" in run.stderr
    assert not list(tmp_path.rglob("RAN"))


VALUES = [None, 0, -1, 1, 7, 10**9, 1.5, float("nan"), "", "x", [], [1], {}, {"a": 1}, True, "../../x", ["a", "b"]]


@pytest.mark.parametrize("seed", range(40))
def test_a_changed_value_is_refused_in_one_sentence_or_works(folder: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = chance.choice(sorted(folder.rglob("*.json")))
    content = json.loads(path.read_text())
    content[chance.choice(sorted(content))] = chance.choice(VALUES)
    path.write_text(json.dumps(content))
    try:
        check_folder(folder)
        model = open_model(folder)
        images = draw(model, model.encode(["a bomb"]), generator(0, "tests/changed"), Sampling(steps=2))
        write_edited(folder, model.weights(), tmp_path / "erased")
        check_folder(tmp_path / "erased")
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert torch.isfinite(images).all()


@pytest.mark.parametrize(
    ("model", "out", "refused"),
    [
        ("outputs/bomb/erased", "outputs/bomb", True),
        ("outputs/bomb", "outputs/bomb", True),
        ("outputs/../outputs/bomb/erased", "outputs/bomb", True),
        ("link", "outputs/bomb", True),
        ("outputs/bomb/erased", "outputs/bomb/erased/run", True),
        ("outputs/bomb/erased", "outputs/owl", False),
        ("outputs/bomb/erased", "outputs/bomb2", False),
        ("owner/name", "owner", False),
    ],
)
def test_a_run_does_not_replace_its_own_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, out: str, refused: bool
) -> None:
    (tmp_path / "outputs" / "bomb" / "erased").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "outputs" / "bomb" / "erased")
    monkeypatch.chdir(tmp_path)
    if refused:
        with pytest.raises(ConfigError, match="replace its own input"):
            refuse_own_output(model, out)
    else:
        refuse_own_output(model, out)


@pytest.mark.parametrize("name", ["~/not-there", "~nobody-here/sd", "a\0b", "x" * 5000, "a b/c", "owner/na me", "/"])
def test_what_is_no_model_is_said_in_one_sentence(name: str) -> None:
    with pytest.raises(TveraseError) as caught:
        open_model(name)
    assert len(str(caught.value)) < 400
    assert caught.value.exit_code == 4


def test_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert locate("~/model") == folder
