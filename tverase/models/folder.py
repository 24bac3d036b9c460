"""Model folders: find, check, open and write them. Every file is looked at before anything is built from it."""

from .adapters import check_folder, open_model, write_edited
from .card import licence
from .layout import KNOWN_PIPELINES, WEIGHTED
from .locating import locate, refuse_own_output
from .opening import open_pipeline

__all__ = [
    "KNOWN_PIPELINES",
    "WEIGHTED",
    "check_folder",
    "licence",
    "locate",
    "open_model",
    "open_pipeline",
    "refuse_own_output",
    "write_edited",
]
