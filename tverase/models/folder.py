"""Model folders: find, check, open and write them. Every file is looked at before anything is built from it."""

from .card import licence
from .checking import check_folder
from .layout import KNOWN_PIPELINES, WEIGHTED
from .locating import locate, refuse_own_output
from .opening import open_model, open_pipeline
from .writing import write_edited

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
