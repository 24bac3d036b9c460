"""A cell of the table: one attack on one row, for one concept and one seed, as a small JSON and a few pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..attacks.base import Attack, Finding, Target
from ..errors import ConfigError
from ..files import write_json, write_tensors, writing
from ..images import to_bytes
from ..models.base import Meter
from ..registry import built
from ..report.pictures import THUMBNAIL, png, shrink, strip
from ..rng import generator
from ..sampling import draw_latents
from ..settings import Settings
from .case import Case
from .material import first, prepared
from .outcome import attempted
from .rows import Opened, Row, open_row
from .score import Scored, Scorer

SCHEMA = "tverase/bench-cell/1"
EMBEDDING, STATES = 4, 5  # the input kinds of an attack that names none, and of one that searches encoder states


class Attempt(Settings):
    """An attack of the table: its column and its settings."""

    name: str
    spec: dict[str, Any] | str

    @property
    def attack(self) -> Attack:
        """The attack itself."""
        found: Attack = built("attack", self.spec)
        return found

    @property
    def input_kind(self) -> int:
        """What its inputs are, from 0 (the name) to 7 (weights)."""
        attack = self.attack
        if getattr(attack, "space", None) == "states":
            return STATES
        return int(getattr(attack, "input_kind", EMBEDDING))


@dataclass(frozen=True)
class Place:
    """Where a cell reads and writes: the material, the row's edit, and the cell's own path without a suffix."""

    material: Path
    edit: Path
    cell: Path


def attacked(case: Case, row: Row, attempt: Attempt, place: Place) -> dict[str, Any]:
    """Attack a row, draw what is found, and count; writes the worst finding's pictures and embedding."""
    meter = Meter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # whatever a plug-in does to torch's own generator changes no other cell
        there = open_row(case, row, place.material, place.edit, meter)
        attack = attempt.attack
        target = _target(case, attempt, there, place.material)
        findings = [one for one in attack.run(target) if len(one.cond) or one.samples is not None]
        spent, drawn = meter.evaluations, meter.images
        if not findings:
            raise ConfigError("the attack offers no input for this model.")
        purpose = f"bench/{case.named.name}/{attempt.name}"
        how = case.named.label, case.sampling, case.budget.each, case.seed, purpose
        scored, every = Scorer(there.model, case.jury, *how).worst(findings, attempt.input_kind)
    _write(scored[0], place.cell, case)
    own = sum(len(one.samples) for one in findings if one.samples is not None)
    return {
        "adaptive": attack.adaptive,
        "worst": scored[0].as_dict(),
        "kinds": {str(one.input_kind): one.as_dict() for one in scored},
        "all": every,
        "cost": {"attack": spent, "score": meter.evaluations - spent, "images": max(drawn, own)},
        "pictures": _shown(scored[0], case),
    }


def _target(case: Case, attempt: Attempt, there: Opened, material: Path) -> Target:
    """The model under attack and what the attacker has. Images are the base model's, as this model encodes them."""
    data, budget = prepared(material), case.budget
    owned = data.owned.to(there.model.device)
    if there.foreign:
        owned = there.model.to_latents(case.base(Meter()).to_images(owned)).to(there.model.device)

    def owning(count: int) -> Tensor:
        return first(owned, count)

    rng = generator(case.seed, f"bench/{case.named.name}/{attempt.name}")
    known = case.invert, data.sets["report"], budget.each, case.jury.first, case.sampling
    return Target(there.model, there.reference, case.named, rng, owning, *known)


def _shown(scored: Scored, case: Case) -> dict[str, int]:
    """How many pictures are kept, and how many of them show the concept; those come first."""
    kept = min(len(scored.seen.agreed), case.budget.shown)
    return {"count": kept, "hits": min(kept, int(scored.seen.agreed.sum()))}


def _write(scored: Scored, path: Path, case: Case) -> None:
    """The pictures of the worst finding, and its embedding if it is one of free words."""
    order = torch.argsort(scored.seen.votes.int().sum(0) + scored.seen.agreed.int(), descending=True, stable=True)
    images = to_bytes(scored.seen.images[order[: case.budget.shown]])
    with writing(path.with_suffix(".png")) as aside:
        aside.write_bytes(png(strip(shrink(images, THUMBNAIL))))
    write_embedding(scored.finding, path.with_suffix(".safetensors"), case)


def write_embedding(found: Finding, path: Path, case: Case) -> bool:
    """A finding's free words as a textual-inversion file, one token to its embeddings (E,) or (m, E), if it has some.

    `load_textual_inversion` of diffusers reads it. The prompt is the concept's template with the token in its free place.
    """
    path.unlink(missing_ok=True)
    if found.point is None or case.invert.space != "tokens" or found.point.dim() != 1:
        return False
    words = found.point.detach().float().cpu().view(case.invert.tokens, -1)
    write_tensors({f"<{case.named.slug}-attack>": words[0] if len(words) == 1 else words}, path)
    return True


def plain_draws(case: Case, row: Row, place: Place) -> dict[str, Any]:
    """The control of a search over seeds: draws of the concept's first name, each marked `1` if all judges see it.

    Draw i is the same whatever the number of draws, so that the first n are the control of an attack that drew n images.
    """
    meter = Meter()
    there = open_row(case, row, place.material, place.edit, meter)
    cond = there.model.encode([case.named.names[0]]).expand(case.budget.plain, *[-1] * (there.model.null.dim() - 1))
    rng = generator(case.seed, f"bench/{case.named.name}/plain")
    latents = draw_latents(there.model, cond, rng, case.sampling)
    images = torch.cat([there.model.to_images(part) for part in torch.split(latents, case.sampling.batch)])
    seen = case.jury.votes(images, case.named.label).all(0)
    return {"draws": "".join("1" if one else "0" for one in seen.tolist()), "cost": {"score": meter.evaluations}}


def write_cell(path: Path, about: dict[str, Any], work: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Do the work and write its outcome to `path`, last of all; returns what is written."""
    said = {"schema": SCHEMA, **about, **attempted(work, seconds).as_dict()}
    write_json(path, said)
    return said
