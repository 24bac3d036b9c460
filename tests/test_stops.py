"""How a run ends that is told to: one sentence, the right exit code, and no server left behind; nor when it is killed.

And how it ends before it begins: a state folder that cannot be used, a server that is not there.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from servers import answers, ask, environment, free_port, processes, wait_for

# As `tverase run` does it, with a step that only takes time.
RUN = """
import os, sys, time
from tasks._quiet import plainly, quiet
quiet()
with plainly():
    from flows._server import calm, reach
    calm()
    answers = reach()
    from prefect import flow, task
    answers()
    @task
    def step():
        print(os.environ["PREFECT_API_URL"], flush=True)
        end = time.monotonic() + float(sys.argv[1])
        while time.monotonic() < end: sum(range(1000))
    @flow
    def erase(): step()
    erase()
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def started(place: Path, seconds: float, code: str = RUN, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, str(seconds)],
        cwd=place, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(place: Path, *, code: str = RUN, **more: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a run of no length."""
    run = started(place, 0, code, **more)
    out, err = run.communicate(timeout=300)
    return run.returncode, out, err


def test_a_run_needs_no_home_and_leaves_no_server(place: Path) -> None:
    code, out, err = ended(place, HOME="/proc/none")
    assert (code, out.splitlines()[1:], err) == (0, ["done"], "")
    wait_for(lambda: not processes(str(place)), seconds=10)
    assert (place / ".prefect" / "prefect.db").is_file()


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        pytest.param(signal.SIGTERM, 143, "stopped by SIGTERM; ", id="SIGTERM"),
        pytest.param(signal.SIGINT, 130, "stopped by Ctrl-C; ", id="Ctrl-C", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, "", id="kill -9"),
    ],
)
def test_a_run_that_is_stopped(place: Path, number: signal.Signals, code: int, says: str) -> None:
    run = started(place, 300)
    assert run.stdout is not None
    port = int(run.stdout.readline().removeprefix("http://127.0.0.1:").partition("/")[0])
    assert len(processes(str(place))) >= 2, "the run and its server"
    assert ask(port, "/api/health")[0] == 200
    assert ask(port, "/api/admin/version")[0] == 401
    assert ask(port, "/api/health", headers={"Host": f"evil.example:{port}"})[0] == 403
    assert ask(port, "/api/flows/", "POST", '{"name": "x"}', {"Origin": "http://evil.example"})[0] == 403
    run.send_signal(number)
    out, err = run.communicate(timeout=12)  # whoever stops containers waits for ten
    assert (run.returncode, out) == (code, "")
    assert err.startswith(says)
    assert err.count("\n") == bool(says)
    wait_for(lambda: not processes(str(place)), seconds=10)


@pytest.mark.slow
def test_a_command_has_a_server_for_as_long_as_it_lives(place: Path) -> None:
    """`make flow`."""
    words = [
        "-m",
        "flows.client",
        "--or-start",
        "python",
        "-c",
        "import time; print('up', flush=True); time.sleep(300)",
    ]
    run = subprocess.Popen(
        [sys.executable, *words],
        cwd=place,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    assert len(processes(str(place))) == 2
    run.kill()
    run.communicate()
    wait_for(lambda: not processes(str(place)), seconds=10)


HANGS = """
import time
from tasks import _quiet
_quiet.GRACE = 1.0
with _quiet.plainly():
    try:
        print("running", flush=True)
        time.sleep(300)
    finally:
        time.sleep(300)
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_a_farewell_does_not_take_for_ever(tmp_path: Path, signals: int) -> None:
    code = HANGS if signals == 1 else HANGS.replace("GRACE = 1.0", "GRACE = 600.0")
    run = started(tmp_path, 0, code)
    assert run.stdout is not None
    assert run.stdout.readline() == "running\n"
    for _ in range(signals):
        run.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 143
    assert err.startswith("stopped by SIGTERM; ")
    assert err.count("\n") == 1


LINGERS = """
import threading, time
from tasks import _quiet
_quiet.GRACE = 1.0
with _quiet.plainly():
    threading.Thread(target=time.sleep, args=[300]).start()
    print("running", flush=True)
    time.sleep(300)
"""


def test_a_library_that_lingers_is_cut_short(tmp_path: Path) -> None:
    run = started(tmp_path, 0, LINGERS)
    assert run.stdout is not None
    assert run.stdout.readline() == "running\n"
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=20)
    assert (run.returncode, err.count("\n")) == (130, 1)


def nothing(place: Path) -> None:
    """As it is."""


def unknown_revision(place: Path) -> None:
    (place / ".prefect").mkdir()
    with closing(sqlite3.connect(place / ".prefect" / "prefect.db")) as database:
        database.execute("create table alembic_version (version_num text)")
        database.execute("insert into alembic_version values ('0123456789ab')")
        database.commit()


def no_database(place: Path) -> None:
    (place / ".prefect").mkdir()
    (place / ".prefect" / "prefect.db").write_bytes(b"\xff" * 5000)


def in_the_way(place: Path) -> None:
    (place / ".prefect").write_text("a file")


def no_password(place: Path) -> None:
    (place / ".prefect" / "auth").mkdir(parents=True)


BEFORE: dict[str, tuple[Callable[[Path], None], dict[str, str], int, str]] = {
    "a state folder that cannot be made": (nothing, {"PREFECT_HOME": "/proc/none/prefect"}, 6, "PREFECT_HOME"),
    "a file in its place": (in_the_way, {}, 6, ".prefect"),
    "a folder in the password's place": (no_password, {}, 6, "auth"),
    "a database of another Prefect": (unknown_revision, {}, 6, "another version of Prefect"),
    "a damaged database": (no_database, {}, 6, "move it away"),
    "a server that is down": (nothing, {"PREFECT_API_URL": "http://127.0.0.1:{port}/api"}, 7, "make serve"),
    "a name that leads nowhere": (nothing, {"PREFECT_API_URL": "http://none.invalid/api"}, 7, "none.invalid"),
    "no address": (nothing, {"PREFECT_API_URL": "localhost:4200"}, 7, "http://127.0.0.1:4200/api"),
    "no port": (nothing, {"PREFECT_API_URL": "http://127.0.0.1:x/api"}, 7, "PREFECT_API_URL"),
    "secrets in an address": (nothing, {"PREFECT_API_URL": "http://me:hidden@127.0.0.1:{port}/api"}, 7, "127.0.0.1"),
}


@pytest.mark.parametrize("case", BEFORE.values(), ids=list(BEFORE))
def test_what_cannot_be_is_one_sentence_at_once(
    case: tuple[Callable[[Path], None], dict[str, str], int, str], tmp_path: Path
) -> None:
    prepare, more, code, says = case
    prepare(tmp_path)
    start = time.monotonic()
    found = ended(tmp_path, **{name: value.format(port=free_port()) for name, value in more.items()})
    assert found[:2] == (code, ""), found
    assert says in found[2]
    assert found[2].startswith("error: ")
    assert found[2].count("\n") == 1
    assert "hidden" not in found[2]
    assert time.monotonic() - start < 20
    assert processes(str(tmp_path)) == []


ANSWER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(json.dumps(self.headers.get("Authorization", "")), flush=True)
        self.send_response(int(sys.argv[2])); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.parametrize(("status", "says"), [(401, "PREFECT_API_AUTH_STRING"), (503, "503")])
def test_a_server_that_refuses_is_one_sentence(tmp_path: Path, status: int, says: str) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", ANSWER, str(port), str(status)], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            wait_for(lambda: answers(port, "/", status), seconds=20)
            code, out, err = ended(tmp_path, PREFECT_API_URL=f"http://localhost:{port}/api")
        finally:
            server.kill()
        heard = [json.loads(line) for line in server.stdout]
    assert (code, out) == (7, "")
    assert says in err
    assert err.count("\n") == 1
    assert any(word.startswith("Basic ") for word in heard), "on this machine the project's password is sent"
