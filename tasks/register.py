"""The result in MLflow: a version that waits for a person's review, or a run alone if there is nothing to register."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tverase.config import Params
from tverase.files import digest_of, read_json, sha256
from tverase.report.verdict import Verdict
from tverase.vector import TaskVector

from ._all import chosen
from ._dvc import PIPELINES
from ._lineage import origin, resolved
from ._people import me
from ._record import Record
from ._review_facts import champion_tags
from ._review_page import figures, page, worst_pictures
from ._tracking import Registration, Request, record_and_register
from .report import last_verdict

LOCKS = tuple(path.with_suffix(".lock") for path in PIPELINES.values())
EVIDENCE = ("evaluation/evaluation.json", "verdict.json")
MINE = ("report.html", *EVIDENCE, "selection.json", "strength.json", "tau.safetensors")


def register(params: Params, links: Mapping[str, str], records: Mapping[str, Record] | None = None) -> Registration:
    """Register what `evaluate` left. Nothing new is made if the registry has just this content already.

    Only a proved result gets the alias. Others are registered without one, and their tags have the verdict.
    links: more tags, like the Prefect flow run. records: of the steps that ran; of the others the last ones count. A side
    effect outside DVC, so it has no record of its own.
    """
    out, answer = params.out, last_verdict(params)
    last = {step.name: step.last(params) for step in chosen(params)}
    known = {name: record for name, record in {**last, **(records or {})}.items() if record is not None}
    digests = {path: digest for record in known.values() for path, digest in record.outputs.items()}
    tau = TaskVector.load(out / "tau.safetensors")
    made_by = origin(params, params.name, known, LOCKS)
    model = params.register_.model or f"tverase-{params.name}"
    marks, described = for_review(params, model, answer, digests)
    return record_and_register(
        Request(
            experiment=params.register_.experiment,
            model_name=model,
            alias=params.register_.alias if answer.proved else "",
            run_name=f"erase-{params.name}",
            params=resolved(params),
            metrics=read_json(out / "metrics.json"),
            figures=sorted((out / "plots").glob("*.png")),
            tables=sorted((out / "tables").glob("*.csv")),
            files=[*made_by.files, *(out / name for name in MINE if (out / name).exists())],
            datasets={name: digests[name] for name in digests if name.endswith(("images.safetensors", "inversions"))},
            tags={
                "concept": ", ".join(params.concepts),
                "verdict": answer.outcome,
                "alpha": tau.about["alpha"],
                "base_weights": tau.base,
                **marks,
                **links,
                **made_by.tags,
            },
            pipeline=out / "erased",
            sampling={"steps": params.sampling.steps, "guidance": params.sampling.guidance},
            content_hash=content_hash(out, digests),
            **described,
        )
    )


def for_review(
    params: Params, model: str, answer: Verdict, digests: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, Any]]:
    """What a reviewer decides by: tags with the figures and hashes, and the page with its pictures."""
    out = params.out
    summary = read_json(out / "evaluation" / "evaluation.json")
    pictures = worst_pictures(summary, out / "pictures")
    hashes = {name: digests[str(out / name)] for name in ("erased", "evaluation")}
    hashes |= {Path(name).name: sha256(out / name) for name in EVIDENCE}
    marks = {"author": me(), **figures(summary).tags(), **{f"{name}.sha256": hashes[name] for name in hashes}}
    text = page(answer, summary, pictures, hashes, champion_tags(model, params.review.alias))
    return marks, {"pictures": pictures, "description": text}


def content_hash(out: Path, digests: Mapping[str, str]) -> str:
    """The hash of the weights and their proof. Weights that other attacks examined wait for a review of their own."""
    return digest_of({name: digests[str(out / name)] for name in ("erased", "evaluation")})
