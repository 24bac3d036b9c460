"""Every step with model and embeddings on a GPU: what is made on the CPU has to find its way there, and back into files."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks import select
from tasks._all import MAKE_THE_MODEL, STEPS
from tverase.config import Params
from tverase.vector import TaskVector

OTHERWISE: list[dict[str, Any]] = [
    {},
    {"invert": {"space": "states"}},
    {
        "concepts": ["bomb", "skull"],
        "finetune": {"joint": False, "copies": 2},
    },
    {"build_vector": {"weighting": "activations"}, "finetune": {"weight_decay": 1.0}},
    {"select": {"how": "search", "search": {"images": 1, "retain_images": 4, "removals": 1}}},
]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("otherwise", OTHERWISE)
def test_every_step_runs_on_a_gpu(
    small_run: dict[str, Any], otherwise: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {**small_run, "runtime": {"threads": 1, "device": "cuda"}}
    given["invert"] = {**small_run["invert"], "steps": 4, "look_every": 2, "look": 2}
    for section, values in otherwise.items():
        given[section] = {**given.get(section, {}), **values} if isinstance(values, dict) else values
    params = Params.parse(given)
    for step in STEPS[len(MAKE_THE_MODEL) :]:
        assert not step.execute(params).reused
    assert TaskVector.load(select.STEP.outputs(params)["selected"]).norm() > 0
    assert all(step.execute(params).reused for step in STEPS[len(MAKE_THE_MODEL) :])
