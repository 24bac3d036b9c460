"""The rows of the table: the base model, controls, erasers at their own best strength, ours, and any model folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..concepts import Concept
from ..erasers.base import Guard, erased
from ..errors import ConfigError
from ..files import read_json
from ..models.base import Meter, Model
from ..registry import built
from ..settings import Settings
from ..vector import TaskVector
from .case import Case, kept, opened
from .material import prepared

Kind = Literal["base", "never-taught", "eraser", "ours", "folder"]
TAU, EDIT = "tau.safetensors", "edit.json"
CONTROLS: tuple[Kind, ...] = ("base", "never-taught")


class Row(Settings):
    """A row: where its model comes from.

    concepts: names of those that have the row; empty is all. eraser: settings of an eraser. hardened: whether its vector is hardened as ours is. recipe: of our own method, `robust` or
    `paper`. folder: of a finished model.
    """

    name: str
    kind: Kind
    concepts: tuple[str, ...] = ()
    eraser: dict[str, Any] | str | None = None
    hardened: bool = False
    recipe: Literal["robust", "paper"] = "robust"
    folder: str = ""

    def at(self, concept: Concept) -> "Row":
        """The row of one concept: `{concept}` in its folder is the concept's slug."""
        return self.model_copy(update={"folder": self.folder.replace("{concept}", concept.slug)})

    @property
    def made(self) -> bool:
        """Whether the row has to be made from the base model before its cells."""
        return self.kind in ("eraser", "ours") and not self.folder

    def content(self) -> dict[str, Any]:
        """What decides its model, as JSON: no name and no path."""
        return self.model_dump(mode="json", exclude={"name", "folder", "concepts"})


@dataclass(frozen=True)
class Opened:
    """The model of a row, and the one with the concept that an attacker has beside it.

    reference: the base model, or the row's own model if its text encoder is another one: words go through that encoder.
    foreign: whether its latents are not the base model's.
    """

    model: Model
    reference: Model
    foreign: bool = False


def open_row(case: Case, row: Row, material: Path, folder: Path, meter: Meter) -> Opened:
    """The row's model, which counts on `meter`; a `ConfigError` if the row could not be made."""
    base = case.base(meter)
    if row.kind == "base":
        return Opened(base, base)
    if not row.made:
        if not row.folder:
            raise ConfigError(f"the row {row.name} has no model folder; give one.")
        return beside(opened(row.folder, case.device).metered(meter), base, case)
    edit = read_json(folder / EDIT)
    if edit["state"] != "done":
        raise ConfigError(f"the row could not be made: {edit['why']}")
    return beside(erased(base, _edit_of(case, row, material, folder, edit), edit["alpha"]), base, case)


def _edit_of(case: Case, row: Row, material: Path, folder: Path, edit: dict[str, Any]) -> TaskVector | Guard:
    """The stored vector. A guard is made again, from the same images and the same seed, once in each thread."""
    if not edit["guard"]:
        return kept(("edit", str(folder), edit["key"]), lambda: TaskVector.load(folder / TAU))

    def again() -> Guard:
        found: Guard = built("eraser", row.eraser or "").run(prepared(material).material(case, Meter()))
        return found

    return kept(("edit", str(folder), edit["key"]), again)


@torch.no_grad()
def beside(model: Model, base: Model, case: Case) -> Opened:
    """A row's model with what an attacker has beside it: the base model, if both encode and decode alike."""
    shapes = [tuple(one.start(1, torch.Generator().manual_seed(0)).shape[1:]) for one in (model, base)]
    if shapes[0] != shapes[1]:
        raise ConfigError(
            f"the model has latents of {shapes[0]} and the base model {case.model} has {shapes[1]}; give the base model that "
            "it was made from with --base (or --model)."
        )
    names = [case.named.names[0], ""]
    mine, theirs = model.encode(names), base.encode(names)
    same = mine.shape == theirs.shape and bool(torch.equal(mine, theirs))
    latents = case.base(Meter()).start(1, torch.Generator().manual_seed(0))
    return Opened(model, base if same else model, foreign=not _alike(model, base, latents))


def _alike(model: Model, base: Model, latents: Tensor) -> bool:
    """Whether both make the same image of the same latents."""
    try:
        return bool(torch.equal(model.to_images(latents), base.to_images(latents)))
    except RuntimeError:
        return False
