"""A row of the table may be hardened: any eraser whose answer is a vector."""

from pathlib import Path
from typing import Any

import pytest
from bench_place import SMALL, bench_place, bench_plan, enter

from tasks._bench import Keys, execute
from tverase.bench.plan import Work, erasers
from tverase.errors import ConfigError
from tverase.files import read_json
from tverase.vector import TaskVector

ESD = {"kind": "esd", "steps": 1, "batch": 2}
HARDEN = {"teacher": 1.0, "max_rounds": 1, "warm_up": 0, "steps": 1, "batch": 2, "inputs": 2, "images": 1}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, pico_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(bench_place(tmp_path, pico_folder), monkeypatch)


def edits(*specs: dict[str, Any]) -> list[tuple[dict[str, Any], Path]]:
    """What making each of these rows has said, and its folder."""
    harden = {**HARDEN, "attacks": [SMALL], "attacked": [1.0]}
    plan = bench_plan(ours={"harden": harden}).model_copy(update={"rows": erasers(specs)})
    material, made, *_ = plan.stages()
    for work in (*material, *made):
        keyed = Keys().of(Work.of(work.as_dict()))
        execute(keyed.work, keyed.key, keyed.code, keyed.hashes)
    return [(read_json(work.path), work.path.parent) for work in made]


def test_the_vector_of_an_eraser_is_hardened() -> None:
    (plain, here), (hard, there) = edits(ESD, {**ESD, "hardened": True})
    assert plain["state"] == hard["state"] == "done", (plain.get("why"), hard.get("why"))
    assert "rounds" not in plain
    assert (hard["rounds"], hard["teacher"]) == (1, 1.0)
    assert hard["evaluations"] > plain["evaluations"], "hardening is part of the cost"
    before, after = (TaskVector.load(folder / "tau.safetensors") for folder in (here, there))
    assert before.base == after.base
    assert any(not change.equal(after.delta[key]) for key, change in before.delta.items())


def test_a_guard_has_no_vector_to_harden() -> None:
    ((said, _),) = edits({"kind": "negative-prompt", "hardened": True})
    assert said["state"] in ("failed", "refused")
    assert "a guard has no vector to harden" in said["why"]


def test_hardened_rows_have_a_name_of_their_own() -> None:
    assert [row.name for row in erasers(["esd", {"kind": "esd", "hardened": True}])] == ["esd", "esd, hardened"]
    assert [row.name for row in erasers([{"kind": "esd", "hardened": False}])] == ["esd"]
    with pytest.raises(ConfigError, match=r"hardened is 'yes' in .*; write true or false"):
        erasers([{"kind": "esd", "hardened": "yes"}])
