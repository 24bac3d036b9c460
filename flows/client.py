"""Run a command as a client of this project's Prefect server: `python -m flows.client prefect deployment ls`.

It gets the server's address (PREFECT_API_URL, or the one of `make serve` or `make up`) and, on this machine, its password.
Of `make up` it gets the other servers' variables too, unless they are set already.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from flows import _server
from flows.up import variables
from tasks._quiet import plainly
from tverase.errors import ConfigError


def main(arguments: Sequence[str]) -> None:
    """Become that command."""
    parser = argparse.ArgumentParser(prog="python -m flows.client", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=4200, help="of the server on this machine, if it is another's")
    parser.add_argument("--or-start", action="store_true", help="start one if none runs; it ends with the command")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    if not given.command:
        raise ConfigError("expected a command, as in `python -m flows.client prefect deployment ls`.")
    for name, value in variables().items():
        os.environ.setdefault(name, value)
    if given.or_start:
        _server.reach()()
    else:
        url = os.environ.get(_server.URL) or _server.served(_server.home()) or f"http://127.0.0.1:{given.port}/api"
        _server.as_client(url)
        _server.probe(url)
    # The environment that this Python belongs to comes first, whether it is activated or not.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if shutil.which(given.command[0]) is None:
        raise ConfigError(f"there is no command {given.command[0]!r}.")
    sys.stderr.flush()
    os.execvp(given.command[0], given.command)  # noqa: S606 - no shell


if __name__ == "__main__":
    with plainly():
        main(sys.argv[1:])
