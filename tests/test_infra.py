"""Deployment files: they parse, agree with the code and each other, open nothing to the network and hold no secret."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from servers import dry_make

from flows import serve
from flows._form import params_of
from flows._pools import PROCESS
from tasks._guard import origins, own_names
from tasks._records import lineage
from tverase.config import Params

ROOT = Path(__file__).parents[1]
PREFECT = yaml.safe_load((ROOT / "prefect.yaml").read_text())
COMPOSE_TEXT = (ROOT / "infra" / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "infra" / "Dockerfile").read_text()
DEPLOYMENTS = {deployment["name"]: deployment for deployment in PREFECT["deployments"]}
VARIABLE = re.compile(r"\$\{(\w+)([^}]*)\}")
SECRET = re.compile(r"PASSWORD|SECRET|AUTH|ACCESS_KEY|TOKEN")


def example() -> dict[str, str]:
    """The names of infra/env.example and what it gives them."""
    lines = (ROOT / "infra" / "env.example").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def test_deployments_are_those_promised() -> None:
    assert set(DEPLOYMENTS) == {"nightly", "on-demand", "monitor", "release", "digits"}
    assert {name for name, one in DEPLOYMENTS.items() if one["schedules"]} == {"nightly", "monitor"}
    for name in ("nightly", "monitor"):
        assert DEPLOYMENTS[name]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert all("tverase" in one["tags"] for one in DEPLOYMENTS.values()), "automations look for this tag"


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_deployment_starts_the_flow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect import Flow

    path, _, function = DEPLOYMENTS[name]["entrypoint"].partition(":")
    assert (ROOT / path).is_file()
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
    assert isinstance(flow, Flow)
    monkeypatch.chdir(ROOT)
    given = flow.validate_parameters(DEPLOYMENTS[name]["parameters"])
    assert DEPLOYMENTS[name]["enforce_parameter_schema"]
    file = DEPLOYMENTS[name]["parameters"].get("params_file", "params.yaml")
    assert params_of(given) == Params.load(ROOT / file)  # nothing from the defaults in its place
    assert DEPLOYMENTS[name]["work_pool"]["name"] == PROCESS["name"]


def test_nightly_is_at_two(prefect_server: None) -> None:
    """Through the server, whose scheduler fails with an SQLAlchemy that it does not know while all else works."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    (entry,) = DEPLOYMENTS["nightly"]["schedules"]
    schedule = CronSchedule(cron=entry["cron"], timezone=entry["timezone"])
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("scheduled")
        made = client.create_deployment(
            flow_id, "nightly", schedules=[DeploymentScheduleCreate(schedule=schedule, active=entry["active"])]
        )
        client.request("POST", "/deployments/{id}/schedule", path_params={"id": made}, json={}).raise_for_status()
        runs = client.request(
            "POST", "/flow_runs/filter", json={"deployments": {"id": {"any_": [str(made)]}}, "limit": 3}
        ).json()
    assert len(runs) == 3
    assert {run["expected_start_time"][11:16] for run in runs} == {"02:00"}


def test_make_serves_on_loopback() -> None:
    shown = dry_make("serve", "deploy", "worker", "ui")
    assert "flows.serve prefect --port 4200" in shown
    assert "flows.serve mlflow --port 5000" in shown
    for command in ("prefect", "mlflow"):
        assert serve.options([command]).host == "127.0.0.1"
    assert "infra/deploy" in shown
    assert f"--pool {DEPLOYMENTS['nightly']['work_pool']['name']}" in shown


def test_make_builds_an_image_that_knows_its_commit(tmp_path: Path) -> None:
    """With a docker that prints what it is asked to do."""
    (tmp_path / "docker").write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    (tmp_path / "docker").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    said = subprocess.run(
        [ROOT / "infra" / "image"], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    given = dict(word.split("=", 1) for word in said if re.match("[A-Z_]+=", word))
    assert given["GIT_COMMIT"] == lineage(ROOT).get("git.commit", "")
    assert given["GIT_DIRTY"] in ("true", "false", "")
    assert set(given) == set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    assert "infra/image" in dry_make("image")
    for argument in ("GIT_COMMIT", "GIT_DIRTY", "DVC_REMOTE"):
        assert re.search(rf"TVERASE_{argument}=\${argument}\b", DOCKERFILE)
        assert argument in COMPOSE["x-ours"]["build"]["args"]


def test_ports_are_on_loopback() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"prefect", "mlflow", "s3"}
    assert [p for published in ports.values() for p in published if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", p)] == []
    assert "network_mode" not in COMPOSE_TEXT


def test_no_secret_has_a_default() -> None:
    used = VARIABLE.findall(COMPOSE_TEXT)
    secrets = [(name, rest) for name, rest in used if SECRET.search(name)]
    assert {name for name, _ in secrets} == {
        "POSTGRES_PASSWORD",
        "PREFECT_AUTH_STRING",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }
    assert [name for name, rest in secrets if not rest.startswith(":?")] == []  # unset or empty: compose stops
    assert [name for name, value in example().items() if SECRET.search(name) and value] == []


def test_no_secret_is_written_down() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key) or key == "PGPASSWORD":
                assert VARIABLE.fullmatch(value), f"{name}: {key}"
    assert re.findall(r"://\w+:[^@/\s]+@", COMPOSE_TEXT + DOCKERFILE) == []


def test_example_names_every_variable() -> None:
    compose_itself = {"COMPOSE_PROFILES"}
    assert set(example()) - compose_itself == {name for name, _ in VARIABLE.findall(COMPOSE_TEXT)}
    assert {p for service in SERVICES.values() for p in service.get("profiles", [])} == {example()["COMPOSE_PROFILES"]}


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == len(SERVICES) + 2
    assert [image for image in images if not re.search(r":\d+\.\d+", image)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_can_answer(name: str) -> None:
    service = SERVICES[name]
    for other, wait in service.get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert SERVICES[other]["healthcheck"]["test"][0] == "CMD"
        else:
            assert SERVICES[other]["restart"] == "on-failure"  # it ends, and is tried again until it ends well
    assert set(service.get("networks", [])) <= {"default", *COMPOSE["networks"]}
    for mount in service.get("volumes", []):
        source = mount.partition(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / "infra" / source).is_file()


@pytest.mark.parametrize(("name", "address"), [("prefect", "PREFECT_API_URL"), ("mlflow", "MLFLOW_TRACKING_URI")])
def test_a_server_lets_its_clients_in(name: str, address: str) -> None:
    """It answers 403 to a Host that it was not told, while its health check passes."""
    interpreter, module, program, *words = SERVICES[name]["command"]
    assert (interpreter, module, program) == ("python", "-m", "flows.serve")
    given = serve.options(words)
    assert (given.command, given.host) == (name, "0.0.0.0")
    hosts = own_names(given.host, given.port, given.allow)
    assert urlsplit(SERVICES["worker"]["environment"][address]).netloc in hosts
    assert SERVICES[name]["ports"][0].rpartition(":")[0] in hosts
    assert f"127.0.0.1:{given.port}/" in SERVICES[name]["healthcheck"]["test"][-1]
    assert [host for host in hosts if "*" in host] == []


def test_prefects_pages_are_called_from_where_they_are_served() -> None:
    given = serve.options(SERVICES["prefect"]["command"][3:])
    page = SERVICES["prefect"]["environment"]["PREFECT_SERVER_UI_API_URL"].removesuffix("/api")
    assert page in origins(own_names(given.host, given.port, given.allow))


def test_image_is_built_from_the_lock() -> None:
    installs = [line for line in DOCKERFILE.splitlines() if " install " in line]
    assert len(installs) == 1
    assert "-r requirements.lock" in installs[0]
    extra = installs[0].partition("-r requirements.lock")[2].split()
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", package) for package in extra)


def test_image_is_no_root_and_silent() -> None:
    last = DOCKERFILE.rpartition("FROM ")[2]
    assert re.findall(r"^USER (\S+)", last, re.MULTILINE) == ["tverase"]
    assert last.index("USER tverase") > last.index("RUN mkdir")
    for switch in ("DO_NOT_TRACK=true", "PREFECT_SERVER_ANALYTICS_ENABLED=false", "MLFLOW_DISABLE_TELEMETRY=true"):
        assert switch in last
    assert "telemetry=false" in SERVICES["s3"]["command"]


def test_image_holds_what_a_run_needs_and_no_more(tmp_path: Path) -> None:
    from docker.utils.build import exclude_paths

    wanted = ["flows/erase.py", "tasks/_step.py", "models/judges/object.safetensors", "data/emoji/index.json"]
    wanted += ["params.yaml", "prefect.yaml", "requirements.lock", "infra/deploy", "records/pretrain.json"]
    wanted += ["infra/automations.yaml", "infra/pools/kubernetes.yaml"]
    private = [".env", "infra/.env", "mlflow.db", "outputs/bomb/metrics.json", ".git/config", ".dvc/config.local"]
    private += [".venv/bin/python", "work/notes", "tasks/__pycache__/_step.pyc", "tests/test_infra.py"]
    for name in (*wanted, *private):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rules = [r for r in (ROOT / ".dockerignore").read_text().splitlines() if r and not r.startswith("#")]
    sent = {name for name in exclude_paths(tmp_path, rules) if (tmp_path / name).is_file()}
    assert sent - {"Dockerfile", ".dockerignore"} == set(wanted)
    assert [name for name in wanted if not (ROOT / name).exists()] == []
