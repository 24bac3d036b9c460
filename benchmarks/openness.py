"""Openness: a package outside of the repository does the whole job. `python -m benchmarks.openness`.

First the package examples/plugins: a concept file, a judge, an attack, an eraser and a model family in one run. Then another
eraser of ours under the guest's attack. Second a Stable Diffusion of another shape, with a concept file and NudeNet, or a
Python function without NudeNet: one YAML and one command. Every run is `tverase run` in a folder of its own. It has a copy of
tverase, tasks and flows, whose files are compared before and after.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tverase.rng import generator
from tverase.world.captions import captions
from tverase.world.scene import sample_scenes
from tverase.world.vocabulary import vocabulary

from . import say
from ._openness import PLUGINS, copied, installed, lines, patches, sources, with_palette, write_strange_run

MOST = 60  # lines of a plug-in
COPY = "copy"
DONE = (0, 11)  # proved; or a whole run whose verdict is another one
CALLABLE = '''"""How bright an image is."""


def score(images):
    bright = (images.mean((1, 2, 3)) + 1) / 2
    return {"bright": bright, "dark": 1 - bright}
'''
ESD = ["eraser={kind: esd, lr: 0.01, steps: 60}", "harden.max_rounds=0", "choose_strength.when_infeasible=safest"]


def tverase(folder: Path, *arguments: str) -> tuple[int, str, float]:
    """`tverase ...` in `folder`, where the guest's package is found, by the copy beside it: exit code, stdout, seconds."""
    search = os.pathsep.join([str(folder.parent / COPY), str(folder)])
    environment = {**os.environ, "PYTHONPATH": search, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    started = time.monotonic()
    command = [sys.executable, "-m", "flows.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout, time.monotonic() - started


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """A whole `tverase run`: its verdict, its steps and seconds, and whether report and registry have it."""
    code, out, seconds = tverase(folder, "run", "--json", *arguments)
    if code not in DONE:
        return {"exit": code, "whole": False, "seconds": round(seconds, 1)}
    answer = json.loads(out.splitlines()[-1])
    page = folder / answer["report"]
    whole = page.exists() and page.stat().st_size > 10_000 and int(answer["version"]) > 0
    verdict = {"outcome": answer["verdict"]["outcome"], "why": answer["verdict"]["why"]}
    worst = max(answer["metrics"]["recovery"].values()) if whole else None
    return {
        "exit": code, "whole": whole, **verdict, "worst": worst, "steps": len(answer["steps"]),
        "steps_s": round(sum(step["seconds"] for step in answer["steps"].values()), 1), "seconds": round(seconds, 1),
    }  # fmt: skip


def guests(folder: Path) -> dict[str, Any]:
    """The runs with plug-ins from outside, and what each plug-in costs."""
    site = installed(folder / "guest")
    with_palette(site)
    reached = [where for source in PLUGINS.values() if source.endswith(".py") for where in patches(site / source)]
    for kind, source in PLUGINS.items():
        print(f"{kind:<8} {lines(site / source):>3} lines  {source}", flush=True)
    found = {"lines": {kind: lines(site / source) for kind, source in PLUGINS.items()}, "patches": reached}
    found["all five"] = run(site)
    print("all five:", found["all five"], flush=True)
    found["esd under the guest's attack"] = run(site, *(word for text in ESD for word in ("--set", text)))
    print("esd under the guest's attack:", found["esd under the guest's attack"], flush=True)
    return found


def strange(folder: Path) -> dict[str, Any]:
    """The run of a Stable Diffusion of another shape."""
    folder.mkdir()
    nudenet = find_spec("nudenet") is not None and find_spec("onnxruntime") is not None
    (folder / "lights.py").write_text(CALLABLE)
    judge = {"kind": "nudenet"} if nudenet else {"kind": "python", "function": "lights:score"}
    rng, words = generator(0, "benchmarks/openness"), vocabulary()
    texts = captions(sample_scenes(500, words, rng), words, rng)
    path = write_strange_run(folder, judge, "nsfw" if nudenet else "bright", texts)
    found = run(folder, "--params", path.name)
    print(f"64 pixels, 77 tokens, PNDM, judged by {judge['kind']}:", found, flush=True)
    return {"judge": judge["kind"], **found}


def main() -> None:
    """Both parts; the sources of tverase, tasks and flows are the same before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="use and keep this folder instead of a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        copy = copied(folder / COPY)
        before = sources(copy)
        found, other = guests(folder), strange(folder / "strange")
        after = sources(copy)
    edited = [*found["patches"], *(name for name in before | after if before.get(name) != after.get(name))]
    edits = len(edited)
    print(f"edits in tverase/, tasks/, flows/: {edits}", *edited, flush=True)
    runs = [found["all five"], found["esd under the guest's attack"], other]
    ok = edits == 0 and max(found["lines"].values()) <= MOST and all(one["whole"] for one in runs)
    ok = ok and other.get("outcome") == "untested"
    value = {"edits": edits, **found, "another shape": other}
    say("openness", value, {"edits": 0, "lines": MOST, "whole": True}, ok=ok)


if __name__ == "__main__":
    main()
