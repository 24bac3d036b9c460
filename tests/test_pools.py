"""What `make deploy` sends, before a server sees it: deployments by a list, pools and automations by Prefect's own rules."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import ROOT

from flows import _automations, _daemons, _pools
from flows.deploy import expanded
from tverase.errors import ConfigError

PREFECT = yaml.safe_load((ROOT / "prefect.yaml").read_text())
CONCEPTS = ["skull", "slot machine"]
EACH = ("nightly", "monitor", "release")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ROOT)
    return ROOT


def with_concepts() -> dict[str, Any]:
    return {**PREFECT, "definitions": {**PREFECT["definitions"], "concepts": CONCEPTS}}


@pytest.mark.usefixtures("root")
def test_the_list_gives_one_deployment_a_concept() -> None:
    made = {one["name"]: one for one in expanded(with_concepts(), _pools.pool("process"))["deployments"]}
    plain = {one["name"] for one in PREFECT["deployments"]}
    assert plain == {"nightly", "on-demand", "monitor", "release", "digits"}
    assert set(made) == plain | {f"{name}-{slug}" for name in EACH for slug in ("skull", "slot-machine")}
    one = made["nightly-slot-machine"]
    assert one["parameters"] == {"concepts": ["slot machine"]}
    assert one["tags"] == ["tverase", "erase", "concept:slot-machine"]
    assert one["schedules"] == made["nightly"]["schedules"] != []
    assert all("tverase" in one["tags"] and one["work_pool"]["name"] == "tverase-local" for one in made.values())
    assert "each_concept" not in str(made)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_a_container_pool_is_what_prefects_worker_takes(kind: str) -> None:
    from prefect.utilities.templating import apply_values

    given = _pools.pool(kind)
    made = _pools.template(given)
    image = ROOT / "infra/compose.yaml"
    assert made["variables"]["properties"]["image"]["default"] == yaml.safe_load(image.read_text())["x-ours"]["image"]
    standard = _pools.worker_type(kind)
    assert made["job_configuration"].keys() == standard["job_configuration"].keys()
    assert set(_pools._places(standard["job_configuration"])) <= set(_pools._places(made["job_configuration"]))
    values = {name: one.get("default", f"some-{name}") for name, one in made["variables"]["properties"].items()}
    assert "{{" not in json.dumps(apply_values(made["job_configuration"], values))
    deployments = expanded(with_concepts(), given)["deployments"]
    assert {one["work_pool"]["name"] for one in deployments} == {f"tverase-{kind}"}
    assert all("set_working_directory" in str(one["pull"]) for one in deployments)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"variables": {"imge": "x"}}, "unknown variable 'imge'; did you mean 'image'"),
        ({"variables": {"mem_limit": 16}}, "mem_limit has a wrong default: 16 is not of type 'string'"),
        ({"variables": {"image_pull_policy": "Often"}}, "image_pull_policy has a wrong default"),
        ({"job_configuration": {"command": "{{ comand }}"}}, "unknown variable 'comand'"),
    ],
)
def test_a_wrong_pool_is_one_sentence(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        _pools.template({"name": "p", "type": "docker", **change})


def test_an_unknown_pool_or_list_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _pools.pool("process") == _pools.PROCESS
    for kind, says in (("dokcer", "did you mean 'docker'"), ("docker", "infra/pools/docker.yaml is not there")):
        with pytest.raises(ConfigError, match=says):
            _pools.pool(kind)
    with pytest.raises(ConfigError, match="must be a list of names"):
        expanded({"definitions": {"concepts": "bomb"}}, _pools.PROCESS)


RELEASES = {"release/release": "0" * 8 + "-0000-4000-8000-" + "0" * 12, "erase/nightly": "x"}


@pytest.mark.usefixtures("root")
def test_the_automations_are_what_prefect_takes() -> None:
    made = {one["name"]: _automations._checked(one, RELEASES, None) for one in _automations.read()}
    assert {name.removeprefix("tverase: ") for name in made} == {
        "failed", "infeasible", "not proved", "late", "alarm",
    }  # fmt: skip
    (pause,) = made["tverase: alarm"].actions
    assert (pause.type, str(pause.deployment_id)) == ("pause-deployment", RELEASES["release/release"])
    assert [action.type for action in made["tverase: late"].actions] == ["do-nothing"]
    block = "1" * 8 + "-0000-4000-8000-" + "0" * 12
    told = _automations._checked(_automations.read()[0], RELEASES, block)
    assert [action.type for action in told.actions] == ["send-notification"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {name: x}", "must begin with 'tverase: '"),
        ("name: x", "must be a list"),
        ("- [", "cannot be read as YAML"),
        ('- {name: "tverase: a", trigger: {type: evnt}}', "not valid"),
    ],
)
def test_a_wrong_automation_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        [_automations._checked(one, {}, None) for one in _automations.read(tmp_path / "a.yaml")]


def test_a_process_with_the_same_id_is_left_alone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    mine = _daemons.Daemon("x", process.pid, _daemons._begun(process.pid), 0, "log")
    other = _daemons.Daemon("x", process.pid, "1", 0, "log")
    assert (mine.alive, other.alive) == (True, False)
    _daemons.stop(other)
    assert process.poll() is None
    _daemons.stop(mine)
    assert process.poll() is not None
    assert not mine.alive
