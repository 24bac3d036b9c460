"""A real Chromium without a window, driven by its DevTools protocol."""

import json
import shutil
import subprocess
import time
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = next((found for name in PROGRAMS if (found := shutil.which(name))), "")


class Page:
    """One page; `run` evaluates JavaScript in it."""

    def __init__(self, connection: Any) -> None:
        self.connection, self.number = connection, 0

    def call(self, method: str, **given: Any) -> Any:
        """One command of the protocol, and its answer."""
        self.number += 1
        self.connection.send(json.dumps({"id": self.number, "method": method, "params": given}))
        while True:
            said = json.loads(self.connection.recv(timeout=120))
            if said.get("id") == self.number:
                assert "error" not in said, said
                return said["result"]

    def run(self, code: str) -> Any:
        """The value of an expression; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def until(self, code: str, seconds: float = 120) -> Any:
        """Wait for an expression to be true; its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(AssertionError):  # between two pages there is none
                if found := self.run(code):
                    return found
            time.sleep(0.1)
        raise AssertionError(f"never true: {code}; the page says: {self.run('document.body.innerText')}")

    def picture(self, path: Path) -> None:
        """What it looks like, whole."""
        path.write_bytes(b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a browser whose profile is in `folder`; the test is skipped where there is no Chromium."""
    connecting = pytest.importorskip("websockets.sync.client")
    if not PROGRAM:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--no-proxy-server",
        "--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1100,900", f"--user-data-dir={folder}"]  # fmt: skip
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([PROGRAM, *flags, "about:blank"], **quiet)  # type: ignore[call-overload]
    try:
        port = _port(folder, process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=60) as answer:
            (page,) = [one for one in json.load(answer) if one["type"] == "page"]
        with connecting.connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        process.kill()
        process.wait()


def _port(folder: Path, process: Any) -> str:
    """Where it listens, which it writes into its profile."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, "the browser has ended"
        with suppress(OSError, IndexError):
            return (folder / "DevToolsActivePort").read_text().splitlines()[0]
        time.sleep(0.1)
    raise AssertionError("the browser took too long")
