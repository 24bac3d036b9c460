"""A Stable Diffusion folder as a `Model`: opened safely, edited without being touched, drawn from as diffusers does."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tverase.errors import ConfigError, ModelError, NetworkError, TveraseError, UnsafeWeights
from tverase.files import sha256
from tverase.models.base import Meter
from tverase.models.folder import open_model, open_pipeline, write_edited
from tverase.models.text2image import TextToImage
from tverase.rng import generator
from tverase.sampling import Sampling, draw, draw_latents, guided, trajectory
from tverase.spaces.tokens import TokenSpace

UNET = "unet/diffusion_pytorch_model.safetensors"


def nudged(model: TextToImage, by: float = 0.02) -> dict[str, Tensor]:
    """Other weights: `model`'s, each a little away from where it was."""
    rng = generator(0, "tests/nudge")
    return {key: weight + by * torch.randn(weight.shape, generator=rng) for key, weight in model.weights().items()}


def answer(model: TextToImage, cond: Tensor | None = None) -> Tensor:
    """What the denoiser says to fixed noise."""
    noised = model.start(2, generator(0, "tests/answer"))
    return model.denoise(noised, torch.tensor([500, 20]), model.encode(["a bomb", "an owl"]) if cond is None else cond)


def test_other_weights_are_another_model(pico: TextToImage) -> None:
    before, stored = answer(pico), {key: weight.clone() for key, weight in pico.unet.state_dict().items()}
    other = pico.with_weights(nudged(pico))
    assert (answer(other) - before).abs().max() > 1e-3
    assert torch.equal(answer(pico), before)
    assert all(torch.equal(weight, stored[key]) for key, weight in pico.unet.state_dict().items())
    assert torch.equal(answer(other.with_weights(pico.weights())), before)
    assert other.text_encoder is pico.text_encoder


def test_denoising_is_differentiable_in_weights_and_conditioning(pico: TextToImage) -> None:
    weights = {key: weight.clone().requires_grad_() for key, weight in pico.weights().items()}
    cond = pico.encode(["a bomb", "an owl"]).requires_grad_()
    answer(pico.with_weights(weights), cond).square().sum().backward()
    assert [key for key, weight in weights.items() if weight.grad is None or not weight.grad.any()] == []
    assert cond.grad.abs().max() > 0
    assert not any(weight.requires_grad for weight in pico.unet.parameters())


def test_the_meter_is_shared_and_counts(pico: TextToImage) -> None:
    model = replace(pico, meter=Meter())
    edited = model.with_weights(nudged(model))
    answer(model)
    draw(edited, model.encode(["a bomb"] * 3), generator(0, "tests/meter"), Sampling(steps=4, guidance=3, batch=2))
    assert (model.meter.evaluations, model.meter.images) == (2 + 3 * 4 * 2, 3)
    assert edited.meter is model.meter


@pytest.mark.parametrize(
    ("template", "word"), [("a {}", "bomb"), ("a noto {}, on a blue background", "skull"), ("{}", "owl")]
)
def test_the_embedding_of_a_word_is_the_word(pico: TextToImage, template: str, word: str) -> None:
    space = TokenSpace(pico, template)
    points = torch.stack([space.anchor(word), space.anchor("fire")])
    assert torch.allclose(space.cond(points), pico.encode([template.format(word), template.format("fire")]), atol=1e-6)


def test_the_anchor_of_several_words_is_their_mean(pico: TextToImage) -> None:
    space = TokenSpace(pico)
    both = space.anchor("slot machine")
    assert torch.allclose(both, (space.anchor("slot") + space.anchor("machine")) / 2)
    assert not torch.equal(space.anchor("slot"), space.anchor("machine"))


def test_several_free_tokens(pico: TextToImage) -> None:
    space = TokenSpace(pico)
    points = torch.stack([space.anchor("slot"), space.anchor("machine")])[None]
    tokens = pico.tokenizer("a bomb bomb", padding="max_length", return_tensors="pt").input_ids[0]
    assert torch.allclose(pico.encode_tokens(tokens, slice(2, 4), points), pico.encode(["a slot machine"]), atol=1e-6)


def test_the_hook_is_gone_afterwards(pico: TextToImage) -> None:
    before = pico.encode(["a bomb"])
    space = TokenSpace(pico)
    point = (0.3 * torch.randn(1, len(space.anchor("bomb")), generator=generator(0, "tests/hook"))).requires_grad_()
    space.cond(point).sum().backward()
    assert point.grad.abs().max() > 0
    with pytest.raises((RuntimeError, ValueError)):
        space.cond(torch.zeros(1, 7))  # too narrow
    assert not pico.token_embedding._forward_hooks
    assert torch.equal(pico.encode(["a bomb"]), before)


@pytest.mark.parametrize("template", ["a bomb", "a {} and a {}", "a {}" + " on the left" * 8])
def test_templates_that_cannot_be_used(pico: TextToImage, template: str) -> None:
    with pytest.raises(ConfigError, match="the template"):
        TokenSpace(pico, template).cond(torch.zeros(1, 16))


SCHEDULERS = ["DPMSolverMultistepScheduler", "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"]
RANDOM_SCHEDULERS = ["EulerAncestralDiscreteScheduler", "DDPMScheduler"]


def scheduled(model: TextToImage, name: str) -> TextToImage:
    return replace(model, scheduler=getattr(diffusers, name).from_config(model.scheduler.config))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_drawing_equals_diffusers_own_pipeline(
    pico: TextToImage, pico_folder: Path, name: str, guidance: float
) -> None:
    model, prompts = scheduled(pico, name), ["a bomb", "an owl in noto style", ""]
    pipe = open_pipeline(pico_folder)
    pipe.scheduler = model.scheduler
    pipe.set_progress_bar_config(disable=True)
    noise = model.start(3, generator(5, "tests/equal"))
    theirs = pipe(prompts, latents=noise, guidance_scale=guidance, num_inference_steps=6, output_type="pt").images
    ours = draw(model, model.encode(prompts), generator(5, "tests/equal"), Sampling(steps=6, guidance=guidance))
    assert ((ours + 1) / 2 - theirs).abs().max() < 1e-3
    assert theirs.std() > 0.01


@pytest.mark.parametrize("name", SCHEDULERS + RANDOM_SCHEDULERS)
def test_the_same_rng_draws_the_same_bytes(pico: TextToImage, name: str) -> None:
    model, settings = scheduled(pico, name), Sampling(steps=5)
    cond = model.encode(["a bomb", "an owl"])
    first, again, other = (draw(model, cond, generator(seed, "tests/same"), settings) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-2


def test_the_batch_size_changes_nothing(pico: TextToImage) -> None:
    cond = pico.encode(["a bomb", "an owl", "a red apple", "a noto skull", "a car"])
    images = [draw(pico, cond, generator(0, "tests/batch"), Sampling(steps=4, batch=batch)) for batch in (1, 2, 64)]
    assert images[0].shape == (5, 3, 8, 8)
    assert torch.allclose(images[0], images[2], atol=1e-4)
    assert torch.allclose(images[1], images[2], atol=1e-4)
    assert (images[0][0] - images[0][1]).abs().max() > 1e-2


def test_guidance_zero_and_one_need_one_prediction(pico: TextToImage) -> None:
    model = replace(pico, meter=Meter())
    cond, null = model.encode(["a bomb"]), model.null

    def latents(cond: Tensor, guidance: float) -> Tensor:
        return draw_latents(model, cond, generator(0, "tests/one"), Sampling(steps=4, guidance=guidance))

    both = latents(cond, 1.0 + 1e-6)  # two predictions, of which the unconditional one counts for nothing
    assert model.meter.evaluations == 8
    assert torch.allclose(latents(cond, 1.0), both, atol=1e-4)
    assert torch.equal(latents(cond, 0.0), latents(null, 1.0))
    assert model.meter.evaluations == 8 + 3 * 4
    assert (latents(cond, 1.0) - latents(cond, 0.0)).abs().max() > 1e-4


def test_guided_is_linear() -> None:
    cond, null = torch.randn(2, 3, 4, generator=generator(0, "tests/guided"))
    assert torch.allclose(guided(cond, null, 1.0), cond)
    assert torch.equal(guided(cond, null, 0.0), null)
    assert torch.allclose(guided(cond, null, 3.0) - null, 3 * (cond - null))


def test_the_trajectory_yields_every_step(pico: TextToImage) -> None:
    start = pico.start(2, generator(0, "tests/steps"))
    steps = list(trajectory(pico, pico.encode(["a bomb", "an owl"]), start, Sampling(steps=5)))
    assert [step.shape for step in steps] == [start.shape] * 5
    assert not any(step.requires_grad for step in steps)


def test_images_and_latents_have_their_shapes(pico: TextToImage) -> None:
    images = torch.rand(3, 3, 8, 8, generator=generator(0, "tests/images")) * 2 - 1
    latents = pico.to_latents(images)
    assert latents.shape == pico.start(3, generator(0, "tests/shape")).shape == (3, 4, 4, 4)
    loud = copy.deepcopy(pico.vae)
    loud.decoder.conv_out.weight.data *= 100
    back = replace(pico, vae=loud).to_images(latents)
    assert back.shape == images.shape
    assert (back.min(), back.max()) == (-1, 1)  # clipped
    assert torch.allclose(
        pico.to_latents(images) / pico.vae.config.scaling_factor, pico.vae.encode(images).latent_dist.mean
    )


def test_the_noise_process_is_the_samplers(pico: TextToImage) -> None:
    assert torch.equal(pico.noise.schedule.alphas_cumprod, pico.scheduler.alphas_cumprod)
    assert pico.noise.schedule.config.prediction_type == "v_prediction"


@pytest.fixture
def folder(pico_folder: Path, tmp_path: Path) -> Path:
    """A copy of the pico model that may be damaged."""
    return Path(shutil.copytree(pico_folder, tmp_path / "model"))


def test_opening_gives_the_stored_weights(pico: TextToImage, pico_folder: Path) -> None:
    stored = load_file(pico_folder / UNET)
    assert pico.weights().keys() == stored.keys()
    assert all(torch.equal(weight, stored[key].float()) for key, weight in pico.weights().items())
    assert {weight.dtype for weight in pico.weights().values()} == {torch.float32}
    assert torch.equal(answer(open_model(pico_folder)), answer(pico))


def drop_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, {"format": "pt"})


def other_config(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (shutil.rmtree, "is not there"),
    "no index": (lambda f: (f / "model_index.json").unlink(), r"model_index\.json is missing"),
    "broken index": (lambda f: (f / "model_index.json").write_text("{"), r"model_index\.json cannot be read"),
    "odd index": (lambda f: (f / "model_index.json").write_text("[]"), r"model_index\.json"),
    "other pipeline": (
        lambda f: other_config(f / "model_index.json", _class_name="FluxPipeline"),
        r"holds a FluxPipeline; tverase edits: .*StableDiffusionPipeline, StableDiffusion3Pipeline\. Another family is a plug-in",
    ),
    "no part": (lambda f: shutil.rmtree(f / "vae"), r"`vae` of .* is incomplete"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer is missing"),
    "empty tokenizer": (lambda f: [p.unlink() for p in (f / "tokenizer").iterdir()], "could not be opened|incomplete"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "scheduler is missing"),
    "no config": (lambda f: (f / "unet" / "config.json").unlink(), r"`unet` of .* is incomplete"),
    "no weights": (lambda f: (f / UNET).unlink(), "has no safetensors weights"),
    "truncated": (lambda f: (f / UNET).write_bytes((f / UNET).read_bytes()[:-1000]), "damaged or truncated"),
    "garbage": (lambda f: (f / UNET).write_bytes(b"\x93NUMPY" * 99), "damaged or truncated"),
    "other width": (
        lambda f: other_config(f / "unet" / "config.json", block_out_channels=[16, 32]),
        "could not be opened",
    ),
    "a tensor short": (lambda f: drop_a_tensor(f / UNET), "unet"),
    "a word short": (lambda f: drop_a_tensor(f / "text_encoder" / "model.safetensors"), "text_encoder"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(folder: Path, damage: str) -> None:
    harm, message = DAMAGES[damage]
    harm(folder)
    with pytest.raises(ModelError, match=message) as caught:
        open_model(folder)
    assert not isinstance(caught.value, UnsafeWeights)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(UnsafeWeights, match=r"only pickled weights .*safe_serialization=True"):
        open_model(folder)


def test_a_hub_model_without_a_network() -> None:
    with pytest.raises(NetworkError, match="tverase-tests/not-there is no folder here"):
        open_model("tverase-tests/not-there")


@pytest.mark.parametrize("name", ["not-there", "./not/there", "/not/there", "models/emoji/sd"])
def test_what_is_no_folder_and_no_hub_model(name: str) -> None:
    with pytest.raises(TveraseError, match="not there") as caught:
        open_model(name)
    assert caught.value.exit_code in (4, 7)


def test_an_edited_folder_opens_and_differs_in_the_unet_alone(pico: TextToImage, folder: Path, tmp_path: Path) -> None:
    weights = nudged(pico)
    write_edited(folder, weights, tmp_path / "erased")
    files = {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
    assert {p.relative_to(tmp_path / "erased") for p in (tmp_path / "erased").rglob("*") if p.is_file()} == files
    assert {p.stat().st_nlink for p in (tmp_path / "erased").rglob("*") if p.is_file()} == {1}, "a file is shared"
    changed = [str(f) for f in files if sha256(folder / f) != sha256(tmp_path / "erased" / f)]
    assert changed == [UNET]
    stored = load_file(tmp_path / "erased" / UNET)
    assert all(torch.equal(stored[key], weight.half()) for key, weight in weights.items())
    rounded = {key: weight.half().float() for key, weight in weights.items()}
    assert torch.equal(answer(open_model(tmp_path / "erased")), answer(pico.with_weights(rounded)))


def test_no_copy_of_the_old_weights_is_left_behind(pico: TextToImage, folder: Path, tmp_path: Path) -> None:
    old = (folder / UNET).read_bytes()
    for name in (
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.bin",
        "v1-5-pruned.safetensors",
    ):
        (folder / name).write_bytes(old)
    write_edited(folder, nudged(pico), tmp_path / "erased")
    assert [p for p in (tmp_path / "erased").rglob("*") if p.is_file() and p.read_bytes() == old] == []
