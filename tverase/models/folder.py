"""Opening a pipeline folder safely: every file is looked at before anything is built from it."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import ModelError, NetworkError, UnsafeWeights
from ..files import write_tensors
from .text2image import TextToImage

PICKLED = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
KNOWN_PIPELINES = ("StableDiffusionPipeline",)
WEIGHTED = ("unet", "vae", "text_encoder")


def open_model(where: str | Path, device: str = "cpu") -> TextToImage:
    """The pipeline in a folder, or with a hub id, as a `Model` in float32.

    Raises `ModelError` if it is missing, incomplete, damaged or of another architecture, `UnsafeWeights` if its
    weights are pickled, `NetworkError` if it has to be fetched and cannot be.
    """
    pipe = open_pipeline(where)
    return TextToImage.of(pipe.to(device))


def open_pipeline(where: str | Path) -> Any:
    """The same as a diffusers pipeline, without a safety checker."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()  # of its own: ours say what they are for
    folder = locate(where)
    check_folder(folder)
    try:
        parts = {name: _whole(name, folder / name) for name in WEIGHTED}
        return StableDiffusionPipeline.from_pretrained(
            folder,
            **parts,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            safety_checker=None,
            requires_safety_checker=False,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"{where} could not be opened as a Stable Diffusion pipeline: {_first_line(error)}") from error


def _whole(name: str, part: Path) -> Any:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    kind = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}[name]
    made, info = kind.from_pretrained(part, output_loading_info=True, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True)
    if info["missing_keys"]:
        raise ModelError(f"{part} lacks {sorted(info['missing_keys'])[:3]}")
    return made


def locate(where: str | Path) -> Path:
    """The folder of a model: the path itself, or the cached copy of a hub id, fetched if need be."""
    return Path(where) if Path(where).exists() else _fetched(str(where))


def check_folder(folder: Path) -> None:
    """Raise unless `folder` is a whole Stable Diffusion pipeline with readable safetensors weights."""
    index = _json(folder / "model_index.json", f"{folder} is not a diffusers pipeline folder")
    found = index.get("_class_name") if isinstance(index, dict) else None
    if found not in KNOWN_PIPELINES:
        raise ModelError(f"{folder / 'model_index.json'} says that {folder} holds a {found}; tverase edits: {', '.join(KNOWN_PIPELINES)}.")
    for part in WEIGHTED:
        _json(folder / part / "config.json", f"the part `{part}` of {folder} is incomplete")
        _check_weights(folder / part)
    for part in ("tokenizer", "scheduler"):
        if not (folder / part).is_dir() or not any((folder / part).iterdir()):
            raise ModelError(f"{folder / part} is missing; the folder is incomplete, fetch it again.")


def _check_weights(part: Path) -> None:
    files = sorted(part.glob("*.safetensors"))
    if not files:
        if pickled := sorted(p.name for p in part.iterdir() if p.suffix in PICKLED):
            raise UnsafeWeights(
                f"{part} has only pickled weights ({pickled[0]}); opening them could run code. Convert them on a "
                "machine that you can lose: `StableDiffusionPipeline.from_pretrained(...).save_pretrained(new, "
                "safe_serialization=True)`."
            )
        raise ModelError(f"{part} has no safetensors weights; the folder is incomplete, fetch it again.")
    for file in files:
        try:
            with safe_open(file, framework="pt") as handle:
                if not list(handle.keys()):
                    raise ModelError(f"{file} is empty; fetch it again.")
        except SafetensorError as error:
            raise ModelError(f"{file} is damaged or truncated ({error}); fetch or make it again.") from error


def _fetched(name: str) -> Path:
    """The folder of a hub model, fetched if it is not in the cache. Pickled weights are not fetched."""
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise ModelError(f"{name} is not there; give a diffusers folder, or a hub id like `owner/name`.")
    from diffusers import StableDiffusionPipeline

    try:
        return Path(StableDiffusionPipeline.download(name, use_safetensors=True, variant=None))
    except (OSError, ValueError) as error:
        raise NetworkError(
            f"{name} is no folder here and could not be fetched from the hub: {_first_line(error)}"
        ) from error


def _json(path: Path, problem: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{problem}: {path} is missing.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{problem}: {path} cannot be read ({error}).") from error
    return content


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def licence(where: str | Path) -> str:
    """What the model card says (`license:` in its header), or "unknown"."""
    card = locate(where) / "README.md"
    for line in card.read_text(encoding="utf-8").splitlines() if card.exists() else []:
        if line.startswith("license:"):
            return line.partition(":")[2].strip()
    return "unknown"


def write_edited(source: str | Path, weights: dict[str, torch.Tensor], out: Path) -> None:
    """Write the pipeline in folder `source` to `out` with other UNet weights. Everything is a copy: a link would
    let what happens to `out` (a cache that write-protects its files) happen to the user's own model.

    The UNet is written in the precision in which `source` stores it. `out` is expected to be a fresh, unfinished path.
    """
    folder = locate(source)
    names = sorted(p.name for p in (folder / "unet").glob("*.safetensors"))
    with safe_open(folder / "unet" / names[0], framework="pt") as handle:
        stored = handle.get_tensor(next(iter(handle.keys()))).dtype
    for item in sorted(p for p in folder.rglob("*") if p.is_file()):
        inside = item.relative_to(folder)
        weights_file = item.suffix in PICKLED or ".safetensors" in item.name
        if weights_file and (len(inside.parts) == 1 or inside.parts[0] == "unet"):
            continue  # the weights that the edit replaces, under whatever name
        target = out / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(item, target)
    whole = {key: value.to(stored) for key, value in weights.items()}
    write_tensors(whole, out / "unet" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
