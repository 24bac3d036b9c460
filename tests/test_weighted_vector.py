"""The activation-weighted vector of models of each kind, the samples that it needs, and the step that makes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pico_flow import write_pico_flow

from tasks import build_vector, finetune, make_images
from tverase.build import forget_samples, retain_samples
from tverase.config import Params
from tverase.errors import ConfigError
from tverase.models.folder import open_model
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.vector import TaskVector
from tverase.vectors.activations import Samples, blocks_of, change, weighted


@pytest.fixture(scope="module")
def flow(pico: TextToImage, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A transformer with flow matching."""
    return open_model(write_pico_flow(pico, tmp_path_factory.mktemp("flow") / "pico-flow"))


@pytest.mark.parametrize("kind", ["pico", "flow", "digits"])
def test_models_of_each_kind(kind: str, request: pytest.FixtureRequest) -> None:
    """With and without text: the base stays as it was, no hook is left, and alpha keeps its meaning."""
    model = request.getfixturevalue(kind)
    rng = generator(0, f"tests/activations/{kind}")
    prompts = ["3", "7"] if kind == "digits" else ["a bomb", "an owl"]
    forget, retain = (
        (model.start(6, rng), model.encode([prompt]).expand(6, *model.null.shape[1:])) for prompt in prompts
    )
    sets = forget_samples(model, [forget], 0), retain_samples(model, *retain, 0)
    tau = TaskVector(
        {k: 0.02 * torch.randn(w.shape, generator=rng) * w.std() for k, w in model.weights().items() if w.numel() > 1}
    )
    before = {key: weight.clone() for key, weight in model.weights().items()}
    found = weighted(model, tau, *sets, 3.0, 0)
    assert found.delta.keys() == tau.delta.keys()
    factor, blocks = float(found.about["factor"]), blocks_of(model, tau)
    kept = {key for key, delta in found.delta.items() if torch.allclose(delta, factor * tau.delta[key])}
    assert len(blocks) > 10
    assert kept == tau.delta.keys() - {b.weight for b in blocks} - {b.bias for b in blocks}
    assert all(torch.equal(weight, before[key]) for key, weight in model.weights().items())
    assert not any(module._forward_pre_hooks for module in model.network.modules())
    assert change(model, found, sets[0], 0) == pytest.approx(change(model, tau, sets[0], 0), rel=0.05)


def test_shares_without_a_caption(pico: TextToImage) -> None:
    latents = torch.arange(10.0).view(10, 1)
    words = pico.encode(["a bomb", "a red bomb"])
    forget = forget_samples(pico, [(latents, words)], 0)
    retain = retain_samples(pico, latents, pico.encode([f"a {n} owl" for n in ("red", "blue") * 5]), 0)

    def empty(found: Samples) -> list[bool]:
        return [torch.equal(row, pico.null[0]) for row in found.cond]

    assert sorted(forget.latents.flatten().tolist()) == sorted([*range(10)] * 2)
    assert sum(empty(forget)) == 10
    assert sorted(retain.latents.flatten().tolist()) == [*range(10)]
    assert sum(empty(retain)) == 2
    own = pico.encode(["a red owl", "a blue owl"])
    for latent, row, none in zip(retain.latents.flatten().int().tolist(), retain.cond, empty(retain), strict=True):
        assert none or torch.equal(row, own[latent % 2])


@pytest.fixture
def steps(small_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Params]:
    """The step build_vector with settings, after those before it."""
    monkeypatch.chdir(tmp_path)
    for step in (make_images.STEP, finetune.STEP):
        step.execute(Params.parse(small_run))

    def made(**settings: Any) -> Params:
        params = Params.parse({**small_run, "build_vector": settings})
        build_vector.STEP.execute(params)
        return params

    return made


def test_the_step(steps: Callable[..., Params]) -> None:
    plain = steps(weighting="none")
    assert set(build_vector.STEP.inputs(plain)) == {"model", "finetuned"}
    path = build_vector.STEP.outputs(plain)["vector"]
    tau = TaskVector.load(path)
    assert set(tau.about) == {"concept"}
    heavy = steps(weighting="activations", retain_weight=2)
    assert set(build_vector.STEP.inputs(heavy)) == {"model", "finetuned", "images"}
    found = TaskVector.load(path)
    assert (found.about["weighting"], found.about["retain_weight"], found.base) == ("activations", "2", tau.base)
    assert found.delta.keys() == tau.delta.keys()
    assert not any(torch.equal(found.delta[key], delta) for key, delta in tau.delta.items() if delta.any())


@pytest.mark.parametrize(
    ("section", "said"),
    [({"weighting": "all"}, "'none' or 'activations'"), ({"retain_weight": -1}, "build_vector.retain_weight")],
)
def test_mistakes_are_named(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Params.parse({"build_vector": section})
    assert said in str(caught.value)
