"""A transformer with flow matching as a `Model`: opened safely, drawn from as diffusers does, edited and inverted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pico_flow import write_pico_flow
from safetensors.torch import load_file, save_file
from torch import Tensor

from tverase.defences import Defended, named
from tverase.errors import ModelError, UnsafeWeights
from tverase.finetune import FineTune, fine_tune
from tverase.inversion.diverse import Invert, search_freely
from tverase.losses import denoising_loss, random_timesteps
from tverase.models.folder import check_folder, open_model, write_edited
from tverase.models.mmdit import MMDiT
from tverase.noise import Flow
from tverase.rng import generator
from tverase.sampling import Sampling, draw
from tverase.spaces.states import StateSpace
from tverase.vector import TaskVector

NET = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def flow_folder(pico: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole folder of 8-pixel images, its weights random; never written to."""
    return write_pico_flow(pico, tmp_path_factory.mktemp("flow") / "pico-flow")


@pytest.fixture(scope="module")
def flow(flow_folder: Path) -> MMDiT:
    """The model of this folder; what tests change, they change in copies."""
    model = open_model(flow_folder)
    assert isinstance(model, MMDiT)
    return model


@pytest.fixture
def folder(flow_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(flow_folder, tmp_path / "copy"))


def answer(model: MMDiT, cond: Tensor | None = None) -> Tensor:
    """The denoiser's answer to fixed noise."""
    noised = model.start(2, generator(0, "tests/answer"))
    return model.denoise(noised, torch.tensor([500, 20]), model.encode(["a bomb", "an owl"]) if cond is None else cond)


def pipeline(model: MMDiT) -> Any:
    """The same parts as diffusers' own pipeline."""
    from diffusers import StableDiffusion3Pipeline

    pipe = StableDiffusion3Pipeline(
        transformer=model.network, scheduler=model.scheduler, vae=model.vae,
        text_encoder=model.text_encoder, tokenizer=model.tokenizer,
        text_encoder_2=None, tokenizer_2=None, text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def parts(model: MMDiT, cond: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states and pooled text of packed conditionings."""
    return cond[:, :-16].view(len(cond), -1, 16), cond[:, -16:]


def test_a_row_holds_what_stable_diffusion_3_takes(flow: MMDiT) -> None:
    prompts = ["a bomb", "an owl in noto style"]
    states, pooled = parts(flow, flow.encode(prompts))
    theirs, theirs_pooled = pipeline(flow)._get_clip_prompt_embeds(prompts)
    assert torch.equal(states, theirs)
    assert torch.equal(pooled, theirs_pooled)
    assert flow.null.shape == (1, flow.tokenizer.model_max_length * 16 + 16)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_drawing_equals_diffusers_own_pipeline(flow: MMDiT, guidance: float) -> None:
    prompts = ["a bomb", "an owl in noto style", ""]
    (states, pooled), (null, null_pooled) = (parts(flow, flow.encode(text)) for text in (prompts, [""] * 3))
    theirs = pipeline(flow)(
        prompt_embeds=states, pooled_prompt_embeds=pooled, negative_prompt_embeds=null,
        negative_pooled_prompt_embeds=null_pooled, latents=flow.start(3, generator(5, "tests/equal")),
        guidance_scale=guidance, num_inference_steps=6, output_type="pt",
    ).images  # fmt: skip
    ours = draw(flow, flow.encode(prompts), generator(5, "tests/equal"), Sampling(steps=6, guidance=guidance))
    assert ((ours + 1) / 2 - theirs).abs().max() < 1e-4
    assert theirs.std() > 0.01


def test_the_noise_process_is_flow_matching(flow: MMDiT) -> None:
    assert flow.noise == Flow(1000, 1.0)


def test_images_survive_the_latents_scale(flow: MMDiT, pico: Any) -> None:
    images = torch.rand(3, 3, 8, 8, generator=generator(0, "tests/images")) * 2 - 1
    assert torch.equal(flow.to_latents(images), pico.to_latents(images))
    assert torch.equal(flow.to_images(flow.to_latents(images)), pico.to_images(pico.to_latents(images)))


def test_other_weights_are_another_model(flow: MMDiT) -> None:
    before, stored = answer(flow), {key: weight.clone() for key, weight in flow.network.state_dict().items()}
    noise = generator(0, "tests/nudge")
    weights = {key: w + 0.02 * torch.randn(w.shape, generator=noise) for key, w in flow.weights().items()}
    assert (answer(flow.with_weights(weights)) - before).abs().max() > 1e-3
    assert torch.equal(answer(flow), before)
    assert all(torch.equal(weight, stored[key]) for key, weight in flow.network.state_dict().items())


def test_denoising_is_differentiable_in_weights_and_conditioning(flow: MMDiT) -> None:
    weights = {key: weight.clone().requires_grad_() for key, weight in flow.weights().items()}
    cond = flow.encode(["a bomb", "an owl"]).requires_grad_()
    torch.autograd.backward(answer(flow.with_weights(weights), cond).square().sum())
    unused = {key for key, weight in weights.items() if weight.grad is None or not weight.grad.any()}
    # Of the last block's text side only key and value reach the image.
    assert all(
        "add_q_proj" in key or "norm_added_q" in key or key.endswith("k.bias") or "k_proj.bias" in key for key in unused
    )
    assert cond.grad is not None
    assert cond.grad[:, :-16].abs().max() > 0
    assert cond.grad[:, -16:].abs().max() > 0
    assert not any(weight.requires_grad for weight in flow.network.parameters())


@pytest.mark.parametrize(("template", "word"), [("a {}", "bomb"), ("a noto {} on a blue background", "bomb")])
def test_the_embedding_of_a_word_is_the_word(flow: MMDiT, template: str, word: str) -> None:
    space = flow.space(template)
    points = space.anchor(word)[None].requires_grad_()
    cond = space.cond(points)
    assert torch.allclose(cond, flow.encode([template.format(word)]), atol=1e-6)
    for part in parts(flow, cond):  # hidden states and pooled text both follow the embedding
        (gradient,) = torch.autograd.grad(part.square().sum(), points, retain_graph=True)
        assert gradient.abs().max() > 0


def test_states_are_a_space(flow: MMDiT) -> None:
    space = StateSpace(flow)
    assert torch.equal(space.cond(space.anchor("bomb")[None]), flow.encode(["a bomb"]))


def loss_of(model: MMDiT, latents: Tensor, cond: Tensor) -> float:
    """The mean loss on fixed noise."""
    rng = generator(1, "tests/mmdit/loss")
    t, noise = random_timesteps(64, 1000, rng), model.start(64, rng)
    with torch.no_grad():
        losses = denoising_loss(model.denoise, model.noise, latents.repeat(8, 1, 1, 1), cond.expand(64, -1), t, noise)
    return float(losses.mean())


@pytest.fixture(scope="module")
def latents(flow: MMDiT) -> Tensor:
    """Eight latents that look alike, so that there is something to learn."""
    rng = generator(0, "tests/mmdit/latents")
    return flow.start(1, rng) + 0.1 * flow.start(8, rng)


def test_fine_tuning_makes_a_vector(flow: MMDiT, latents: Tensor) -> None:
    *_, (_, weights) = fine_tune(flow, latents, FineTune(steps=40, batch=8, lr=2e-3), 0, "tests/mmdit")
    tuned, null = flow.with_weights(weights), flow.null
    assert loss_of(tuned, latents, null) < 0.8 * loss_of(flow, latents, null)
    vector = TaskVector.between(flow.weights(), weights)
    assert loss_of(flow.with_weights(vector.apply(flow.weights(), 1.0)), latents, null) > loss_of(flow, latents, null)


def test_inversion_lowers_the_loss(flow: MMDiT, latents: Tensor) -> None:
    space = flow.space("a {}")
    anchor, rng = space.anchor("bomb"), generator(0, "tests/mmdit/invert")
    begin = space.start(anchor, torch.tensor([0.9, -0.2]), torch.tensor([0.95, 0.2]), rng)
    *_, last = search_freely(flow, space, anchor, latents, Invert(steps=30, batch=8, lr=0.2), rng, begin)
    for before, after in zip(begin, last.points, strict=True):
        assert loss_of(flow, latents, space.cond(after[None])) < loss_of(flow, latents, space.cond(before[None]))


@pytest.mark.parametrize("name", ["nearest", "rounded-4", "smoothed-0.5"])
def test_defences_take_packed_rows(flow: MMDiT, name: str) -> None:
    known = flow.encode(["a bomb", "an owl", "a car"])
    defended = Defended(flow, named(name)(known))
    given = flow.encode(["a skull", "a car"])
    assert defended.denoise(flow.start(2, generator(0, "tests/x")), torch.tensor([500, 20]), given).shape == (
        2,
        4,
        4,
        4,
    )
    if name == "nearest":
        assert torch.equal(defended.defence(given)[1], known[2])


def test_an_edited_folder_is_the_edited_model(flow: MMDiT, flow_folder: Path, tmp_path: Path) -> None:
    weights = {key: (1.1 * weight).half().float() for key, weight in flow.weights().items()}
    write_edited(flow_folder, weights, tmp_path / "erased")
    check_folder(tmp_path / "erased")
    assert torch.equal(answer(open_model(tmp_path / "erased")), answer(flow.with_weights(weights)))
    assert {tensor.dtype for tensor in load_file(tmp_path / "erased" / NET).values()} == {torch.float16}


def changed(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, {"format": "pt"})


INDEX, SHAPE = "model_index.json", "transformer/config.json"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "two text encoders": (
        lambda f: changed(f / INDEX, text_encoder_2=["transformers", "CLIPTextModelWithProjection"]),
        "has the part `text_encoder_2`; expected Stable Diffusion 3 with one text encoder",
    ),
    "diffusion scheduler": (
        lambda f: changed(f / INDEX, scheduler=["diffusers", "DDIMScheduler"]),
        "names the scheduler DDIMScheduler; expected a flow-matching one",
    ),
    "unknown scheduler": (
        lambda f: changed(f / INDEX, scheduler=["diffusers", "FlowMatchOddScheduler"]),
        "FlowMatchOddScheduler, which diffusers does not have",
    ),
    "dynamic shifting": (
        lambda f: changed(f / "scheduler/scheduler_config.json", use_dynamic_shifting=True),
        "set it to false",
    ),
    "a tensor short": (lambda f: without_a_tensor(f / NET), "transformer lacks"),
    "truncated": (lambda f: (f / NET).write_bytes((f / NET).read_bytes()[:-500]), "damaged or truncated"),
    "no vae": (lambda f: shutil.rmtree(f / "vae"), "`vae` of .* is incomplete"),
    "other width": (lambda f: changed(f / SHAPE, num_attention_heads=4), "could not be opened as a Stable Diffusion 3"),
    "unknown family": (lambda f: changed(f / INDEX, _class_name="OddPipeline"), "holds a OddPipeline; tverase edits: "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(folder: Path, damage: str) -> None:
    harm, message = DAMAGES[damage]
    harm(folder)
    with pytest.raises(ModelError, match=message):
        open_model(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / NET).rename(folder / "transformer" / "diffusion_pytorch_model.bin")
    with pytest.raises(UnsafeWeights, match="only pickled weights"):
        open_model(folder)
