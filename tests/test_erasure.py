"""The main job on the embedded model, for real: minutes, so only with `make test-slow`."""

from pathlib import Path

import pytest

from benchmarks._runs import run_steps
from benchmarks.erasure import PLAIN, WORST, figures

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_default_concept_is_erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = figures(run_steps(tmp_path / "run", ["concepts=bomb"]))
    assert found["feasible"]
    assert found["plain"]["rate"] <= PLAIN
    assert found["worst"]["inputs"] >= 3, "the base model has to draw the concept from the held-back embeddings"
    assert found["worst"]["rate"] <= WORST
    assert found["loss"]["loss"] <= 0.25  # delta of params.yaml, on other prompts' noise
