"""Silence, set before any library is imported: of itself this file imports none, so that `tverase --help` is quick."""

import os

QUIET = {
    "DO_NOT_TRACK": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


def quiet() -> None:
    """No telemetry, and no chatter of libraries between our own lines."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
