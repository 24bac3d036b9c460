"""The contents of an open MLflow run: datasets, files, the erased pipeline as a model."""

import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from tverase.sampling import Sampling

from ._records import Request

PINNED = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "pandas", "pillow")


def log_datasets(digests: Mapping[str, str]) -> None:
    """What the run was made from: name -> sha256."""
    import mlflow
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    for name, digest in digests.items():
        # MLflow takes 36 characters of digest; the source keeps the whole.
        source = CodeDatasetSource(tags={"sha256": digest})
        mlflow.log_input(MetaDataset(source, name=name, digest=digest[:32]), context=name)


def log_files(request: Request) -> None:
    """Figures, tables and files, each kind in its folder."""
    import mlflow

    for folder, paths in (
        ("figures", request.figures),
        ("pictures", request.pictures),
        ("tables", request.tables),
        (None, request.files),
    ):
        for path in paths:
            mlflow.log_artifact(str(path), folder)
    for path in request.tables:
        if "recovery" in path.stem:
            import pandas as pd

            # As JSON too, which the interface shows as a table and compares between runs.
            mlflow.log_table(pd.read_csv(path), f"{path.stem}.json")


def log_pipeline(pipeline: Path, labels: Mapping[str, str], sampling: Mapping[str, Any]) -> str:
    """A diffusers folder as a model without pickle, that draws a prompt as it was measured; returns its id."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    measured = Sampling(**sampling)
    config = {"num_inference_steps": measured.steps, "guidance_scale": measured.guidance, "seed": 0}
    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "prompt")]),
        outputs=Schema([ColSpec("binary", "image_png")]),
        params=ParamSchema(
            [
                ParamSpec("num_inference_steps", "integer", measured.steps),
                ParamSpec("guidance_scale", "double", measured.guidance),
                ParamSpec("seed", "long", 0),
            ]
        ),
    )
    with warnings.catch_warnings():
        # An example would be drawn while logging, which takes minutes with a real checkpoint.
        warnings.filterwarnings("ignore", message=".*An input example was not provided")
        logged = mlflow.pyfunc.log_model(
            name="erased",
            python_model=str(Path(__file__).with_name("_pyfunc.py")),
            artifacts={"pipeline": str(pipeline)},
            signature=signature,
            model_config=config,  # what it does if a caller bypasses the signature
            # Without the +cpu of a local build, which no package index has.
            pip_requirements=[f"{name}=={metadata.version(name).partition('+')[0]}" for name in PINNED],
            tags=dict(labels),
        )
    return str(logged.model_id)
