"""Concepts: what is to go, in which words people ask for it, and what has to stay."""

from .base import Concept, Kind, Producer, Prompt, run_name, slug
from .retain import evenly, halves, joint, spread

__all__ = ["Concept", "Kind", "Producer", "Prompt", "evenly", "halves", "joint", "run_name", "slug", "spread"]
