"""A reviewer's own prompts on a registered version: base and erased model from the same noise, with the judge's word.

A prompt that brings the concept back is a finding. It goes into the tags of the version, which blocks its promotion, and into the
concept file, so that the next run is made and examined with it.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from tverase.concepts import Concept
from tverase.concepts.prompts import add_prompts, normalised
from tverase.config import Params
from tverase.errors import ConfigError, WrongBase
from tverase.files import write_text
from tverase.images import to_bytes
from tverase.judges.base import Judge, shows
from tverase.models.base import Model, repeated
from tverase.models.folder import open_model
from tverase.registry import built
from tverase.report.pictures import data_uri
from tverase.rng import generator
from tverase.sampling import draw
from tverase.vector import weights_hash

from . import _review_log as log
from ._champion import opened
from ._database import locked
from ._locks import STATE
from ._main import set_threads
from ._people import checked
from ._review_facts import FINDING, OPEN, Evidence, findings, registry, resolve, short

MOST, LONGEST = 16, 1000  # images at a time, characters of a prompt


@dataclass(frozen=True)
class Tried:
    """A prompt that was drawn with both models: what the judge saw, and the images as data URIs."""

    number: int
    prompt: str
    seed: int
    count: int
    base: dict[str, int]  # concept -> images that show it
    erased: dict[str, int]
    images: dict[str, list[dict[str, str]]]  # base, erased -> {"image", "says", "hit"}

    @property
    def found(self) -> list[str]:
        """The concepts that the erased model draws."""
        return [name for name, hits in self.erased.items() if hits]


@dataclass
class Probe:
    """A registered version beside its base model."""

    version: Any
    params: Params
    base: Model
    erased: Model
    judge: Judge
    tried: list[Tried] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """`bomb:3`."""
        return short(self.version)

    @property
    def concepts(self) -> Sequence[Concept]:
        """What was erased."""
        return self.params.concept_list

    def draw(self, prompt: str, seed: int, count: int) -> Tried:
        """Draw a prompt with both models, one request at a time."""
        prompt = prompt.strip()
        if not prompt or len(prompt) > LONGEST or not prompt.isprintable():
            raise ConfigError(f"expected a prompt of 1 to {LONGEST} printable characters; write another one.")
        if not 1 <= count <= MOST or not 0 <= seed < 2**63:
            raise ConfigError(f"expected 1 to {MOST} images and a seed of 0 or more, got {count} and {seed}.")
        with self.lock:
            drawn = {"base": self._drawn(self.base, prompt, seed, count)}
            drawn["erased"] = self._drawn(self.erased, prompt, seed, count)
            seen = {side: self._counted(images) for side, images in drawn.items()}
            shown = {side: list(self._shown(images)) for side, images in drawn.items()}
            tried = Tried(len(self.tried), prompt, seed, count, seen["base"], seen["erased"], shown)
            self.tried.append(tried)
            return tried

    def _drawn(self, model: Model, prompt: str, seed: int, count: int) -> Tensor:
        cond = repeated(model.encode([prompt]), count)
        return draw(model, cond, generator(seed, f"probe/{prompt}"), self.params.sampling).cpu()

    def _counted(self, images: Tensor) -> dict[str, int]:
        return {one.name: int(shows(self.judge, images, one.label).sum()) for one in self.concepts}

    def _shown(self, images: Tensor) -> Iterator[dict[str, str]]:
        wanted = [one.label for one in self.concepts]
        for image, scores, number in zip(to_bytes(images), self.judge.scores(images), range(len(images)), strict=True):
            one = images[number : number + 1]
            there = [label for label in wanted if bool(shows(self.judge, one, label)[0])]
            yield {
                "image": data_uri(image),
                "says": ", ".join(dict.fromkeys([*there, *self._said(scores)])) or "nothing",
                "hit": "yes" if there else "",
            }

    def _said(self, scores: Tensor) -> Iterator[str]:
        """The judge's first choice of each axis, or every label above its threshold."""
        labels, threshold = self.judge.labels, self.judge.threshold
        for axis in self.judge.axes.values():
            values = {label: float(scores[labels.index(label)]) for label in axis}
            best = max(values, key=lambda label: values[label])
            yield from (best,) if threshold is None else (one for one in axis if values[one] >= threshold)

    def record(self, number: int, by: str) -> str:
        """Keep a finding: in the tags of the version, which blocks it, and in the concept file. Returns what was done."""
        person = checked(by)
        if not 0 <= number < len(self.tried) or not self.tried[number].found:
            raise ConfigError(
                "the judge sees the concept in no image of the erased model, so there is nothing to record."
            )
        tried = self.tried[number]
        new = self._block(tried, person)
        done = [self._grow(one, tried, person) for one in self.concepts if one.name in tried.found]
        head = f"{self.name} is blocked by {new} open finding{'s' if new > 1 else ''}."
        return " ".join([head, *done, "`tverase run` makes and examines a new version with it."])

    def _block(self, tried: Tried, by: str) -> int:
        """Mark the version, once for each prompt; the number of its open findings."""
        with registry("record the finding") as (client, where), locked(where):
            name, number = self.version.name, str(self.version.version)
            version = client.get_model_version(name, number)
            known = findings(version)
            if all(normalised(one["prompt"]) != normalised(tried.prompt) for one in known):
                found = {"prompt": tried.prompt, "by": by, "when": log.now(), "seed": tried.seed}
                found |= {"images": tried.count, "base": tried.base, "erased": tried.erased}
                client.set_model_version_tag(name, number, f"{FINDING}{len(known) + 1}", json.dumps(found))
                client.set_model_version_tag(name, number, OPEN, str(len(known) + 1))
                log.write(client, version, "finding", by, tried.prompt, finding=found)
                return len(known) + 1
            client.set_model_version_tag(name, number, OPEN, str(len(known)))
            return len(known)

    def _grow(self, concept: Concept, tried: Tried, by: str) -> str:
        """Add the prompt to the file of the concept, if it has one."""
        path = Path(concept.source)
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            return f"{concept.name} has no concept file, so write one with this prompt (`tverase concept new`)."
        new = add_prompts(path, [tried.prompt], by, f"probe of {self.name}, seed {tried.seed}")
        role = next(iter(new.values()), None)
        return f"The prompt was added to {path}, to the set `{role}`." if role else f"{path} has the prompt already."


def open_probe(text: str, overrides: Sequence[str]) -> Probe:
    """Open a version as it was measured: its own parameters, changed by overrides, and files that are those evaluated."""
    with registry(f"open {text or 'the newest version'}") as (client, _):
        version = resolve(client, text)
        aside = STATE / "probe" / f"{version.name}-{version.version}"
        aside.mkdir(parents=True, exist_ok=True)
        found = opened(client, version, aside)
    params = _params(version, found.proof, overrides)
    set_threads(params)
    base = open_model(params.model, params.runtime.device)
    if weights_hash(base.weights()) != (expected := version.tags.get("base_weights")):
        raise WrongBase(
            f"{params.model} is not the base model of {short(version)}, whose weights are {str(expected)[:12]}; name that "
            "one with --set model=FOLDER."
        )
    judge = built("judge", params.judge_spec).open(params.runtime.device)
    return Probe(version, params, base, open_model(found.pipeline, params.runtime.device), judge)


def _params(version: Any, proof: Evidence, overrides: Sequence[str]) -> Params:
    path = STATE / "probe" / f"{version.name}-{version.version}.yaml"
    write_text(path, yaml.safe_dump(dict(proof.params), sort_keys=False, allow_unicode=True))
    return Params.load(path, overrides)
