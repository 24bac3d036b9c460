"""Our servers, each for its own address and its own pages alone: `python -m flows.serve prefect`, `... mlflow`.

Prefect wants a password (.prefect/auth, or PREFECT_SERVER_API_AUTH_STRING), because whoever may create a deployment
may run a command on the worker's machine.
"""

import argparse
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flows import _server
from tasks._guard import Guard, follow, origins, own_names
from tasks._quiet import plainly
from tverase.errors import NetworkError

QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # Leases in memory die with the server, and the slots that they stand for would stay taken for ever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m flows.serve", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    ephemeral = commands.add_parser("run", help="for one run, until its process ends; `tverase run` starts it")
    ephemeral.add_argument("--fd", type=int, required=True, help="a socket that listens")
    ephemeral.add_argument("--parent", type=int, required=True, help="the process to end with")
    for name, port in (("prefect", 4200), ("mlflow", 5000)):
        lasting = commands.add_parser(name)
        lasting.add_argument("--host", default="127.0.0.1", help="the address to bind")
        lasting.add_argument("--port", type=int, default=port)
        lasting.add_argument("--allow", action="append", default=[], metavar="HOST:PORT", help="one more name of it")
    lasting.add_argument("--workers", type=int, default=1)
    lasting.add_argument("--store", default=os.environ.get("MLFLOW_BACKEND_STORE_URI") or "sqlite:///mlflow.db")
    lasting.add_argument("--artifacts", default="./mlartifacts")
    return parser.parse_args(arguments)


def bind(host: str, port: int, target: str) -> socket.socket:
    """A listening socket, or one sentence."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        advice = f"choose another port: make {target} PORT={port + 1 if 0 < port < 65535 else 4300}"
        raise NetworkError(f"cannot listen on {host}:{port} ({why}); {advice}") from error


def prefect(bound: socket.socket, names: Sequence[str], ready: Callable[[], object]) -> None:
    """Prefect's API and pages on a socket, until told to stop; `ready` is called once the database is made."""
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    app = Guard(create_app(final=True), names)
    level = os.environ["PREFECT_SERVER_LOGGING_LEVEL"].lower()
    config = uvicorn.Config(app, log_level=level, lifespan="on", timeout_graceful_shutdown=3, access_log=False)
    Server(config).run(sockets=[bound])


def protect(folder: Path, port: int, names: Sequence[str]) -> None:
    """What Prefect's server is told through the environment, before it is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        os.environ["PREFECT_SERVER_API_AUTH_STRING"] = _server.password(folder)
    os.environ.setdefault("PREFECT_SERVER_UI_API_URL", f"http://127.0.0.1:{port}/api")
    os.environ |= {
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins(names)),
    }


def lasting_prefect(host: str, port: int, allow: Sequence[str]) -> None:
    """`make serve`."""
    folder, names = _server.home(), own_names(host, port, allow)
    with _server.serving(folder, f"http://127.0.0.1:{port}/api"), bind(host, port, "serve") as bound:
        where = (
            "PREFECT_SERVER_API_AUTH_STRING" if os.environ.get("PREFECT_SERVER_API_AUTH_STRING") else folder / "auth"
        )
        protect(folder, port, names)
        lock = _server.starting(folder)
        _server.check_database(folder)
        sys.stderr.write(f"Prefect on http://127.0.0.1:{port}; its page asks for the line that is in {where}.\n")
        prefect(bound, names, lock.release)


def main(arguments: Sequence[str]) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    given = options(arguments)
    if given.command == "run":
        follow(given.parent)
        os.environ |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        bound = socket.socket(fileno=given.fd)
        names = own_names(*bound.getsockname()[:2])
        protect(_server.home(), bound.getsockname()[1], names)
        prefect(bound, names, lambda: None)
    elif given.command == "prefect":
        lasting_prefect(given.host, given.port, given.allow)
    else:
        from tasks import _mlflow_app

        bind(given.host, given.port, "ui").close()
        names = own_names(given.host, given.port, given.allow)
        _mlflow_app.serve(given.host, given.port, given.workers, given.store, given.artifacts, names)


if __name__ == "__main__":
    with plainly("what the server knows is kept, and it goes on from there when it is started again"):
        main(sys.argv[1:])
