"""Model cards: the licence of a source, and the card of an erased pipeline."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import sha256
from .locating import locate
from .reading import say, wrong_with

HEADER = 64 * 1024  # of a card; its metadata come first
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
SHOWN = 200  # files that were left out


def licence(where: str | Path) -> str:
    """What the model card says (`license:` in its header), or "unknown". A card that is not UTF-8 is read as far as it can be."""
    folder = locate(where)
    card = folder / "README.md"
    if wrong_with(card, folder) is not None:
        return "unknown"
    with card.open("rb") as handle:
        lines = handle.read(HEADER).decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
    for number, line in enumerate(lines):
        if number and line.strip() == "---":
            break
        if line.startswith("license:"):
            return _value(line.partition(":")[2], lines[number + 1 :])
    return "unknown"


def _value(stated: str, after: Sequence[str]) -> str:
    """The name behind `license:`, or the first of a list below it."""
    text = stated.split(" #")[0].strip()
    if not text and after and after[0].lstrip().startswith("- "):
        text = after[0].lstrip()[2:]
    text = text.strip().strip("[]").split(",")[0].strip().strip("'\"")
    return text if NAME.fullmatch(text) else "unknown"


@dataclass(frozen=True)
class ErasedCard:
    """The facts of the card of an erased pipeline.

    base: the model as the user named it. base_hash: the `weights_hash` of its edited part before.
    tau_hash: the sha256 of the task vector's file. left_out: the answer of `write_edited`.
    """

    concepts: Sequence[str]
    alpha: float
    base: str
    base_hash: str
    tau_hash: str
    licence: str
    left_out: Sequence[str] = ()

    @property
    def base_name(self) -> str:
        """A hub id as it is; of a folder only its last name, since the rest says where somebody keeps it."""
        path = Path(self.base).expanduser()
        return path.resolve().name if path.exists() else self.base

    def text(self, folder: Path) -> str:
        """The card of the pipeline in `folder`, whose weights are there already."""
        concepts = ", ".join(f"`{_plain(name)}`" for name in self.concepts)
        hashes = "\n".join(
            f"| {path.relative_to(folder).as_posix()} | `{sha256(path)}` |"
            for path in sorted(folder.rglob("*.safetensors"))
        )
        return TEXT.format(
            header=self._header(),
            concepts=concepts,
            base=_plain(self.base_name),
            alpha=f"{self.alpha:g}",
            base_hash=self.base_hash or "unknown",
            tau_hash=self.tau_hash,
            licence=self.licence,
            hashes=hashes,
            left_out=_listed(self.left_out),
        )

    def _header(self) -> str:
        fields = {
            "license": self.licence if NAME.fullmatch(self.licence) else "unknown",
            "library_name": "diffusers",
            "pipeline_tag": "text-to-image",
            "base_model": _plain(self.base_name),
            "tags": ["concept-erasure", "task-vector", "tverase"],
        }
        return "\n".join(f"{key}: {json.dumps(value)}" for key, value in fields.items())

    def write(self, folder: Path) -> None:
        """Write the card as README.md of the pipeline in `folder`."""
        (folder / "README.md").write_text(self.text(folder), encoding="utf-8")


def _plain(text: str) -> str:
    """A name for one line of Markdown."""
    return re.sub(r"[`|\s]+", " ", say(text)).strip()[:200]


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "Every file of the base model was written."
    shown = "\n".join(f"- `{_plain(name)}`" for name in names[:SHOWN])
    more = f"\n- and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"These files of the base model were not written, because they are not files of the pipeline's parts:\n\n{shown}{more}"


TEXT = """---
{header}
---

# {base} without {concepts}

This model is an edited copy of `{base}`. The edit removes {concepts}.

## Edit

The denoiser's weights are theta = theta_0 - alpha * tau. The vector tau is the edit at strength 1; the report names
the method that made it. All other parts are copies of the base model's.

| what | value |
|---|---|
| alpha | {alpha} |
| sha256 of the task vector (tau.safetensors) | `{tau_hash}` |
| hash of the base weights theta_0 | `{base_hash}` |

## Evaluation

This card is written before the evaluation. `metrics.json` and `report.html` of the same run hold the results: the
recovery rate of each kind of input with its interval, and the retain accuracy before and after. Without them nothing is
known about how well the edit works.

## Limits

- The edit changes the denoiser alone. The text encoder still knows the concept's name.
- An evaluation covers the inputs and attacks that it lists. Others may recover the concept.
- Whoever has the base weights, or enough images of the concept, can bring it back by training.
- Other concepts can be drawn less well than by the base model.

## Files

Licence of the base model: {licence}. Licence and notice texts of the base model lie beside this card, if it has any.

| weights | sha256 |
|---|---|
{hashes}

{left_out}
"""
