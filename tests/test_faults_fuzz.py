"""Mutated parameter files, command lines, model folders and records: an exit code, one sentence, no traceback, nothing wrong accepted.

Each mutant follows from its number alone: a failure names it.
"""

import os
import random
import resource
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from faults import LOG, SEED
from mutants import WRONG, mutated_command, mutated_json, mutated_params
from mutated_folders import mutated_folder
from pico_flow import write_pico_flow
from toy_step import PARAMS, STEP, prepare

from flows import cli
from flows._run import possible
from tasks._all import MAKE_THE_MODEL, STEPS
from tasks._lineage import describes
from tasks._quiet import TRACEBACK, plainly
from tasks._record import Record
from tverase.config import Params
from tverase.files import sha256
from tverase.models.digits import Digits
from tverase.models.folder import check_folder, open_model, write_edited
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling, draw

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}  # of docs/operations.md, for what ends by itself
MEMORY = 24 << 30  # bytes that a mutant of a model may ask for before it is refused
COUNTED = Counter[tuple[str, int]]()


@pytest.fixture(scope="module", autouse=True)
def _limited() -> Iterator[None]:
    """A network that no machine holds fails at once, whatever the machine has; the counts are logged at the end."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # as our commands do
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
    LOG.warning("mutants by exit code: %s", dict(COUNTED))


class Caller:
    """Calls commands in this process, and checks how each ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, kind: str, told: str, words: Sequence[str] = (), work: Any = None) -> int:
        """The exit code of `tverase WORDS`, or of `work` as a command of ours would run it."""
        self.monkeypatch.setattr(sys, "argv", ["tverase", *words])
        try:
            if work is None:
                cli.main()
            else:
                with plainly():
                    work()
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        err = self.capsys.readouterr().err
        case = f"{told}, {list(words)!r:.300}: {code}\n{err[:1500]}"
        assert "unforeseen" not in err, case + TRACEBACK.read_text()
        assert code in CODES, case
        if code:
            self.one_sentence(err, case)
            assert not told.startswith("right"), case
        else:
            assert not told.startswith(WRONG), f"accepted: {case}"
        COUNTED[kind, code] += 1
        return code

    @staticmethod
    def one_sentence(err: str, case: str) -> None:
        if "Usage: " in err:  # typer's own: how the command is used, and what is wrong
            assert err.rstrip().splitlines()[-1], case
            return
        said = [line for line in err.splitlines() if not line.startswith(("note: ", "warning: "))]
        assert len(said) == 1, case
        assert said[0].lower().startswith("error: "), case
        assert said[0].endswith((".", "?", "!")), case
        assert len(said[0]) <= 1010, case


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capsys)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is emptied for each mutant; nothing beside it may change."""
    folder = tmp_path / "room" / "here"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    yield folder
    assert [path.name for path in folder.parent.iterdir()] == ["here"]


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    os.chdir(folder)


@pytest.mark.parametrize("chunk", range(7))
def test_700_parameter_files(room: Path, small_run: dict[str, Any], call: Caller, chunk: int) -> None:
    whole = Params.parse(small_run).model_dump(mode="json", by_alias=True)  # every parameter by its name
    for number in range(100 * chunk, 100 * chunk + 100):
        emptied(room)
        raw, told = mutated_params(whole if number % 2 else small_run, random.Random(f"{SEED}/params/{number}"))
        (room / "params.yaml").write_bytes(raw)
        if call("params", f"{told} (mutant {number})", ["status", "--json"]) == 0:
            assert call("preflight", f"mutant {number}", work=lambda: possible(Path("params.yaml"), [])) in (0, 2, 4, 7)


@pytest.mark.parametrize("chunk", range(3))
def test_300_command_lines(room: Path, small_run: dict[str, Any], call: Caller, chunk: int) -> None:
    for number in range(100 * chunk, 100 * chunk + 100):
        emptied(room)
        (room / "params.yaml").write_text(yaml.safe_dump(small_run))
        words = mutated_command(random.Random(f"{SEED}/commands/{number}"))
        call("command", f"mutant {number}", words)


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, pico_folder: Path, pico: TextToImage, digits: Digits
) -> list[Path]:
    """One of each family."""
    place = tmp_path_factory.mktemp("families")
    write_pico_flow(pico, place / "flow")
    digits.save(place / "digits")
    return [pico_folder, place / "flow", place / "digits"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("chunk", range(6))
def test_300_model_folders(room: Path, folders: list[Path], call: Caller, chunk: int) -> None:
    """A folder that is not refused draws, and is written as one that opens."""

    def used() -> None:
        check_folder(Path("model"))
        model = open_model("model")
        prompt = "7" if isinstance(model, Digits) else "a bomb"
        images = draw(model, model.encode([prompt]), generator(0, "tests/mutants"), Sampling(steps=2))
        assert torch.isfinite(images).all()
        write_edited("model", model.weights(), Path("erased"))
        check_folder(Path("erased"))

    for number in range(50 * chunk, 50 * chunk + 50):
        emptied(room)
        shutil.copytree(folders[number % 3], room / "model")
        told = mutated_folder(room / "model", random.Random(f"{SEED}/folders/{number}"))
        assert call("folder", f"{told} (mutant {number})", work=used) in (0, 4)
        assert not list(room.rglob("RAN")), "code of the folder ran"


@pytest.mark.parametrize("chunk", range(4))
def test_100_records_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Its record or its earlier result is changed: it is believed only if it says what was made, and its outputs stay right."""
    prepare(tmp_path, monkeypatch)
    for number in range(25 * chunk, 25 * chunk + 25):
        chance = random.Random(f"{SEED}/records/{number}")
        shutil.rmtree("outputs", ignore_errors=True)
        Path("given.txt").write_text("a")
        first = STEP.execute(PARAMS)
        if earlier := chance.random() < 0.4:
            Path("given.txt").write_text("b")
            STEP.execute(PARAMS)
            Path("given.txt").write_text("a")
        path = STEP.earlier(PARAMS) / first.key / "record.json" if earlier else STEP.record_path(PARAMS)
        path.write_bytes(mutated_json(path.read_bytes(), chance))
        again = STEP.execute(PARAMS)
        assert [(PARAMS.out / name).read_text() for name in ("made.txt", "folder/part")] == ["a5", "a5"], number
        for name in ("step", "key", "inputs", "outputs", "params", "code"):
            assert getattr(again, name) == getattr(first, name), f"mutant {number} is believed: {name}"
        assert STEP.execute(PARAMS).reused
        COUNTED["record", int(again.reused)] += 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Path:
    """The outputs of every step of a run, and a dvc.lock that describes them."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "params.yaml").write_text(yaml.safe_dump(small_run))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params = Params.parse(small_run)
        for step in STEPS:
            if step.name not in MAKE_THE_MODEL:
                step.execute(params)
    return folder


def semantics(path: Path) -> Any:
    """What a record says that can be checked."""
    record = Record.read(path)
    return record and (record.step, record.key, record.inputs, record.outputs, record.params, record.code)


@pytest.mark.parametrize("chunk", range(2))
def test_60_files_of_a_run(made: Path, monkeypatch: pytest.MonkeyPatch, call: Caller, chunk: int) -> None:
    """`status` says that the step would run; `publish` refuses what is not as its record says."""
    monkeypatch.chdir(made)
    out = made / "outputs" / "bomb"
    files = [*sorted((out / "records").glob("*.json")), *sorted(out.glob("*.json"))]
    for number in range(30 * chunk, 30 * chunk + 30):
        chance = random.Random(f"{SEED}/files/{number}")
        path = chance.choice(files)
        before, was = path.read_bytes(), semantics(path)
        path.write_bytes(mutated_json(before, chance))
        try:
            same = path.read_bytes() == before or (path.parent.name == "records" and semantics(path) == was)
            told = f"{path.name} (mutant {number})"
            call("status", told, ["status", "--json"])
            states = cli_states(monkeypatch)
            would_run = {name for name, state in states.items() if state != "up to date"}
            # The report shows what a record says of time and cost, which nobody can check.
            assert would_run <= {"report"} if same else would_run, f"{told}: {states}"
            if not same and (
                path.name in ("verdict.json", "metrics.json") or (semantics(path) is None and path.parent != out)
            ):
                call("publish", f"{WRONG}{told}", ["publish", "bomb", "--unproved", "--to", str(made / "store")])
        finally:
            path.write_bytes(before)


def cli_states(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    from tasks._status import states

    return {name: state.state for name, state in states(Params.load(Path("params.yaml"))).items()}


def test_40_locks_of_dvc(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dvc.lock that does not describe these very outputs is never recorded as theirs."""
    from tasks._lineage import _dvc_md5

    monkeypatch.chdir(made)
    names = ["outputs/bomb/erased", "outputs/bomb/metrics.json", "outputs/bomb/tau.safetensors"]
    outs = [{"path": name, "md5": _dvc_md5(Path(name)) + ".dir" * Path(name).is_dir()} for name in names]
    content = {"schema": "2.0", "stages": {"erase": {"cmd": "x", "outs": outs}}}
    lock, made_by = Path("dvc.lock"), {name: sha256(Path(name)) for name in names}
    lock.write_text(yaml.safe_dump(content))
    assert describes(lock, made_by)
    for number in range(40):
        raw = mutated_params(content, random.Random(f"{SEED}/lock/{number}"))[0]
        lock.write_bytes(raw)
        if describes(lock, made_by):
            said = yaml.safe_load(raw)["stages"]
            named = {out["path"]: out["md5"] for stage in said.values() for out in stage["outs"] if "md5" in out}
            right = {out["path"]: out["md5"] for out in outs}
            assert {name: named[name] for name in names if name in named} == {
                n: right[n] for n in names if n in named
            }, number
        COUNTED["lock", 0] += 1
