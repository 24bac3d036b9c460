"""Concepts: the forget set as prompts of several input kinds, and the retain set."""

from .base import Concept, Kind, Producer, Prompt, run_name, slug
from .retain import evenly, halves, joint, spread

__all__ = ["Concept", "Kind", "Producer", "Prompt", "evenly", "halves", "joint", "run_name", "slug", "spread"]
