"""Where a model is: a folder here, or the cached copy of a hub id."""

import re
from pathlib import Path

from ..errors import ConfigError, ModelError, NetworkError
from .reading import first_line, say

EMBEDDED = ("models/emoji-sd", "models/digits", "models/emoji-flow")  # in the repository, on no hub and in no wheel
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def locate(where: str | Path) -> Path:
    """The folder of a model: the path itself (`~` is the home folder), or the cached copy of a hub id, fetched if need be."""
    try:
        path = Path(where).expanduser()
        if path.exists():
            return path
    except (OSError, RuntimeError, ValueError):  # too long, a NUL, an unknown user
        pass
    return _fetched(str(where))


def _fetched(name: str) -> Path:
    """The folder of a hub model, fetched if it is not in the cache. Pickled weights are not fetched."""
    if name.rstrip("/") in EMBEDDED:
        raise ModelError(
            f"{name} is not there; the embedded models are in tverase's repository and not in its package: run this in a "
            "checkout, or give a diffusers folder or a hub id."
        )
    if not HUB_ID.fullmatch(name):
        raise ModelError(f"{say(name[:200])} is not there; give a diffusers folder, or a hub id like `owner/name`.")
    from diffusers import StableDiffusionPipeline

    try:
        return Path(StableDiffusionPipeline.download(name, use_safetensors=True, variant=None, trust_remote_code=False))
    except (OSError, ValueError) as error:
        raise NetworkError(
            f"{name} is no folder here and could not be fetched from the hub: {first_line(error)}"
        ) from error


def refuse_own_output(model_path: str | Path, out_path: str | Path) -> None:
    """Raise `ConfigError` if the model lies in the folder that the run writes to, or that folder in the model.

    Such a run would replace its own input, and compare the result with itself. A hub id is never refused.
    """
    try:
        model, out = Path(model_path).expanduser(), Path(out_path).expanduser()
        if not model.exists():
            return
        model, out = model.resolve(), out.resolve()
    except (OSError, RuntimeError, ValueError):
        return  # `locate` says what is wrong with it
    if model == out or model.is_relative_to(out) or out.is_relative_to(model):
        raise ConfigError(
            f"the model {say(model_path)} and the run's own outputs in {say(out_path)} lie in each other, so the run would "
            "replace its own input; copy the model elsewhere, or give the run another `name`."
        )
