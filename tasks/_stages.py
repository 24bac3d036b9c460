"""dvc.yaml and digits/dvc.yaml, written from the steps: `python -m tasks._stages`. A test compares them with the steps."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

import tasks
from tverase.config import Params
from tverase.files import write_text

from ._all import DIGIT_STEPS, STEPS
from ._digits import out as digits_out
from ._step import Step

ROOT = Path(tasks.__file__).parents[1]
HEAD = "# Written from the steps by `python -m tasks._stages`; edit the steps instead. Each stage runs the step that the Prefect\n# flow runs, so whichever comes second does nothing.\n"
MAIN, DIGITS = Path("dvc.yaml"), Path("digits/dvc.yaml")
SHARE = "share of images"
PLOTS: list[Any] = [
    {
        "recovery and retain accuracy over alpha": {
            "x": {"outputs/${name}/curve.csv": "alpha"},
            "y": {"outputs/${name}/curve.csv": ["name", "worst", "control"]},
            "y_label": SHARE,
        }
    },
    "outputs/${name}/plots",
]
_DIGIT = "../outputs/digit-${digits.digit}"
DIGIT_PLOTS: list[Any] = [
    {
        "worst input by complexity": {
            "x": {f"{_DIGIT}/scores.csv": "complexity"},
            "y": {f"{_DIGIT}/scores.csv": "rate"},
            "y_label": SHARE,
        }
    },
    {
        "worst input and other digits over alpha": {
            "x": {f"{_DIGIT}/curves.csv": "alpha"},
            "y": {f"{_DIGIT}/curves.csv": ["worst_rate", "others_rate"]},
            "y_label": SHARE,
        }
    },
]


def pipelines(content: Mapping[str, Any]) -> dict[Path, str]:
    """The text of both files, by path. content: of params.yaml; DVC knows no parameter that it leaves to the defaults."""
    params = Params.parse(content)
    main = {"stages": _stages(STEPS, params, content, {}), "plots": PLOTS}
    digits = {
        "vars": ["../params.yaml"],
        "stages": _stages(DIGIT_STEPS, params, content, {"wdir": ".."}),
        "plots": DIGIT_PLOTS,
    }
    return {
        path: HEAD + yaml.safe_dump(content, sort_keys=False, width=120)
        for path, content in ((MAIN, main), (DIGITS, digits))
    }


def _stages(
    steps: Iterable[Step], params: Params, content: Mapping[str, Any], common: Mapping[str, Any]
) -> dict[str, Any]:
    return {step.name: {**common, **_stage(step, params, content)} for step in steps}


def _stage(step: Step, params: Params, content: Mapping[str, Any]) -> dict[str, Any]:
    """A stage that depends on what the step's key has: source, inputs and parameters."""
    files = {} if step.shipped else step.code_files(params)
    code = [path.relative_to(ROOT).as_posix() for path in files.values() if path.is_relative_to(ROOT)]
    inputs = [_templated(path, params) for path in step.inputs(params).values()]
    stage: dict[str, Any] = {"cmd": f"python -m {step.module}", "deps": sorted(set(code)) + inputs}
    if named := [name for name in step.sections if _given(name, content)]:
        stage["params"] = named
    outputs = step.outputs(params)
    # A file in git is not cached. Nothing is deleted before the step has looked at it: unchanged outputs are kept.
    how = {"cache": False, "persist": True} if step.shipped else {"persist": True}
    # What is shipped keeps its place, whatever model the parameters name.
    place = Path.as_posix if step.shipped else lambda path: _templated(path, params)
    stage["outs"] = [{place(path): dict(how)} for name, path in outputs.items() if name != "metrics"]
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


def _templated(path: Path, params: Params) -> str:
    """A path as DVC is told: the parameters that it depends on by name."""
    text = path.as_posix()
    places = {
        params.out.as_posix(): "outputs/${name}",
        digits_out(params).as_posix(): "outputs/digit-${digits.digit}",
        Path(params.model).as_posix(): "${model}",
        Path(params.digits.model).as_posix(): "${digits.model}",
    }
    for place, template in places.items():
        if text == place or text.startswith(f"{place}/"):
            return template + text.removeprefix(place)
    return text


if __name__ == "__main__":
    for file, text in pipelines(yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))).items():
        write_text(file, text)
