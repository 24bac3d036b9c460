"""Looking at a pipeline folder before anything is built from it: complete, readable, finite, and free of code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .layout import FILES, LIBRARIES, STABLE_DIFFUSION, Layout, Part, named
from .reading import keys_of, read_config, say, weights_of, wrong_with

CODE = {"auto_map", "custom_pipelines", "custom_pipeline"}
READ_BY_LIBRARIES = {name for names in FILES.values() for name in names if name.endswith(".json")} | {
    "processor_config.json",
    "generation_config.json",
}
COUNTS = {
    "num_hidden_layers": 200,
    "layers_per_block": 50,
    "transformer_layers_per_block": 50,
    "num_train_timesteps": 100_000,
}


def check_folder(folder: Path, layout: Layout = STABLE_DIFFUSION, *, finite: bool = True) -> None:
    """Raise `ModelError` unless `folder` is a whole pipeline of `layout` with safetensors weights and no code.

    finite: also read every weight and refuse NaN and infinity.
    """
    index = read_index(folder)
    if (found := index.get("_class_name")) not in layout.pipelines:
        raise ModelError(
            f"{say(folder / 'model_index.json')} says that {say(folder)} holds a {str(found)[:80]}; "
            f"tverase edits: {', '.join(layout.pipelines)}."
        )
    parts = _checked_classes(folder, index, layout)
    for name in parts:
        _refuse_code(folder, name)
    for name, part in layout.parts.items():
        if part.needed:
            _check_part(folder, name, part, finite=finite)


def read_index(folder: Path) -> dict[str, Any]:
    """The `model_index.json` of a folder."""
    index = read_config(folder / "model_index.json", folder, f"{say(folder)} is not a diffusers pipeline folder")
    if brought := sorted(keys_of(index) & CODE):
        raise _brings_code(folder / "model_index.json", brought[0])
    return index


def _brings_code(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{say(path)} brings code of its own ({what}); tverase runs no code from model folders. Save the pipeline again "
        "with classes of diffusers and transformers."
    )


def _checked_classes(folder: Path, index: Mapping[str, Any], layout: Layout) -> list[str]:
    """The names of the parts that the index names, each of a known class."""
    path = say(folder / "model_index.json")
    found = named(index)
    for name, (library, kind) in found.items():
        part = layout.parts.get(name)
        if part is not None and not part.known(library, kind):
            expected = f"{part.library}.{'|'.join(part.classes) or '*Scheduler'}"
            raise ModelError(f"{path} says that the part `{say(name)}` is a {library}.{kind}; expected {expected}.")
        if part is None and library not in LIBRARIES:
            raise ModelError(
                f"{path} names {library}.{kind} for the part `{say(name)}`; tverase runs no code from model folders, "
                f"only classes of {' and '.join(LIBRARIES)}."
            )
    if missing := [name for name, part in layout.parts.items() if part.needed and name not in found]:
        raise ModelError(f"{path} does not name the part `{missing[0]}`; the folder is incomplete, fetch it again.")
    return [name for name in found if name in layout.parts]


def _refuse_code(folder: Path, name: str) -> None:
    """Raise if a file that the libraries read names code to be imported."""
    for path in sorted(folder / name / file for file in READ_BY_LIBRARIES):
        if path.is_symlink() or path.exists():
            content = read_config(path, folder, f"the part `{name}` of {say(folder)} cannot be used")
            if brought := sorted(keys_of(content) & CODE):
                raise _brings_code(path, brought[0])


def _check_part(folder: Path, name: str, part: Part, *, finite: bool) -> None:
    if part.kind in ("tokenizer", "scheduler"):
        _check_small(folder, name, part)
        return
    problem = f"the part `{name}` of {say(folder)} is incomplete"
    config = read_config(folder / name / "config.json", folder, problem)
    _check_config(folder / name / "config.json", config, part)
    weights = weights_of(folder / name, part.stem, folder)
    weights.names()
    if finite:
        weights.require_finite()


def _check_config(path: Path, config: Mapping[str, Any], part: Part) -> None:
    if "quantization_config" in config:
        raise ModelError(f"{say(path)} says that the weights are quantised; save them in float16, bfloat16 or float32.")
    if (stated := config.get("_class_name")) is not None and stated not in part.classes:
        raise ModelError(f"{say(path)} is of a {str(stated)[:80]}; expected {' or '.join(part.classes)}.")
    _check_counts(path, config)


def _check_counts(path: Path, config: Mapping[str, Any]) -> None:
    """A number of layers or timesteps that no model has would be built for hours."""
    for key, most in COUNTS.items():
        value = config.get(key)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and not 0 < number <= most:
                raise ModelError(f"{say(path)} says {key}={number}; expected 1 to {most}.")


def _check_small(folder: Path, name: str, part: Part) -> None:
    where = folder / name
    if not where.is_dir() or not any(where.iterdir()):
        raise ModelError(f"{say(where)} is missing; the folder is incomplete, fetch it again.")
    present = [where / file for file in FILES[part.kind] if (where / file).is_symlink() or (where / file).exists()]
    for path in present:
        if wrong := wrong_with(path, folder):
            raise ModelError(f"the part `{name}` of {say(folder)} cannot be used: {wrong}.")
    names = {path.name for path in present}
    if part.kind == "scheduler":
        path = where / "scheduler_config.json"
        _check_scheduler(path, read_config(path, folder, f"the part `scheduler` of {say(folder)} is incomplete"))
    elif "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise ModelError(
            f"{say(where)} is incomplete: expected tokenizer.json, or vocab.json and merges.txt; fetch it again."
        )


def _check_scheduler(path: Path, config: Mapping[str, Any]) -> None:
    _check_counts(path, config)
    predicted = config.get("prediction_type", "epsilon")
    if predicted == "epsilon" and config.get("rescale_betas_zero_snr"):
        raise ModelError(zero_signal(say(path)))


def zero_signal(where: str) -> str:
    """Why epsilon prediction cannot be trained on a schedule that ends in pure noise."""
    return (
        f"{where} predicts epsilon on a noise schedule that ends without any signal (zero terminal SNR), where epsilon "
        "says nothing about the image; set rescale_betas_zero_snr to false, or prediction_type to what the model was "
        "trained with, v_prediction or sample."
    )
