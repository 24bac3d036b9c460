"""The shared cache: a result that one machine has made comes to another through the store."""

import shutil
from pathlib import Path

import pytest
from toy_step import PARAMS, STEP, prepare


def test_a_result_comes_from_the_store_and_not_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_machine() -> None:
        shutil.rmtree("outputs")
        shutil.rmtree(".tverase")

    monkeypatch.setenv("TVERASE_STORE", str(tmp_path / "store"))
    here = tmp_path / "here"
    here.mkdir()
    prepare(here, monkeypatch)
    made = STEP.execute(PARAMS)
    assert not made.reused
    other_machine()
    fetched = STEP.execute(PARAMS)
    assert (fetched.reused, fetched.outputs) == (True, made.outputs)
    assert STEP.execute(PARAMS).reused
    assert not STEP.execute(PARAMS, force=True).reused
    other_machine()
    monkeypatch.delenv("TVERASE_STORE")
    assert not STEP.execute(PARAMS).reused
