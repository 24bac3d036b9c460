"""dvc.yaml and digits/dvc.yaml, written from the steps: `python -m tasks._stages`. A test compares them with the steps."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import tasks
from tverase.concepts.files import files_of
from tverase.config import Params
from tverase.errors import ConfigError
from tverase.files import write_text

from ._all import chosen
from ._common import MODEL, model_is_given
from ._dvc import MAIN, PIPELINES
from ._quiet import plainly
from ._step import Step

ROOT = Path(tasks.__file__).parents[1]
HEAD = (
    "# Written from the steps by `python -m tasks._stages`; edit the steps instead. Each stage runs the step that the Prefect\n"
    "# flow runs, so whichever comes second does nothing.\n"
)


def pipelines(root: Path = ROOT) -> dict[Path, str]:
    """The text of the DVC files, by path: one for each file of parameters in git that `root` has."""
    return {dvc: pipeline(params, dvc, root) for params, dvc in PIPELINES.items() if (root / params).exists()}


def pipeline(path: Path, dvc: Path, root: Path = ROOT) -> str:
    """The stages of a run with the parameters in `path`, for a DVC file that lies at `dvc`.

    What the parameters leave to their defaults is no dependency of a stage: DVC knows no parameter that is not written.
    Nor is source that does not lie in `root`, as that of an installed package. A model that is not there is not fetched.
    """
    content = yaml.safe_load((root / path).read_text(encoding="utf-8"))
    params = Params.parse(content, str(path))
    up = "../" * (len(dvc.parts) - 1)
    stages = {
        step.name: {**({"wdir": ".."} if up else {}), **_stage(step, params, content, path, root)}
        for step in chosen(params)
    }
    written = {
        **({"vars": [f"{up}{path.as_posix()}"]} if up else {}),
        "stages": stages,
        "plots": _plots(up, _out(params)),
    }
    return HEAD + yaml.safe_dump(written, sort_keys=False, width=120)


def _plots(up: str, out: str) -> list[Any]:
    curve = f"{up}{out}/curve.csv"
    return [
        {
            "recovery and retain accuracy over alpha": {
                "x": {curve: "alpha"},
                "y": {curve: ["name", "worst", "retain"]},
                "y_label": "share of images",
            }
        },
        f"{up}{out}/plots",
    ]


def _stage(step: Step, params: Params, content: Mapping[str, Any], path: Path, root: Path) -> dict[str, Any]:
    """A stage that depends on what the step's key has: source, inputs and parameters."""
    absent = model_is_given(params) and not Path(params.model).expanduser().exists()
    params = params.model_copy(update={"model": str(MODEL)}) if absent else params  # whose place is known
    files = {} if step.shipped else step.code_files(params)
    code = [file.relative_to(ROOT).as_posix() for file in files.values() if file.is_relative_to(ROOT)]
    code = [file for file in code if (root / file).exists()]
    inputs = [_templated(file, params) for name, file in step.inputs(params).items() if name != "model" or not absent]
    if "concepts" in step.sections:  # the key has what they say
        inputs += sorted({file.as_posix() for spec in params.concepts for file in files_of(spec)})
    named = "" if path == MAIN else f" --params {path.as_posix()}"
    # So that a step can refuse concepts whose outputs DVC would look for elsewhere.
    place = "" if step.shipped else f" --out '{_out(params)}'"
    stage: dict[str, Any] = {"cmd": f"python -m tasks {step.name}{named}{place}", "deps": sorted(set(code)) + inputs}
    named_model = ["model"] if absent and "model" in step.inputs(params) else []
    presets = [] if step.shipped else ["recipe", "effort"]  # they decide what the sections leave out
    if sections := [name for name in (*named_model, *presets, *step.sections) if _given(name, content)]:
        stage["params"] = sections if path == MAIN else [{path.as_posix(): sections}]
    outputs = step.outputs(params)
    # A file in git is not cached. Nothing is deleted before the step has looked at it: unchanged outputs are kept.
    how = {"cache": False, "persist": True} if step.shipped else {"persist": True}
    # What is shipped keeps its place, whatever model the parameters name.
    written = Path.as_posix if step.shipped else lambda file: _templated(file, params)
    stage["outs"] = [{written(file): dict(how)} for name, file in outputs.items() if name != "metrics"]
    if not step.shipped:
        stage["outs"].append({_templated(step.record_path(params), params): dict(how)})
    if "metrics" in outputs:
        stage["metrics"] = [{_templated(outputs["metrics"], params): dict(how)}]
    return stage


def _given(name: str, content: Any) -> bool:
    for part in name.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return True


def _out(params: Params) -> str:
    """The folder of the run: by the concept, where its name is that of the folder, so that DVC can change it."""
    return "outputs/${concepts[0]}" if params.concepts == (params.name,) else params.out.as_posix()


def _templated(path: Path, params: Params) -> str:
    """A path as DVC is told: the parameters that it depends on by name."""
    text = path.as_posix()
    places = {params.out.as_posix(): _out(params), Path(params.model).as_posix(): "${model}"}
    for place, template in places.items():
        if text == place or text.startswith(f"{place}/"):
            return template + text.removeprefix(place)
    return text


if __name__ == "__main__":
    with plainly():
        written = pipelines(Path.cwd())
        if not written:
            raise ConfigError(f"{MAIN} does not exist; run this in the folder of a project.")
        for file, text in written.items():
            write_text(file, text)
        sys.stdout.write(f"written: {', '.join(map(str, written))}\n")
