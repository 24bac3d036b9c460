"""The result as a version in the MLflow registry, waiting for a person's review."""

from pathlib import Path

from tverase.config import Params
from tverase.files import digest_of, read_json
from tverase.vector import TaskVector

from ._all import chosen
from ._report import last_verdict
from ._tracking import Registration, Request, lineage, record_and_register


def register(params: Params, links: dict[str, str]) -> Registration:
    """Register what `evaluate` left. Nothing new is made if the registry has just this content already.

    links: more tags, like the Prefect flow run. A side effect outside DVC, so it has no record of its own.
    """
    out = params.out
    records = {step.name: step.last(params) for step in chosen(params)}
    digests = {path: digest for record in records.values() if record for path, digest in record.outputs.items()}
    tau = TaskVector.load(out / "tau.safetensors")
    metrics = read_json(out / "metrics.json")
    tags = {"concept": ", ".join(params.concepts), "alpha": tau.about["alpha"], "base_weights": tau.base, **links}
    mine = ("report.html", "selection.json", "strength.json", "tau.safetensors")
    files = [Path("params.yaml"), Path("dvc.lock"), *(out / name for name in mine)]
    return record_and_register(
        Request(
            experiment=params.register_.experiment,
            model_name=params.register_.model or f"tverase-{params.name}",
            alias=params.register_.alias,
            run_name=f"erase-{params.name}",
            params=params.model_dump(mode="json", by_alias=True),
            metrics=metrics,
            figures=sorted((out / "plots").glob("*.png")),
            tables=sorted((out / "tables").glob("*.csv")),
            files=[path for path in files if path.exists()],
            datasets={name: digests[name] for name in digests if name.endswith(("images.safetensors", "inversions"))},
            tags=tags | lineage(Path.cwd()),
            pipeline=out / "erased",
            # The weights and their proof: what was examined by other attacks waits for a review of its own.
            content_hash=digest_of({name: digests[str(out / name)] for name in ("erased", "evaluation")}),
            description=describe(params),
        )
    )


def describe(params: Params) -> str:
    """What a reviewer reads first, as markdown: the report's verdict and where the rest is."""
    answer = last_verdict(params)
    return f"## {answer.title}\n\n{answer.why}\n\nThe whole report is among the run's artifacts: `report.html`."
