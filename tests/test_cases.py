"""Small inputs that once failed, each with its right value: parameters, determinism, interruption, environment, security.

Model folders are in test_cases_folders.py. Those of `TABLE` need a server, a signal or a full disk, and have tests of their own. The others are here, built by the tests.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from flows import cli
from tasks._locks import locked, require_free, run_lock
from tasks._main import require_possible
from tverase.checkpoint import Checkpoint
from tverase.config import Params
from tverase.errors import ConfigError, StorageError
from tverase.models.base import Meter

HERE = Path(__file__).parent
# The cases by their numbers, and the tests that prove them.
TABLE = """
P5  concept_use       prompts_that_the_encoder_would_cut_are_refused
D1  sampling          an_image_depends_on_its_own_noise_alone
D1  models            the_batch_size_changes_nothing
S1  stops             a_run_that_is_stopped
S1  faults_kills      a_killed_flow
S2  stops             a_run_that_is_stopped
S3  training          a_damaged_checkpoint_is_dropped_and_the_training_starts_again
S3  inversion_resume  a_damaged_checkpoint_is_dropped_and_the_search_starts_again
S4  files             a_full_disk_while_writing
S5  step_at_once      a_whole_run_is_locked_and_who_waits_is_told
S5  cases             who_does_not_wait
S6  database          kills_while_a_database_is_first_made_leave_nothing_broken
S7  versions          two_registrations_at_once_are_one_version
S8  cases             s8_a_damaged_part_of_a_stopped_step_is_dropped
S9  step_at_once      kill_9_loses_nothing_finished_and_leaves_nothing_half_written
S10 files             what_a_killed_run_left_aside_is_swept_away
S10 faults_kills      a_killed_flow
S11 step              a_damaged_record_counts_as_none
S11 faults_fuzz       100_records_of_a_step
S12 versions          damaged_files_are_sent_again
S13 files             a_folder_that_is_not_ours
E1  stops             a_run_needs_no_home_and_leaves_no_server
E2  stops             what_cannot_be_is_one_sentence_at_once
E3  stops             what_cannot_be_is_one_sentence_at_once
E4  flow_again        a_copy_without_git_is_left_to_itself
E5  database          a_folder_is_no_store
E5  database          a_database_of_another_version_is_refused_and_not_touched
E6  versions          damaged_files_are_sent_again
E7  servers           the_slot_of_a_killed_run_is_free_again
X1  servers           nothing_is_made_without_the_password
X2  hostile_folders   code_does_not_run_whatever_is_typed
X3  written_folders   only_the_pipelines_own_files_are_written
X4  secrets           what_stands_as_a_secret_is_hidden
X4  secrets           what_is_no_secret_is_left_alone
X5  servers           mlflow_refuses_others
"""
ELSEWHERE = [line.split() for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize(("case", "file", "name"), ELSEWHERE)
def test_the_case_has_its_test(case: str, file: str, name: str) -> None:
    text = (HERE / f"test_{file}.py").read_text(encoding="utf-8")
    assert re.search(rf"^def test_{name}\(", text, re.M), f"{case} has no test"


Tell = Callable[..., tuple[int, str]]


@pytest.fixture
def tell(tmp_path: Path, small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Tell:
    """`tverase ...` in a folder with params.yaml: exit code and stderr; an error is one line of at most 300 characters."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(small_run))

    def called(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["tverase", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        err = capsys.readouterr().err
        assert not code or (err.startswith("error: ") and err.count("\n") == 1 and len(err) <= 400), err
        return code, err

    return called


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
PARAMETERS = {
    "P1: a section twice": (
        "finetune: {steps: 2}\nfinetune: {lr: 0.1}\n",
        "line 2, column 1: the key 'finetune' is there twice",
    ),
    "P6: 2,000 brackets": ("{" * 2000, "nested too deeply"),
    "P6: an empty int": ("seed: !!int ''\n", "line 1, column 7: the tag"),
    "P6: a float of letters": ("seed: !!float x\n", "line 1, column 7"),
    "P6: no date": ("seed: 2020-13-45\n", "seed: Input should be a valid integer"),
    "P6: aliases that grow": (BOMB, "more than 100,000 values"),
    "P7: infinity": ("finetune: {lr: .inf}\n", "finetune.lr"),
    "P7: NaN": ("invert: {hinge: .nan}\n", "invert.hinge: Input should be a finite number"),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_parameter_file(case: str, tell: Tell) -> None:
    text, says = PARAMETERS[case]
    Path("params.yaml").write_text(text)
    code, err = tell("status")
    assert (code, says in err, "params.yaml" in err) == (2, True, True), err


@pytest.mark.parametrize("device", ["cuda", "gpu", "cuda:7", ""])
def test_p2_a_device_that_is_not_there(device: str, small_run: dict[str, Any]) -> None:
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ConfigError, match="is not there; this machine has cpu"):
        require_possible(Params.parse({**small_run, "runtime": {"device": device}}))


def test_p3_the_home_folder_in_a_file_of_parameters(
    tell: Tell, small_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(Path(small_run["model"]).parent))
    assert tell("status", "--model", f"~/{Path(small_run['model']).name}") == (0, "")
    code, err = tell("status", "--model", "~/none")
    assert (code, "none is not there" in err) == (4, True)


def test_p4_any_number_of_concepts() -> None:
    from tverase.concepts.resolve import known_names

    params = Params.parse({"concepts": list(known_names())[:60]})
    assert len(params.name) < 100
    assert Params.parse({"concepts": list(known_names())[:59]}).name != params.name


@pytest.mark.parametrize(
    ("name", "kind"), [("x.jpg", "JPEG"), ("x.png", "PNG"), ("x.webp", "WEBP"), ("x", ""), ("x.exe", "")]
)
def test_p8_the_suffix_says_what_is_written(name: str, kind: str, tell: Tell, small_run: dict[str, Any]) -> None:
    shutil.copytree(small_run["model"], Path("outputs/bomb/erased"))
    code, err = tell("draw", "a bomb", "--count", "1", "--out", name)
    assert code == (0 if kind else 2), err
    if kind:
        with Image.open(name) as image:
            assert image.format == kind


def test_p5_what_is_cut_is_told(tell: Tell, small_run: dict[str, Any]) -> None:
    shutil.copytree(small_run["model"], Path("outputs/bomb/erased"))
    assert tell("draw", "a red owl", "--count", "1") == (0, "")
    code, err = tell("draw", " ".join(["owl"] * 100), "--count", "1")
    assert (code, "tokens of the prompt are lost" in err) == (0, True)


def test_p9_a_run_never_replaces_its_own_input(tell: Tell, small_run: dict[str, Any]) -> None:
    shutil.copytree(small_run["model"], Path("outputs/bomb/erased"))
    code, err = tell("run", "--model", "outputs/bomb/erased")
    assert (code, "replace its own input" in err) == (2, True)
    assert not Path(".prefect").exists(), "found before a server is started"


def test_who_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    require_free(run_lock("bomb"), "the erasure in outputs/bomb")
    with (
        locked(run_lock("bomb"), "test"),
        pytest.raises(StorageError, match=rf"locked by process {os.getpid()}, .*since "),
    ):
        require_free(run_lock("bomb"), "the erasure in outputs/bomb")
    require_free(run_lock("bomb"), "the erasure in outputs/bomb")


@pytest.mark.parametrize(
    "text", ["", '{"value": {"a"', "[]", "null", "{}", '{"value": 3}', '{"value": [1], "images": 1}', "[" * 100_000]
)
def test_s8_a_damaged_part_of_a_stopped_step_is_dropped(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoint(tmp_path, Meter())
    kept.put("answer-1", {"a": 1}, kept.begin())
    assert kept.get("answer-1") == ({"a": 1}, {})
    (tmp_path / "answer-1.json").write_text(text)
    assert kept.get("answer-1") is None
    assert "answer-1.json is damaged" in caplog.text
    assert not (tmp_path / "answer-1.json").exists()
