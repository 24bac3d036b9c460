"""`make up`, `make deploy` and `make down` with real servers in a folder of their own."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import ROOT, answers, command, environment, processes, wait_for
from test_pools import EACH, with_concepts

from flows import _automations, _daemons, _pools
from flows._limits import GPU, OUTPUTS, limited, slots
from tverase.config import Params
from tverase.errors import ConfigError
from tverase.stores import open_store


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ROOT)
    return ROOT


def ours(place: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """A command in the project's folder; its address and password are found by themselves."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = environment(PATH=path, **more)
    kept = {name: value for name, value in kept.items() if not name.startswith(("AWS_", "TVERASE_"))} | more
    return subprocess.run(words, cwd=place, env=kept, capture_output=True, text=True, check=False, timeout=500)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, small_run: dict[str, Any]) -> Iterator[Path]:
    """A folder with our servers, started by what `make up` runs and stopped by what `make down` runs."""
    place = tmp_path_factory.mktemp("up")
    for name in ("infra", "params", "flows"):
        shutil.copytree(ROOT / name, place / name)
    (place / "params.yaml").write_text(yaml.safe_dump(small_run))
    (place / "prefect.yaml").write_text(yaml.safe_dump(with_concepts(), sort_keys=False))
    said = ours(place, *command("up", 0))
    try:
        assert said.returncode == 0, said.stderr
        (place / "up.out").write_text(said.stdout)
        deployed = ours(place, *command("deploy", 0))
        assert deployed.returncode == 0, deployed.stderr
        (place / "deploy.out").write_text(deployed.stdout)
        yield place
    finally:
        ours(place, sys.executable, "-m", "flows.up", "down")


def variables(place: Path) -> dict[str, str]:
    lines = (place / ".tverase/servers/env").read_text().splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)


@contextmanager
def client_of(place: Path) -> Iterator[Any]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    url, password = variables(place)["PREFECT_API_URL"], (place / ".prefect/auth").read_text().strip()
    changes = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password}
    with temporary_settings(changes), get_client(sync_client=True) as client:
        yield client


def names_of(client: Any) -> dict[str, Any]:
    flows = {flow.id: flow.name for flow in client.read_flows()}
    return {f"{flows[one.flow_id]}/{one.name}": one for one in client.read_deployments()}


def test_what_is_deployed(project: Path) -> None:
    with client_of(project) as client:
        found = names_of(client)
        pool = client.read_work_pool("tverase-local")
        limits = {name: client.read_global_concurrency_limit_by_name(name).limit for name in (GPU, OUTPUTS)}
        automations = {one.name: one for one in client.read_automations()}
    more = {f"{flow}/{name}-{slug}" for flow, name in zip(("erase", "monitor", "release"), EACH, strict=True)
            for slug in ("skull", "slot-machine")}  # fmt: skip
    assert set(found) == {
        "erase/nightly", "erase/on-demand", "erase/digits", "monitor/monitor", "release/release", *more,
    }  # fmt: skip
    assert (pool.type, limits) == ("process", {GPU: 1, OUTPUTS: 1})
    assert [one.schedule.cron for one in found["monitor/monitor-skull"].schedules] == ["0 5 * * *"]
    assert found["erase/digits"].parameters == {"params_file": "params/digits.yaml"}
    assert found["erase/nightly-skull"].tags == ["tverase", "erase", "concept:skull"]
    assert found["erase/nightly"].global_concurrency_limit.limit == 1
    alarm = automations["tverase: alarm"]
    paused = {str(action.deployment_id) for action in alarm.actions}
    assert paused == {str(one.id) for name, one in found.items() if name.startswith("release/")}
    assert len(automations) == len(_automations.read(ROOT / _automations.FILE))


@pytest.mark.usefixtures("root")
def test_the_server_takes_the_container_pools(project: Path) -> None:
    with client_of(project) as client:
        for kind in ("docker", "kubernetes", "docker"):  # the second time it is changed
            _pools.apply(client, _pools.pool(kind))
            made = client.read_work_pool(f"tverase-{kind}")
            assert (made.type, made.base_job_template) == (kind, _pools.template(_pools.pool(kind)))
        with pytest.raises(ConfigError, match="is of the type docker, expected process"):
            _pools.apply(client, {"name": "tverase-docker", "type": "process"})


def test_deploying_again_changes_nothing_and_takes_away_what_is_gone(project: Path) -> None:
    path = project / "infra/automations.yaml"
    text = path.read_text()
    with client_of(project) as client:
        before = {name: one.id for name, one in names_of(client).items()}
        late = next(one for one in client.read_automations() if one.name == "tverase: late")
        client.pause_automation(late.id)
    head, _, rest = text.partition('- name: "tverase: not proved"')
    path.write_text(head + rest[rest.index("- name:") :])
    try:
        again = ours(project, *command("deploy", 0))
    finally:
        path.write_text(text)
    assert again.returncode == 0, again.stderr
    with client_of(project) as client:
        assert {name: one.id for name, one in names_of(client).items()} == before
        now = {one.name: one for one in client.read_automations()}
    assert "tverase: not proved" not in now
    assert (now["tverase: late"].id, now["tverase: late"].enabled) == (late.id, False)


ALARM = """
from tasks._watched import tell_automations
from tasks.monitor import Watched
from tverase.monitoring.history import find
from tverase.monitoring.night import Drawn, Night, Retained
from tverase.monitoring.settings import Monitor
nights = tuple(Night(n, n, "now", {"bomb: name": Drawn(30, 120, 110, 120, 0.01)}, Retained(5, 5, 160, 0.1)) for n in (1, 2))
print(tell_automations(Watched("bomb:3", nights, find(nights, Monitor()), "outputs/monitor")))
"""


def test_an_alarm_pauses_every_release(project: Path) -> None:
    with client_of(project) as client:
        assert not any(one.paused for name, one in names_of(client).items() if name.startswith("release/"))
    said = ours(project, sys.executable, "-m", "flows.client", sys.executable, "-c", ALARM)
    assert said.stdout == "tverase.monitor.alarm\n", said.stderr
    with client_of(project) as client:
        wait_for(lambda: all(one.paused for name, one in names_of(client).items() if name.startswith("release/")))
        assert not any(one.paused for name, one in names_of(client).items() if not name.startswith("release/"))


def test_the_variables_lead_to_all_three(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, path = variables(project), project / ".tverase/servers/env"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((project / ".prefect/auth").stat().st_mode) == 0o600
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "file").write_text("content")
    store = open_store()
    store.get(store.put(tmp_path / "file"), tmp_path / "back")
    assert store.place.startswith("s3://")
    assert (tmp_path / "back").read_text() == "content"
    assert answers(int(found["MLFLOW_TRACKING_URI"].rpartition(":")[2]), "/health")
    code = "import os; print(os.environ['MLFLOW_TRACKING_URI'], os.environ['PREFECT_API_AUTH_STRING'] != '')"
    said = ours(project, sys.executable, "-m", "flows.client", sys.executable, "-c", code)
    assert said.stdout.split() == [found["MLFLOW_TRACKING_URI"], "True"]
    printed = (project / "up.out").read_text() + (project / "deploy.out").read_text()
    logs = "".join(log.read_text(errors="replace") for log in (project / ".tverase/servers").glob("*.log"))
    for secret in (found["AWS_SECRET_ACCESS_KEY"], (project / ".prefect/auth").read_text().strip().partition(":")[2]):
        assert secret not in printed + logs
    assert "SQLite" in printed or "Postgres" in printed


def test_up_and_down_leave_nothing(project: Path) -> None:
    """The last test of these servers."""
    again = ours(project, *command("up", 0))
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "the servers run already")
    ports = [one.port for one in _daemons.read(project / ".tverase/servers").values()]
    assert len(ports) >= 3
    down = ours(project, *command("down", 0))
    assert down.returncode == 0, down.stderr
    assert down.stdout.startswith("stopped: s3, ")
    assert processes(str(project)) == []
    assert not any(answers(port, "/health") for port in ports)
    left = {path.name for path in (project / ".tverase/servers").iterdir()}
    assert not left & {"env", "running.json"}
    assert ours(project, *command("down", 0)).stdout.startswith("no servers run here")


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    said = ours(tmp_path, sys.executable, "-m", "flows.up", TVERASE_DATABASE="oracle")
    assert said.returncode == 2, said.stderr
    assert said.stderr == "error: TVERASE_DATABASE='oracle' is no database; expected postgres or sqlite.\n"
    assert processes(str(tmp_path)) == []
    assert not (tmp_path / ".tverase/servers/running.json").exists()


def test_a_deployed_run_takes_a_place_and_gives_it_back(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import get_client

    params = Params.parse({"runtime": {"device": "cuda"}})

    def taken() -> dict[str, int]:
        with get_client(sync_client=True) as client:
            return {name: client.read_global_concurrency_limit_by_name(name).active_slots for name in (GPU, OUTPUTS)}

    with get_client(sync_client=True) as client:
        for name in (GPU, OUTPUTS):
            client.upsert_global_concurrency_limit_by_name(name, slots(name))
    with limited(params):
        assert taken() == {GPU: 0, OUTPUTS: 0}, "a run that a person starts does not wait"
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "some")
    with limited(params):
        assert taken() == {GPU: 1, OUTPUTS: 1}
    with limited(Params.parse({}), writes=False):
        assert taken() == {GPU: 0, OUTPUTS: 0}
    monkeypatch.setenv("TVERASE_GPUS", "none")
    with pytest.raises(ConfigError, match="expected 1 or more"):
        slots(GPU)
