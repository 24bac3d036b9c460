"""The worst input of every model: base, input-dependent methods, task vectors at the strengths that were chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tverase.bounds import Bound, worst
from tverase.digitrun import Method
from tverase.files import read_json, write_json, write_tensors, write_text
from tverase.images import to_bytes
from tverase.progress import Progress
from tverase.report import digit_tables
from tverase.unconditional import Examined
from tverase.vector import TaskVector

from ._digits import base, home, judge, model_folder, out, own_latents
from ._job import Job
from ._step import Step

Vectors = Mapping[str, TaskVector]


@dataclass(frozen=True)
class Candidate:
    """A model under examination; no method is the base model."""

    method: Method | None
    alpha: float
    examined: Examined


def run(job: Job) -> None:
    """One verdict a model, all with the same noise; then worst input and other digits over alpha."""
    settings, seed, model = job.params.digits, job.params.seed, base(job)
    vectors = {path.stem: TaskVector.load(path) for path in sorted(job.inputs["vectors"].glob("*.safetensors"))}
    latents = own_latents(job, model, "unconditional_safety/images")
    examined = Examined(model, judge(job), settings.digit, settings.sampling, seed)
    candidates, wanted = chosen(job, examined, vectors), settings.unconditional
    verdicts, pictures = dict[str, Any](), {}
    for done, (name, candidate) in enumerate(candidates.items()):
        job.tell(Progress("examining", done, len(candidates), name))
        before, examination = job.meter.evaluations, candidate.examined
        found = examination.verdict(wanted, latents)
        cost = job.meter.evaluations - before
        verdicts[name] = {"method": candidate.method, "alpha": candidate.alpha, **found, "evaluations": cost}
        points = {"own": model.codes[settings.digit], "worst": torch.tensor(hardest(found)[0]["input"])}
        drawn = {what: examination.pictures(point, wanted.shown) for what, point in points.items()}
        drawn["others"] = torch.cat([examination.pictures(code, 1) for code in model.codes])
        pictures |= {f"{name}/{what}": to_bytes(images) for what, images in drawn.items()}
    curves = over_alpha(job, examined, vectors, verdicts)
    write_json(job.outputs["verdicts"], {"digit": settings.digit, "models": verdicts, "curves": curves})
    write_tensors(pictures, job.outputs["pictures"])
    write_json(job.outputs["metrics"], metrics(verdicts))
    write_text(job.outputs["scores"], digit_tables.scores(verdicts))
    write_text(job.outputs["curves"], digit_tables.curves(curves))
    write_text(job.outputs["others"], digit_tables.others(verdicts))


def chosen(job: Job, examined: Examined, vectors: Vectors) -> dict[str, Candidate]:
    """The models that are examined, by name. A task vector that erases at no strength is left out."""
    strength = read_json(job.inputs["strength"])["vectors"]
    picked = {method: curve["safe_alpha"] for method, curve in strength.items()}
    plan = {method: picked.get(method, 1.0) for method in job.params.digits.vectors.methods}
    return {"base": Candidate(None, 0.0, examined)} | {
        method: Candidate(method, alpha, examined.less(vectors[method], alpha))
        for method, alpha in plan.items()
        if alpha is not None
    }


def over_alpha(
    job: Job, examined: Examined, vectors: Vectors, verdicts: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """For each task vector the points of its curve. verdicts: what is known at strength 0 and at those that were chosen."""
    settings = job.params.digits.unconditional
    plan = {
        "random": settings.random_alphas,
        "repaired": settings.repaired_alphas,
        "true": settings.true_alphas,
    }
    plan = {method: alphas for method, alphas in plan.items() if method in vectors}
    curves = dict[str, list[dict[str, Any]]]()
    total = sum(map(len, plan.values()))
    for method, alphas in plan.items():
        curves[method] = []
        for alpha in alphas:
            job.tell(Progress("strengths", sum(map(len, curves.values())), total, f"{method} {alpha:g}"))
            verdict = verdicts["base"] if alpha == 0 else verdicts.get(method, {})
            known = verdict.get("complexity", {}).get(str(settings.curve_at))
            if known is not None and verdict["alpha"] == alpha:
                at = {"worst": known, "others": verdict["others_all"]}  # the same noise: it would be the same again
            else:
                at = examined.less(vectors[method], alpha).at_strength(settings)
            curves[method].append({"alpha": alpha, **at})
    return curves


def hardest(verdict: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """The worst of what grids and the adaptive search found, and a bound that holds for all of them together."""
    found = {**verdict["complexity"], "adaptive": verdict["adaptive"]}
    name, _, high = worst({key: Bound(score["successes"], score["trials"]) for key, score in found.items()})
    return found[name], high


def metrics(verdicts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What `dvc metrics` and MLflow show: a few numbers for each model."""
    return {
        name: {
            "alpha": found["alpha"],
            "worst": hardest(found)[0]["rate"],
            "worst_high": round(hardest(found)[1], 4),
            "adaptive": found["adaptive"]["rate"],
            "certified_share": round(found["certificate"]["share"], 4),
            "others": found["others_all"]["rate"],
        }
        for name, found in verdicts.items()
    }


STEP = Step(
    name="unconditional_safety",
    sections=("seed", "digits.digit", "digits.sampling", "digits.vectors", "digits.unconditional"),
    inputs=lambda params: {
        "model": model_folder(params),
        "vectors": out(params) / "vectors",
        "strength": out(params) / "strength.json",
    },
    outputs=lambda params: {
        "verdicts": out(params) / "verdicts.json",
        "pictures": out(params) / "pictures.safetensors",
        "metrics": out(params) / "metrics.json",
        **{name: out(params) / f"{name}.csv" for name in ("scores", "curves", "others")},
    },
    run=run,
    home=home,
)

if __name__ == "__main__":
    from ._main import main

    main(STEP)
