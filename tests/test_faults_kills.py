"""Twenty kills at random moments: of the flow, of `dvc repro`, of a registration and of an upload, on real servers.

After each the next run finishes: no finished step is repeated, no half file, no broken or doubled version, and no process is left.
The moments are seeded (FAULTS_SEED); `make test-faults` logs them.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import (
    LOG,
    SIGNALS,
    STEPS,
    UNTESTED,
    answer,
    chance_of,
    changed,
    done,
    ended,
    flow,
    killed,
    moment,
    new_project,
    nobody_is_left,
    nothing_is_half_written,
    records,
    repro,
    start,
    tverase,
    versions,
    whole,
)  # fmt: skip
from servers import wait_for

from flows._storage_files import NEEDED
from tests import s3_server
from tests.s3_server import BUCKET, KEY, SECRET, Proxy, seaweed
from tverase.files import sha256

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
STAGES = STEPS[:5]
SLOW = 0.2  # seconds before each 64 KiB of an upload, so that there is something to interrupt


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Path:
    return new_project(tmp_path_factory.mktemp("killed"), small_run)


def after_a_kill(folder: Path, before: dict[str, bytes]) -> dict[str, bytes]:
    """The records of the steps that the killed run had finished: whole, or they count for nothing."""
    finished = changed(before, records(folder))
    assert [name for name in finished if not whole(folder, name)] == []
    return finished


def still_there(folder: Path, finished: dict[str, bytes]) -> None:
    """No finished step was run again: its record has the bytes that it had."""
    now = records(folder)
    assert {name: now.get(name) for name in finished} == finished


@pytest.mark.parametrize("number", range(8))
def test_a_killed_flow(place: Path, number: int) -> None:
    chance, seed = chance_of(f"flow/{number}"), f"seed={100 + number}"
    how, before = chance.choice(SIGNALS), records(place)
    run = start(place, *flow(seed))
    when = moment(place, run, chance, most=10, pause=2.0)
    assert run.poll() is None, "it has ended before it could be killed"
    killed(run, how)
    nobody_is_left(place)
    finished = after_a_kill(place, before)
    LOG.warning("flow %s: %s %s, %d finished", number, how.name, when, len(finished))

    again = answer(done(place, *flow(seed), code=UNTESTED)[0])
    still_there(place, finished)
    assert {name for name in finished if not again["steps"][name]["reused"]} <= {"report"}
    nobody_is_left(place)
    nothing_is_half_written(place)
    assert len([one for one in versions(place) if int(one.version) == again["version"]]) == 1
    assert not list((place / "outputs" / "bomb").glob(".*.part"))


@pytest.mark.parametrize("number", range(4))
def test_a_killed_repro(place: Path, number: int) -> None:
    chance = chance_of(f"repro/{number}")
    how, group, before = chance.choice(SIGNALS), chance.random() < 0.5, records(place)
    text = (place / "params.yaml").read_text()
    (place / "params.yaml").write_text(text.replace("seed: 0", f"seed: {200 + number}"))
    try:
        run = start(place, *repro(*STAGES))
        when = moment(place, run, chance, most=len(STAGES) - 1, pause=4.0)
        assert run.poll() is None, "it has ended before it could be killed"
        killed(run, how, group=group)
        nobody_is_left(place, seconds=300)  # the step of a killed DVC goes on to its end
        finished = after_a_kill(place, before)
        LOG.warning("repro %s: %s%s %s, %d finished", number, how.name, " to all" * group, when, len(finished))
        done(place, *repro(*STAGES))
        still_there(place, finished)
        assert set(STAGES) <= {name for name in records(place) if whole(place, name)}
        assert "Running" not in done(place, *repro(*STAGES))[0]
        nobody_is_left(place)
    finally:
        (place / "params.yaml").write_text(text)


REGISTER = """
import sys
from pathlib import Path
from tasks._quiet import plainly, quiet
quiet()
with plainly():
    from tasks.register import register
    from tasks._tracking import check_tracking
    from tverase.config import Params
    params = Params.load(Path("params.yaml"), sys.argv[1:])
    check_tracking()
    print("ready", flush=True)
    print(register(params, {}).version, flush=True)
"""


@pytest.fixture(scope="module")
def erased(place: Path) -> float:
    """A finished run, and how many seconds a registration of it takes."""
    done(place, *flow("seed=300"), code=UNTESTED)
    run = start(place, sys.executable, "-c", REGISTER, "seed=300", "register.model=measured")
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    begun = time.monotonic()
    ended(run)
    return time.monotonic() - begun


@pytest.mark.parametrize("number", range(4))
def test_a_killed_registration(place: Path, erased: float, number: int) -> None:
    chance, name = chance_of(f"register/{number}"), f"killed-{number}"
    how, pause = chance.choice(SIGNALS), chance.uniform(0, erased)
    words = (sys.executable, "-c", REGISTER, "seed=300", f"register.model={name}")
    run = start(place, *words)
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    time.sleep(pause)
    was_there = run.poll() is None
    killed(run, how)
    nobody_is_left(place)
    LOG.warning(
        "register %s: %s after %.2f of %.2f s%s", number, how.name, pause, erased, "" if was_there else ", too late"
    )
    assert done(place, *words)[0].split() == ["ready", "1"]
    assert done(place, *words)[0].split() == ["ready", "1"], "the same again is the same version"
    assert [str(one.version) for one in versions(place) if one.name == name] == ["1"]
    nothing_is_half_written(place)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as port:
        proxy = Proxy(port)
        yield proxy
        proxy.close()


@pytest.mark.skipif(s3_server.WEED is None, reason="there is no wheel of SeaweedFS for this machine")
@pytest.mark.usefixtures("erased")
@pytest.mark.parametrize("number", range(4))
def test_a_killed_upload(place: Path, proxy: Proxy, number: int, tmp_path: Path) -> None:
    chance, out = chance_of(f"upload/{number}"), place / "outputs" / "bomb"
    published = [path for name in NEEDED for path in (out / name, *(out / name).rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in published)
    how, share = chance.choice(SIGNALS), chance.uniform(0, 0.9)
    store = f"s3://{BUCKET}/killed-{number}"
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    keys |= {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{proxy.port}", "AWS_EC2_METADATA_DISABLED": "true"}
    publish = tverase("publish", "bomb", "--unproved", "--to", store)
    proxy.healthy()
    proxy.pause = SLOW
    run = start(place, *publish, **keys)
    wait_for(lambda: run.poll() is not None or proxy.sent >= share * size, seconds=300)
    assert run.poll() is None, "it has ended before it could be killed"
    killed(run, how)
    proxy.healthy()
    LOG.warning("upload %s: %s at %.0f%% of %d bytes", number, how.name, 100 * share, size)
    listed = done(place, *tverase("store", "list", "--from", store), **keys)[0]
    assert "nothing is published" in listed, "a version has a name only when all its files are there"
    done(place, *publish, **keys)
    done(place, *tverase("fetch", "bomb", "--from", store, "--to", str(tmp_path / "back")), **keys)
    for part in ("erased", "report.html", "metrics.json", "verdict.json", "tau.safetensors"):
        assert sha256(tmp_path / "back" / part) == sha256(out / part)
    shutil.rmtree(tmp_path / "back")
    nobody_is_left(place)
