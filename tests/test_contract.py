"""The model contract is open: what is outside of models/ knows no family, and a new family is one new plug-in."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from pico_flow import write_pico_flow

from tverase.errors import ModelError
from tverase.models.adapters import adapter_module
from tverase.models.base import Meter
from tverase.models.folder import check_folder, open_model, write_edited
from tverase.rng import generator
from tverase.sampling import Sampling, draw

OF_A_FAMILY = re.compile(r"scheduler\.config|\.unet\b|StableDiffusion|isinstance\(\s*(self\.)?\w*model\b")
EXEMPT = ("models/", "noise.py", "pretrain/")


def lines_of_a_family(text: str) -> list[str]:
    """The lines that only one family of models could mean."""
    return [line.strip() for line in text.splitlines() if OF_A_FAMILY.search(line)]


def test_nothing_outside_of_models_knows_a_family() -> None:
    library = ROOT / "tverase"
    names = {path: path.relative_to(library).as_posix() for path in sorted(library.rglob("*.py"))}
    outside = [path for path, name in names.items() if not name.startswith(EXEMPT)]
    assert len(outside) > 50
    found = {names[path]: lines for path in outside if (lines := lines_of_a_family(path.read_text(encoding="utf-8")))}
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "model.scheduler.config.beta_start",
        "model.unet(x)",
        "StableDiffusionPipeline()",
        "if isinstance(model, Digits):",
        "isinstance(self.model, MMDiT)",
        "isinstance(base_model, MMDiT)",
    ],
)
def test_such_lines_are_noticed(line: str) -> None:
    assert lines_of_a_family(line)


@pytest.mark.parametrize("line", ["model.network.modules()", "isinstance(settings, Digits)", "scheduler.step(x)"])
def test_other_lines_are_not(line: str) -> None:
    assert not lines_of_a_family(line)


@pytest.fixture(scope="module")
def flow_folder(pico: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a transformer with flow matching."""
    return write_pico_flow(pico, tmp_path_factory.mktemp("contract") / "flow")


@pytest.fixture(scope="module", params=["unet", "transformer", "digits"])
def model(request: pytest.FixtureRequest, pico: Any, digits: Any, flow_folder: Path) -> Any:
    """One model of each family, with a meter of its own."""
    opened = {"unet": lambda: pico, "transformer": lambda: open_model(flow_folder), "digits": lambda: digits}
    return opened[request.param]().metered(Meter())


@pytest.fixture(scope="module")
def prompts(model: Any) -> list[str]:
    """Two prompts that the model understands."""
    return ["3", "8"] if hasattr(model, "codes") else ["a bomb", "an owl in noto style"]


def test_conditionings_are_rows(model: Any, prompts: list[str]) -> None:
    cond = model.encode(prompts)
    assert cond.shape[0] == 2
    assert torch.allclose(cond[1:], model.encode(prompts[1:]), atol=1e-6)
    assert torch.allclose(model.null, model.encode([""]), atol=1e-6)
    assert model.null.shape[1:] == cond.shape[1:]
    noised, t = model.start(2, generator(0, "tests/contract")), torch.tensor([700, 20])
    whole = model.denoise(noised, t, cond)
    parts = [model.denoise(noised[i : i + 1], t[i : i + 1], cond[i : i + 1]) for i in range(2)]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-5)


def test_weights_are_those_of_the_network(model: Any, prompts: list[str]) -> None:
    assert model.weights().keys() == dict(model.network.named_parameters()).keys()
    given = model.start(2, generator(0, "tests/contract")), torch.tensor([700, 20]), model.encode(prompts)
    before = model.denoise(*given)
    other = model.with_weights({key: 0.9 * weight for key, weight in model.weights().items()})
    assert not torch.allclose(other.denoise(*given), before)
    assert torch.equal(model.denoise(*given), before)
    assert other.meter is model.meter


def test_the_noise_process_fits_the_latents(model: Any) -> None:
    latents, noise = torch.unbind(torch.stack([model.start(3, generator(i, "tests/contract")) for i in range(2)]))
    t = torch.tensor([0, model.noise.timesteps // 2, model.noise.timesteps - 1])
    noised = model.noise.corrupt(latents, t, noise)
    assert noised.shape == model.noise.target(latents, t, noise).shape == latents.shape
    assert model.noise.weight(t).shape == (3,)
    far = (noised - latents).flatten(1).norm(dim=1)
    assert far[0] < far[1] < far[2]


def test_the_sampler_has_what_drawing_needs(model: Any, prompts: list[str]) -> None:
    sampler = model.sampler(3)
    assert len(sampler.timesteps) == 3
    assert all(hasattr(sampler, name) for name in ("init_noise_sigma", "scale_model_input", "step"))
    model.meter.images = model.meter.evaluations = 0
    images = draw(model, model.encode(prompts), generator(0, "tests/contract"), Sampling(steps=3, guidance=2.0))
    assert images.shape[:2] == (2, 3)
    assert images.abs().max() <= 1
    assert (model.meter.images, model.meter.evaluations) == (2, 2 * 2 * 3)


def test_a_space_gives_conditionings(model: Any, prompts: list[str]) -> None:
    space = model.space("a {}")
    anchor = space.anchor("3" if hasattr(model, "codes") else "bomb")
    points = space.start(anchor, torch.tensor([0.5]), torch.tensor([0.6]), generator(0, "tests/contract/space"))
    cond = space.cond(points.requires_grad_())
    assert cond.shape == model.null.shape
    (gradient,) = torch.autograd.grad(cond.square().sum(), points)
    assert gradient.isfinite().all()


def test_each_folder_finds_its_adapter(pico_folder: Path, flow_folder: Path) -> None:
    assert adapter_module(pico_folder) == "tverase.models.stable_diffusion"
    assert adapter_module(flow_folder) == "tverase.models.stable_diffusion_3"


ADAPTER = '''"""Boxes: a family of one weight."""

import json
import shutil


class Box:
    def __init__(self, size):
        self.size = size


class Boxes:
    KINDS = ("BoxPipeline",)

    def check(self, folder, *, finite=True):
        pass

    def open(self, folder, device="cpu"):
        return Box(json.loads((folder / "box.json").read_text()))

    def write(self, source, weights, out):
        shutil.copytree(source, out)
        (out / "box.json").write_text(json.dumps(weights["size"]))
        return ()
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution with two model families: boxes, and one that cannot be imported."""
    site = tmp_path / "site"
    about = site / "boxes-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "boxes_family.py").write_text(ADAPTER)
    (site / "broken_family.py").write_text("raise RuntimeError('no such driver')\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: boxes\nVersion: 1.0\n")
    entries = "[tverase.models]\nboxes = boxes_family:Boxes\nbroken = broken_family:Broken\n"
    (about / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(str(site))
    folder = tmp_path / "box"
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "BoxPipeline"}))
    (folder / "box.json").write_text("3")
    return folder


def test_another_family_is_one_plug_in(installed: Path, tmp_path: Path, pico_folder: Path) -> None:
    assert open_model(installed).size == 3
    check_folder(installed)
    write_edited(installed, {"size": 5}, tmp_path / "edited")
    assert open_model(tmp_path / "edited").size == 5
    assert adapter_module(installed) == "boxes_family"
    assert open_model(pico_folder).weights()  # a broken plug-in of somebody else is in nobody's way


def test_an_unknown_family_is_refused_with_the_choices(installed: Path) -> None:
    (installed / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelError) as caught:
        open_model(installed)
    message = str(caught.value)
    assert "holds a FluxPipeline; tverase edits: " in message
    choices = message.partition("tverase edits: ")[2].partition(".")[0].split(", ")
    assert {"StableDiffusionPipeline", "StableDiffusion3Pipeline", "DigitsPipeline", "BoxPipeline"} <= set(choices)
    assert "a plug-in of kind model" in message
    assert "no such driver" in message
