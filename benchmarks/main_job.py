"""The main job as a new user runs it, in a fresh clone of HEAD: `python -m benchmarks.main_job`.

Measures wall time and peak memory of the whole process tree, the same again with nothing changed, and `dvc repro` after it.
The cost of orchestration is the wall time less the time inside the steps' functions. This is an upper bound: it also has
Python's imports, the report and the registry.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from . import say

GOAL = {"cold_s": 600, "peak_gb": 2.5, "again_s": 30, "repro_s": 5, "overhead_s": 60, "overhead_share": 0.1}


@dataclass(frozen=True)
class Timed:
    """One command: seconds, the most memory that its process tree held at once (bytes), its stdout."""

    seconds: float
    peak: int
    output: str


def timed(command: list[str], folder: Path) -> Timed:
    """Run to the end; a failure shows the output and stops the measure."""
    # The clone's own packages come first, whatever this Python has installed.
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK"):
        environment.setdefault(name, "true")
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment)
    watch = _Watch(process.pid)
    watch.start()
    output, _ = process.communicate()
    seconds = time.monotonic() - started
    watch.stop()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Timed(seconds, watch.peak, output)


class _Watch(threading.Thread):
    """Adds up the memory of a process and of all that it started, four times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.peak, self._over = psutil.Process(pid), 0, threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.25):
            total = 0
            try:
                for process in (self.process, *self.process.children(recursive=True)):
                    total += _private(process)
            except psutil.Error:
                continue
            self.peak = max(self.peak, total)

    def stop(self) -> None:
        self._over.set()
        self.join()


def _private(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def main() -> None:
    """Clone, run, run again, `dvc repro`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="use and keep this folder instead of a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary) / "tverase").resolve()
        subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(folder)], check=True)
        run = [sys.executable, "-m", "flows.cli", "run", "--json"]
        cold = timed(run, folder)
        print(f"cold: {cold.seconds:.1f} s, {cold.peak / 1e9:.2f} GB", flush=True)
        again = timed(run, folder)
        print(f"again: {again.seconds:.1f} s", flush=True)
        repro = timed([sys.executable, "-m", "dvc", "repro", "--quiet"], folder)
        steps = json.loads(cold.output.splitlines()[-1])["steps"]
        reused = all(step["reused"] for step in json.loads(again.output.splitlines()[-1])["steps"].values())
    inside = sum(step["seconds"] for step in steps.values() if not step["reused"])
    value = {
        "cold_s": round(cold.seconds, 1),
        "peak_gb": round(max(cold.peak, again.peak) / 1e9, 2),
        "again_s": round(again.seconds, 1),
        "repro_s": round(repro.seconds, 1),
        "overhead_s": round(cold.seconds - inside, 1),
        "overhead_share": round((cold.seconds - inside) / cold.seconds, 3),
    }
    ok = reused and all(value[key] <= GOAL[key] for key in GOAL)
    load = os.getloadavg()[0]
    say(
        "main_job",
        value,
        GOAL,
        ok=ok,
        all_reused=reused,
        load=round(load, 1),
        steps={k: s["seconds"] for k, s in steps.items()},
    )


if __name__ == "__main__":
    main()
