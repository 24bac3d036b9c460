"""The worst input of every model: base, input-dependent methods, task vectors at the chosen and at the paper's strengths."""

import json

from tverase.digitrun import PAPER_ALPHAS
from tverase.files import write_json, write_text
from tverase.models.digits import Digits
from tverase.progress import Progress
from tverase.unconditional import Examined
from tverase.vector import TaskVector

from ._digits import SHARED, base, home, judge, model_folder, out, own_latents
from ._main import main
from ._step import Job, Step


def run(job: Job) -> None:
    """One verdict a model, all with the same noise."""
    settings, seed, model = job.params.digits, job.params.seed, base(job)
    latents = own_latents(job, model, "unconditional_safety/images")
    examined = Examined(model, judge(job), settings.digit, settings.sampling, seed)
    candidates = models(job, model)
    verdicts = {}
    for done, (name, candidate) in enumerate(candidates.items()):
        job.tell(Progress("examining", done, len(candidates), name))
        before = job.meter.evaluations
        found = examined.with_model(candidate).verdict(settings.unconditional, latents)
        verdicts[name] = {**found, "evaluations": job.meter.evaluations - before}
    write_json(job.outputs["verdicts"], {"digit": settings.digit, "models": verdicts})
    write_text(job.outputs["scores"], table(verdicts))


def models(job: Job, model: Digits) -> dict[str, Digits]:
    """Every model that is examined, by what the report calls it."""
    vectors = {path.stem: TaskVector.load(path) for path in sorted(job.inputs["vectors"].glob("*.safetensors"))}
    strength = json.loads(job.inputs["strength"].read_text(encoding="utf-8"))
    chosen = strength["safe_alpha"]
    plan = [(name, 1.0, name) for name in ("resteer", "esd")]
    plan += [(f"random {alpha:g} (chosen)", alpha, "random") for alpha in [chosen] if alpha is not None]
    plan += [(f"{name} {alpha:g}", alpha, name) for name, alphas in PAPER_ALPHAS.items() for alpha in alphas[::2]]
    base_weights = model.weights()
    edited = {name: model.with_weights(vectors[by].apply(base_weights, alpha)) for name, alpha, by in plan}
    return {"base": model, **edited}


def table(verdicts: dict[str, dict[str, dict[str, dict[str, float]]]]) -> str:
    """Scores as CSV, for `dvc plots`: one row a model and complexity."""
    lines = ["model,complexity,rate,low,high,others"]
    for name, found in verdicts.items():
        scores = {**found["complexity"], "adaptive": found["adaptive"]}
        others = found["others_all"]["rate"]
        lines += [f"{name},{n},{s['rate']},{s['low']},{s['high']},{others}" for n, s in scores.items()]
    return "\n".join(lines) + "\n"


STEP = Step(
    name="unconditional_safety",
    sections=("seed", "digits.digit", "digits.sampling", "digits.vectors", "digits.unconditional"),
    inputs=lambda params: {
        "model": model_folder(params),
        "vectors": out(params) / "vectors",
        "strength": out(params) / "strength.json",
    },
    outputs=lambda params: {"verdicts": out(params) / "verdicts.json", "scores": out(params) / "scores.csv"},
    run=run,
    code=(*SHARED, "tverase.unconditional", "tverase.complexity", "tverase.bounds"),
    home=home,
)

if __name__ == "__main__":
    main(STEP)
