"""`tverase init`: a folder to work in, where only the package is installed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import yaml

from tasks._stages import pipeline
from tverase.concepts import Concept, slug
from tverase.concepts.draft import draft
from tverase.concepts.resolve import known_names, resolve
from tverase.config import Params
from tverase.errors import ConfigError
from tverase.files import write_text
from tverase.world.concepts import JUDGE

PARAMS, DVC, PREFECT, IGNORE = Path("params.yaml"), Path("dvc.yaml"), Path("prefect.yaml"), Path(".gitignore")
IGNORED = (
    ".tverase/",
    ".prefect/",
    "/outputs/",
    "/work/",
    "/mlflow.db",
    "/mlartifacts/",
    "/dvc_plots/",
    "*.part",
    ".env",
)


def init(name: str, kind: str, model: str) -> list[Path]:
    """Write the files of a new project into the current folder; all of them are new, and all or none are written."""
    concept = Path("concepts") / f"{slug(name)}.yaml"
    judge = embedded_judge(name, model)
    texts = {
        concept: draft(name, kind, concept) if judge is None else written(resolve(name).concepts[0], judge),
        PARAMS: params_text(concept, model, stable_diffusion=judge is None),
        PREFECT: _template("prefect.yaml"),
        IGNORE: "".join(f"{line}\n" for line in IGNORED),
    }
    if there := [path for path in (*texts, DVC) if path.exists() or path.is_symlink()]:
        listed = ", ".join(str(path) for path in there)
        raise ConfigError(f"{listed} would be overwritten; `tverase init` needs a folder without these files.")
    with _all_or_none((*texts, DVC)):
        for path, text in texts.items():
            write_text(path, text)
        Params.load(PARAMS)
        write_text(DVC, pipeline(PARAMS, DVC, Path.cwd()))
    return [*texts, DVC]


def params_text(concept: Path, model: str, *, stable_diffusion: bool) -> str:
    """params.yaml; with the settings of 512 pixels for a real Stable Diffusion."""
    values = {"concept": concept.as_posix(), "model": json.dumps(model), "device": device()}
    return _template("params.yaml").format(**values) + (_template("stable-diffusion.yaml") if stable_diffusion else "")


def embedded_judge(name: str, model: str) -> Path | None:
    """The folder of the embedded judges beside an embedded model, if they know the concept."""
    folder = Path(model).expanduser().parent / "judges"
    known = (folder / "object.safetensors").is_file() and name in known_names()
    return folder if known and (resolve(name).concepts[0].judge or {}).get("kind") == JUDGE["kind"] else None


def written(concept: Concept, judges: Path) -> str:
    """A concept of the embedded vocabulary as a concept file, with the judges in the folder `judges`."""
    lists = ("names", "synonyms", "compositions", "tuning", "templates", "neighbours")
    content = {
        "name": concept.name,
        "kind": concept.kind,
        **{key: list(getattr(concept, key)) for key in lists},
        "retain": {prompt.text: list(prompt.labels) for prompt in concept.retain},
        "judge": {**JUDGE, "folder": str(judges)},
        "label": concept.label,
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def device() -> str:
    """The fastest device of this machine."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def _all_or_none(paths: tuple[Path, ...]) -> Iterator[None]:
    """Remove `paths` if the block fails, and the folders that it has made for them."""
    made = {path.parent for path in paths if not path.parent.exists()}
    try:
        yield
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        for folder in made:
            if folder.exists():
                folder.rmdir()
        raise


def _template(name: str) -> str:
    return files("flows").joinpath("templates", name).read_text(encoding="utf-8")
