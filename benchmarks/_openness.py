"""The package examples/plugins, installed outside of the repository, and a Stable Diffusion of another shape."""

import ast
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from tverase.files import sha256
from tverase.models.build import Shape, autoencoder, text_encoder, unet
from tverase.models.tokens import train_tokenizer
from tverase.models.writing import settle_defaults

ROOT = Path(__file__).parents[1]
GUEST = ROOT / "examples" / "plugins"
PACKAGE = "tverase_examples"
PLUGINS = {
    "concept": "concepts/red.yaml",
    "judge": f"{PACKAGE}/hue.py",
    "attack": f"{PACKAGE}/random_search.py",
    "eraser": f"{PACKAGE}/empty_prompt.py",
    "model": f"{PACKAGE}/palette.py",
}
OURS = ("tverase", "tasks", "flows")

STRANGE = Shape(
    pixels=64,
    latent_channels=4,
    vae=(8, 8, 8, 8),
    unet=(16, 16),
    text_width=32,
    text_layers=1,
    tokens=77,
    heads=4,
    groups=4,
)
CONCEPT = {
    "name": "lighthouse",
    "names": ["a photo of a lighthouse", "a lighthouse"],
    "synonyms": ["a tower with a lamp at the sea"],
    "compositions": ["a lighthouse at night", "a lighthouse in fog", "a red lighthouse", "a lighthouse on a rock"],
    "templates": ["a photo of a {}"],
    "retain": ["a photo of a boat", "a photo of a harbour", "a beach in summer", "a castle on a hill", "a red house"],
}
SMALL = {"words": 2, "steps": 2, "batch": 1, "images": 3}  # an attack


def installed(site: Path) -> Path:
    """Copy the package to `site` and describe it there as pip does, from its pyproject.toml."""
    shutil.copytree(GUEST, site, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((GUEST / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = site / f"{PACKAGE}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    return site


def with_palette(site: Path) -> Path:
    """Write the example's model folder by the example's own script."""
    subprocess.run([sys.executable, "make_palette.py", "models/palette"], cwd=site, check=True)
    return site / "models" / "palette"


def lines(path: Path) -> int:
    """The lines of a source."""
    return len(path.read_text(encoding="utf-8").splitlines())


def patches(path: Path) -> Iterator[str]:
    """Where a source reaches into a module that it imported: assignments to its attributes, `setattr`, `sys.modules`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(alias.asname or alias.name).partition(".")[0] for node in imports for alias in node.names}
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Attribute | ast.Subscript) and ast.unparse(target).partition(".")[0] in names:
                yield f"{path.name}:{node.lineno}: {ast.unparse(target)}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "object.__setattr__"):
            yield f"{path.name}:{node.lineno}: {ast.unparse(node)}"


def copied(folder: Path) -> Path:
    """A copy of tverase, tasks and flows, as a machine has it that never saw the repository."""
    for name in OURS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def sources(folder: Path) -> dict[str, str]:
    """A hash of every file of tverase, tasks and flows."""
    files = [path for name in OURS for path in sorted((folder / name).rglob("*")) if path.suffix != ".pyc"]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files if path.is_file()}


def write_strange(folder: Path, texts: list[str]) -> Path:
    """A StableDiffusionPipeline of 64 pixels, 77 tokens, PNDM and epsilon; its weights are random, in float32."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    tokenizer = train_tokenizer(texts, STRANGE.tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae, text, net = autoencoder(STRANGE), text_encoder(STRANGE, tokenizer), unet(STRANGE)
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=net, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder, safe_serialization=True)
    settle_defaults(folder)
    return folder


def write_strange_run(folder: Path, judge: dict[str, Any], label: str, texts: list[str]) -> Path:
    """The model, a concept file with this judge, and the one YAML that names both: small, and without demands."""
    write_strange(folder / "model", texts)
    concept = {**CONCEPT, "judge": judge, "label": label}
    (folder / "lighthouse.yaml").write_text(yaml.safe_dump(concept, sort_keys=False))
    attack = {**SMALL, "kind": "concept-inversion"}
    params = {
        "concepts": ["lighthouse.yaml"],
        "model": "model",
        "sampling": {"steps": 3, "guidance": 7.5, "batch": 16},
        "make_images": {"images": 6, "retain_images": 6, "at_least": 0},
        "finetune": {"steps": 2, "batch": 2, "lr": 1e-5},
        "invert": {"bins": [[-0.2, 0.2], [0.9, 0.98]], "steps": 2, "batch": 1, "accept": 0, "images": 2},
        "harden": {"steps": 2, "batch": 2, "max_rounds": 1, "inputs": 4, "look": 2, "images": 2, "attacks": [attack]},
        "choose_strength": {"epsilon": 0.99, "confirm_at": 1, "delta": 1, "alpha_max": 1, "round": 4, "rounds": 1}
        | {"explore": 2, "retain_images": 6, "attacks": [attack]}
        | {"frontier": [0, 1], "frontier_images": 2, "frontier_retain_images": 4},
        "evaluate": {"images": 5, "images_each": 2, "retain_images": 6, "shown": 2}
        | {"attacks": {"attack": SMALL, "weaker": SMALL}},
    }
    path = folder / "my.yaml"
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    return path
