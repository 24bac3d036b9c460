"""`make serve` and `make ui` as they are started: for their own address and pages only, and for our own commands."""

import base64
import json
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from servers import ask, command, dry_make, environment, free_port, processes, running, wait_for


class Served(NamedTuple):
    place: Path
    port: int
    process: "subprocess.Popen[str]"

    @property
    def password(self) -> str:
        return (self.place / ".prefect" / "auth").read_text().strip()

    def login(self) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(self.password.encode()).decode()}

    def ours(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command of ours in this folder; the server's address is found by itself."""
        return subprocess.run(
            [sys.executable, "-m", "flows.client", *words],
            cwd=self.place, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place, port = tmp_path_factory.mktemp("serve"), free_port()
    with running(command("serve", port), place, port, "/api/health") as process:
        yield Served(place, port, process)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place, port = tmp_path_factory.mktemp("ui"), free_port()
    with running(command("ui", port), place, port, "/health") as process:
        yield Served(place, port, process)


FOREIGN = {
    "another host": {"Host": "10.evil.example"},
    "another host, our port": {"Host": "evil.example:{port}"},
    "our host, another port": {"Host": "127.0.0.1:1"},
    "a private address": {"Host": "10.1.2.3:{port}"},
    "a page of another site": {"Origin": "http://evil.example"},
    "a page of another server here": {"Origin": "http://127.0.0.1:1"},
    "a page without an address": {"Origin": "null"},
    "a name that begins like ours": {"Origin": "http://127.0.0.1:{port}.evil.example"},
}
FLOW = json.dumps({"name": "foreign"})


def filled(headers: dict[str, str], port: int) -> dict[str, str]:
    return {name: value.format(port=port) for name, value in headers.items()}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=list(FOREIGN))
def test_prefect_refuses_others_even_with_the_password(prefect: Served, headers: dict[str, str]) -> None:
    sent = {**prefect.login(), **filled(headers, prefect.port)}
    for path, method, body in (("/", "GET", None), ("/api/admin/version", "GET", None), ("/api/flows/", "POST", FLOW)):
        assert ask(prefect.port, path, method, body, sent)[0] == 403
    assert ask(prefect.port, "/api/flows/", "OPTIONS", None, sent)[0] == 403


def test_nothing_is_made_without_the_password(prefect: Served) -> None:
    """A page need not send a Content-Type, and Prefect takes what comes without one for JSON."""
    token = {"Prefect-Csrf-Token": "x", "Prefect-Csrf-Client": "y"}
    wrong = {"Authorization": "Basic " + base64.b64encode(b"tverase:guess").decode()}
    for headers in ({}, {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}):
        for more in ({}, token, wrong, {**wrong, **token}):
            assert ask(prefect.port, "/api/flows/", "POST", FLOW, {**headers, **more})[0] in (401, 403)
    assert ask(prefect.port, "/api/admin/version")[0] == 401
    assert ask(prefect.port, "/api/csrf-token?client=x")[0] == 401
    made = prefect.ours(sys.executable, "-c", COUNT)
    assert made.stdout.split() == ["0"], made.stderr


COUNT = """
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client: print(sum(flow.name == "foreign" for flow in client.read_flows()))
"""


def test_the_password_is_no_protection_against_our_own_pages_being_forged(prefect: Served) -> None:
    """With the password alone, without the token that only a page of ours can read, nothing is changed."""
    assert ask(prefect.port, "/api/flows/", "POST", FLOW, prefect.login())[0] == 403


def test_a_foreign_page_gets_no_live_connection(prefect: Served) -> None:
    def upgrade(origin: str) -> str:
        with socket.create_connection(("127.0.0.1", prefect.port), timeout=20) as connection:
            connection.sendall(
                f"GET /api/events/out HTTP/1.1\r\nHost: 127.0.0.1:{prefect.port}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Protocol: prefect\r\nOrigin: {origin}\r\n\r\n".encode()
            )
            return connection.recv(1000).decode(errors="replace").splitlines()[0]

    assert "403" in upgrade("http://evil.example")
    assert "101" in upgrade(f"http://127.0.0.1:{prefect.port}")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_prefects_own_pages_work(prefect: Served, name: str) -> None:
    own = {"Host": f"{name}:{prefect.port}", "Origin": f"http://{name}:{prefect.port}"}
    status, page = ask(prefect.port, "/", headers=own)
    assert status == 200
    assert "<html" in page
    settings = json.loads(ask(prefect.port, "/ui-settings", headers=own)[1])
    assert (settings["auth"], settings["csrf_enabled"]) == ("BASIC", True)
    assert settings["api_url"] == f"http://127.0.0.1:{prefect.port}/api"
    asked = {**own, "Host": f"127.0.0.1:{prefect.port}", **prefect.login()}
    token = json.loads(ask(prefect.port, "/api/csrf-token?client=page", headers=asked)[1])["token"]
    sent = {**asked, "Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "page", "Content-Type": "application/json"}
    assert ask(prefect.port, "/api/flows/filter", "POST", "{}", sent)[0] == 200


def test_the_password_is_its_owners_and_is_not_printed(prefect: Served) -> None:
    path = prefect.place / ".prefect" / "auth"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert re.fullmatch(r"tverase:[\w-]{40,}", prefect.password)
    said = (prefect.place / "said").read_text()
    assert str(path) in said
    assert prefect.password.partition(":")[2] not in said


def test_our_own_command_line_finds_the_server(prefect: Served) -> None:
    made = prefect.ours("prefect", "work-pool", "create", "some-pool", "--type", "process")
    assert made.returncode == 0, made.stderr
    assert "some-pool" in prefect.ours("prefect", "work-pool", "ls").stdout


def test_a_run_here_uses_the_server_that_is_there(prefect: Served) -> None:
    code = "import os\nfrom flows._server import reach\nreach()()\nprint(os.environ['PREFECT_API_URL'])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=prefect.place, env=environment(), capture_output=True, text=True, check=False
    )
    assert run.stdout == f"http://127.0.0.1:{prefect.port}/api\n", run.stderr


def test_a_port_or_a_folder_that_is_taken_is_one_sentence(prefect: Served, tmp_path: Path) -> None:
    for place, says in ((prefect.place, "runs already"), (tmp_path, f"make serve PORT={prefect.port + 1}")):
        again = subprocess.run(
            command("serve", prefect.port), cwd=place, env=environment(), capture_output=True, text=True, check=False
        )
        assert (again.returncode, again.stdout) == (7, "")
        assert says in again.stderr
        assert again.stderr.count("\n") == 1


FLOW_FILE = """
from pathlib import Path
from prefect import flow
@flow
def shout(word: str = "hello"): Path("shouted").write_text(word)
"""


@pytest.mark.slow
def test_a_worker_carries_out_what_was_deployed(prefect: Served) -> None:
    (prefect.place / "shouting.py").write_text(FLOW_FILE)
    for words in (
        ["prefect", "--no-prompt", "work-pool", "create", "workers", "--type", "process"],
        ["prefect", "--no-prompt", "deploy", "shouting.py:shout", "--name", "loud", "--pool", "workers"],
        ["prefect", "deployment", "run", "shout/loud", "--param", "word=hi"],
        ["prefect", "worker", "start", "--pool", "workers", "--install-policy", "never", "--run-once"],
    ):
        done = prefect.ours(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (prefect.place / "shouted").read_text() == "hi"


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=list(FOREIGN))
@pytest.mark.parametrize(
    "path", ["/", "/graphql", "/api/2.0/mlflow/experiments/create", "/ajax-api/2.0/mlflow/runs/create"]
)
def test_mlflow_refuses_others(mlflow: Served, headers: dict[str, str], path: str) -> None:
    sent = filled(headers, mlflow.port)
    assert ask(mlflow.port, path, "GET", None, sent)[0] == 403
    assert ask(mlflow.port, path, "POST", "{}", {**sent, "Content-Type": "application/json"})[0] == 403


def test_mlflow_works_for_its_own_pages_and_for_programs(mlflow: Served) -> None:
    assert "<html" in ask(mlflow.port, "/")[1]
    own = {"Host": f"localhost:{mlflow.port}", "Origin": f"http://localhost:{mlflow.port}"}
    for name, headers in (("page", own), ("program", {})):
        sent = {**headers, "Content-Type": "application/json"}
        made = ask(mlflow.port, "/api/2.0/mlflow/experiments/create", "POST", json.dumps({"name": name}), sent)
        assert made[0] == 200, made[1]
    assert (mlflow.place / "mlflow.db").is_file(), "what `make ui` shows is what a run here writes"


def test_mlflow_leaves_nothing_when_it_is_killed(mlflow: Served) -> None:
    """The last test of this server."""
    mlflow.process.send_signal(signal.SIGKILL)
    mlflow.process.wait()
    wait_for(lambda: not processes(str(mlflow.place)), seconds=15)


@pytest.mark.slow
def test_the_slot_of_a_killed_run_is_free_again(tmp_path: Path) -> None:
    port, short = free_port(), {"PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "30"}
    with running(command("serve", port), tmp_path, port, "/api/health", **short) as server:
        served = Served(tmp_path, port, server)
        assert served.ours(sys.executable, "-c", OCCUPY).stdout.split() == ["1"]
        server.send_signal(signal.SIGKILL)
        server.wait()
    with running(command("serve", port), tmp_path, port, "/api/health", **short) as server:
        assert served.ours(sys.executable, "-c", OCCUPIED).stdout.split() == ["1"]
        wait_for(lambda: served.ours(sys.executable, "-c", OCCUPIED).stdout.split() == ["0"])


OCCUPIED = """
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    limits = client.request("POST", "/v2/concurrency_limits/filter", json={}).json()
    print(sum(limit["active_slots"] for limit in limits))
"""
OCCUPY = (
    """
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Pending, Running
@flow
def nightly(): pass
with get_client(sync_client=True) as client:
    made = client.create_deployment(client.create_flow(nightly), "nightly", concurrency_limit=1)
    run = client.create_flow_run_from_deployment(made)
    for state in (Pending(), Running()): client.set_flow_run_state(run.id, state)
"""
    + OCCUPIED
)


def test_the_makefile_takes_ports() -> None:
    assert dry_make("deploy", "worker", "PORT=4300").count("--port 4300") == 2
    usual = dry_make("serve", "ui")
    assert "flows.serve prefect --port 4200" in usual
    assert "flows.serve mlflow --port 5000" in usual
