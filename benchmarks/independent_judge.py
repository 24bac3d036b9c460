"""A second opinion: do our judges and a probe on ImageNet features see the same? `python -m benchmarks.independent_judge`.

Needs the extra `judge`. Images that fool our own judge would show here as disagreement.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn import functional

from tasks._main import quiet
from tverase.bounds import Bound
from tverase.files import read_json
from tverase.judges.base import Judge, shows, verdicts
from tverase.judges.cnn import CnnJudge
from tverase.judges.probe import ProbeJudge
from tverase.models.folder import open_model
from tverase.pretrain.judges import Kind, renderings
from tverase.pretrain.probe import fitted_probes
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.vector import TaskVector
from tverase.world.concepts import concept, pairs
from tverase.world.sprites import load_sprites
from tverase.world.vocabulary import vocabulary

from . import say

MODEL, PROBES, GOAL = "models/emoji-sd", Path("models/probes"), 0.9
EPSILON = 16 / 255  # of pixels in [-1, 1]: the customary 8/255 of the whole range
WORDS = vocabulary()


def main() -> None:
    """Renderings, the base model's images, and the erased model's if there is one."""
    quiet()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true", help="fit the probes anew, minutes")
    parser.add_argument("--concept", default="bomb")
    args = parser.parse_args()
    if args.fit:
        for kind, probe in fitted_probes(load_sprites(Path("data/emoji")), WORDS, 0).items():
            probe.save(PROBES / f"{kind}.safetensors")
    judges = {k: CnnJudge.load(Path(f"models/judges/{k}.safetensors")) for k in get_args(Kind)}
    probes = {k: ProbeJudge.load(PROBES / f"{k}.safetensors") for k in get_args(Kind)}
    erased = Path(f"outputs/{args.concept}")
    if (erased / "erased").exists():
        require_base(erased / "tau.safetensors")
    everyone = [*judges.items(), *probes.items()]
    value = {**on_renderings(everyone), **on_drawings(judges, probes), **on_fooled(args.concept, judges, probes)}
    if (erased / "erased").exists():
        value |= on_erased(args.concept, judges, probes)
    accuracy = {judge.name: judge.accuracy for judge in (*judges.values(), *probes.values())}
    say("independent_judge", value, {"agreement_object": GOAL}, ok=value["agreement_object"] >= GOAL, judges=accuracy)


def require_base(vector: Path) -> None:
    """Figures of an erased model mean nothing beside a base that it was not made from: `WrongBase`."""
    TaskVector.load(vector).apply(open_model(MODEL).weights(), 0.0)


def on_renderings(judges: Sequence[tuple[Kind, Judge]]) -> dict[str, Any]:
    """Accuracy of our judges and of the probes on unseen renderings, and on the same after the autoencoder."""
    sprites, model = load_sprites(Path("data/emoji")), open_model(MODEL)
    found = {}
    for kind, judge in judges:
        sample = renderings(kind, 500, sprites, WORDS, generator(1, f"independent_judge/{kind}"))
        decoded = model.to_images(model.to_latents(sample.images))
        for name, images in (("renderings", sample.images), ("decoded", decoded)):
            found[f"{name} {judge.name}"] = _told(f"{judge.name}, {name}", verdicts(judge, images) == sample.labels)
    return found


def on_drawings(judges: dict[Any, CnnJudge], probes: dict[Any, ProbeJudge]) -> dict[str, Any]:
    """One image of each trained (object, style) pair: what each judge recognises, and how often both say the same."""
    prompts = [p for p in pairs(WORDS) if p.labels not in set(WORDS.held_out_pairs)]
    model = open_model(MODEL)
    images = draw(model, model.encode([p.text for p in prompts]), generator(2, "independent_judge"), Sampling())
    found = {}
    for kind in judges:
        wanted = [p.labels[0 if kind == "object" else 1] for p in prompts]
        labels = torch.tensor([judges[kind].classes.index(w) for w in wanted])
        ours, other = verdicts(judges[kind], images), verdicts(probes[kind], images)
        found[f"cnn_{kind}"] = _told(f"our judge, {kind}, drawn", ours == labels)
        found[f"probe_{kind}"] = _told(f"probe, {kind}, drawn", other == labels)
        found[f"agreement_{kind}"] = _told(f"both say the same, {kind}", ours == other)
    return found


def on_fooled(name: str, judges: dict[Any, CnnJudge], probes: dict[Any, ProbeJudge]) -> dict[str, Any]:
    """The control: renderings of other things, changed by little until our judge sees the concept. The probe must not."""
    kind: Kind = "object" if name in WORDS.objects else "style"
    sample = renderings(kind, 120, load_sprites(Path("data/emoji")), WORDS, generator(4, "independent_judge/fooled"))
    wanted = judges[kind].classes.index(name)
    others = sample.labels != wanted
    clean, truth = sample.images[others], sample.labels[others]
    images = fooling(judges[kind], clean, wanted)
    ours, other = verdicts(judges[kind], images), verdicts(probes[kind], images)
    fooled = ours == wanted
    return {
        "fooled_cnn": _told(f"made to look like {name}, our judge sees it", fooled),
        "fooled_probe": _told(f"of those, the probe sees {name}", other[fooled] == wanted),
        "fooled_probe_truth": _told("of those, the probe still sees what was rendered", other[fooled] == truth[fooled]),
    }


def fooling(judge: CnnJudge, images: Tensor, wanted: int) -> Tensor:
    """Signed gradient steps towards a class within EPSILON of each pixel (Madry et al., 2018, arXiv:1706.06083)."""
    change, labels = torch.zeros_like(images), torch.full((len(images),), wanted)
    for _ in range(20):
        change.requires_grad_(True)
        loss = functional.cross_entropy(judge.net(images + change), labels)
        (gradient,) = torch.autograd.grad(loss, change)
        change = (change.detach() - EPSILON / 8 * gradient.sign()).clamp(-EPSILON, EPSILON)
        change = (images + change).clamp(-1, 1) - images
    return images + change


def on_erased(name: str, judges: dict[Any, CnnJudge], probes: dict[Any, ProbeJudge]) -> dict[str, Any]:
    """Recovery of an erased concept by both judges, on 60 images of its names."""
    alpha = read_json(Path(f"outputs/{name}/metrics.json"))["alpha"]
    wanted, found = concept(name, WORDS), {}
    kind: Kind = "object" if name in WORDS.objects else "style"
    for what, where in (("base", MODEL), ("erased", f"outputs/{name}/erased")):
        model = open_model(where)
        prompts = [wanted.names[i % len(wanted.names)] for i in range(60)]
        images = draw(model, model.encode(prompts), generator(3, "independent_judge"), Sampling())
        pair: tuple[tuple[str, Judge], ...] = (("cnn", judges[kind]), ("probe", probes[kind]))
        for who, judge in pair:
            found[f"{what}_{who}"] = _told(f"{name} by its names, {what}, {who}", shows(judge, images, name))
    return {"alpha": alpha, **found}


def _told(what: str, right: Tensor) -> float:
    """Print a share with its interval; return it."""
    bound = Bound(int(right.sum()), len(right))
    print(f"{what}: {bound.rate:.1%} ({bound.low:.1%} to {bound.high:.1%}, {bound.trials} images)", flush=True)
    return round(bound.rate, 4)


if __name__ == "__main__":
    main()
