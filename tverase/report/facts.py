"""What a report is made of: numbers and pictures, already computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Facts:
    """Everything that a report shows.

    pictures, uint8 (n, 3, H, W):
      `row/<i>/before`, `row/<i>/after`: the images of summary["rows"][i], worst first, same noise in both;
      `retain/before`, `retain/after`: the retain set, whose prompts are summary["retain"]["shown"];
      `concept/<slug>`: what the base model drew of the concept for the fine-tuning;
      `inversion/<name>`: what each embedding draws on the base model (name as in inversions["found"][i]["name"]).
    """

    params: Mapping[str, Any]  # params.yaml as it was used
    summary: Mapping[str, Any]  # evaluate.summary
    metrics: Mapping[str, Any]  # evaluate.metrics
    strength: Mapping[str, Any]  # strength.json
    inversions: Mapping[str, Any]  # {"found": [{"role": ..., **Found}], "evaluations": n}
    pictures: Mapping[str, Tensor]
    hashes: Mapping[str, str]  # artefact -> sha256
    timings: Mapping[str, float]  # step -> seconds; the only part that differs between two equal runs
    cost: Mapping[str, int]  # step -> denoiser evaluations
    judges: Mapping[str, Any]  # name -> {"version": "object-cnn/1", "accuracy": 0.99, ...}
    versions: Mapping[str, str]  # package -> version
    hardening: Mapping[str, Any] = field(default_factory=dict)  # hardening.json
