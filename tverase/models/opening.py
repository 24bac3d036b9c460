"""Building a pipeline from a checked folder, part by part: nothing else of the folder is read, and no code of it runs."""

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError, TveraseError
from .checking import check_folder, read_index, zero_signal
from .layout import STABLE_DIFFUSION, Layout
from .locating import locate
from .reading import first_line, read_config, require_finite, say, weights_of

SHORTEST_CAPTION, LONGEST_CAPTION = 3, 4096  # tokens: begin, a word, end


def open_pipeline(where: str | Path, layout: Layout = STABLE_DIFFUSION) -> Any:
    """The Stable Diffusion pipeline in a folder, or with a hub id, in float32 and without a safety checker.

    Raises `ModelError` if it is missing, incomplete, damaged or of another architecture. Raises `UnsafeWeights` if its
    weights are pickled, and `NetworkError` if it cannot be fetched.
    """
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import logging
    from transformers.utils import logging as more_logging

    logging.disable_progress_bar()  # of its own: ours say what they are for
    more_logging.disable_progress_bar()
    folder = locate(where)
    check_folder(folder, layout, finite=False)  # the opened weights are looked at below
    try:
        parts = {name: network_of(name, folder, layout) for name in layout.networks()}
        tokenizer = tokenizer_of(folder, parts["text_encoder"])
        scheduler = _scheduler(folder)
        pipe = StableDiffusionPipeline(
            **parts,
            tokenizer=tokenizer,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        _try_out(pipe)
    except TveraseError:
        raise
    except Exception as error:  # a wrong value in a config raises whatever the libraries stumble over
        raise ModelError(
            f"{say(folder)} could not be opened as a Stable Diffusion pipeline: {first_line(error)}"
        ) from error
    return pipe


def network_of(name: str, folder: Path, layout: Layout = STABLE_DIFFUSION) -> Any:
    """One part with its weights in float32: every key is one that the architecture has, and the other way round."""
    part, about = folder / name, layout.parts[name]
    kind = getattr(import_module(about.library), about.classes[0])
    options = {"trust_remote_code": False} if about.library == "transformers" else {}
    made, info = kind.from_pretrained(
        part,
        variant=weights_of(part, about.stem, folder).variant,
        output_loading_info=True,
        torch_dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        **options,
    )
    if missing := sorted(map(str, info["missing_keys"])):
        raise ModelError(f"{say(part)} lacks {missing[:3]}; fetch it again.")
    if extra := sorted(key for key in map(str, info["unexpected_keys"]) if not key.endswith(".position_ids")):
        raise ModelError(
            f"{say(part)} has weights that its architecture does not have: {extra[:3]}; remove or merge them."
        )
    for key, weight in made.named_parameters():
        require_finite(key, weight, say(part))
    return made.eval()


def tokenizer_of(folder: Path, text_encoder: Any) -> Any:
    """The tokenizer, with the text encoder's limit if it has none of its own or a larger one."""
    from transformers import CLIPTokenizer

    made = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True, trust_remote_code=False)
    longest, words = text_encoder.config.max_position_embeddings, text_encoder.config.vocab_size
    made.model_max_length = min(int(made.model_max_length), longest, LONGEST_CAPTION)
    if made.model_max_length < SHORTEST_CAPTION:
        raise ModelError(
            f"{say(folder / 'tokenizer')} cuts captions to {made.model_max_length} tokens; set model_max_length to {longest}."
        )
    if len(made) > words:
        raise ModelError(
            f"{say(folder / 'tokenizer')} has {len(made)} tokens, the text encoder knows {words}; they do not belong together."
        )
    if made.pad_token_id is None:
        raise ModelError(f"{say(folder / 'tokenizer')} names no pad token; set pad_token in tokenizer_config.json.")
    return made


def _scheduler(folder: Path) -> Any:
    """The scheduler that the index names, if it is one of diffusion with a noise schedule of finite signal."""
    import diffusers
    from diffusers import SchedulerMixin

    name, path = read_index(folder)["scheduler"][1], folder / "scheduler" / "scheduler_config.json"
    kind: Any = getattr(diffusers, name, None)
    known = isinstance(kind, type) and issubclass(kind, SchedulerMixin)
    if not known:
        raise ModelError(
            f"{say(folder)} names the scheduler {name}, which diffusers does not have; choose one that it has."
        )
    made = kind.from_config(read_config(path, folder, f"the part `scheduler` of {say(folder)} is incomplete"))
    schedule = getattr(made, "alphas_cumprod", None)
    if schedule is None:
        raise ModelError(
            f"the scheduler {name} of {say(folder)} has no diffusion noise schedule; choose one of diffusion."
        )
    if not bool(torch.isfinite(schedule).all() & (schedule >= 0).all() & (schedule <= 1).all()):
        raise ModelError(f"{say(path)} makes a noise schedule outside of 0 to 1; check its betas.")
    if made.config.get("prediction_type", "epsilon") == "epsilon" and float(schedule.min()) <= 0:
        raise ModelError(zero_signal(say(path)))
    return made


@torch.no_grad()
def _try_out(pipe: Any) -> None:
    """One small step through every part: parts that do not fit together are found now and not in the middle of a run."""
    tokens = pipe.tokenizer([""], padding="max_length", max_length=pipe.tokenizer.model_max_length, return_tensors="pt")
    states = pipe.text_encoder(tokens.input_ids)[0]
    config, side = pipe.unet.config, 2 ** len(pipe.unet.config.block_out_channels)
    sizes = config.sample_size if isinstance(config.sample_size, list | tuple) else [config.sample_size] * 2
    if len(sizes) != 2 or not all(isinstance(size, int) and 0 < size <= 4096 for size in sizes):
        raise ModelError(
            f"the unet says sample_size={config.sample_size}; expected the height and width of its latents."
        )
    channels = {config.in_channels, config.out_channels, pipe.vae.config.latent_channels}
    if len(channels) != 1:
        raise ModelError(
            f"the unet has {config.in_channels} channels in and {config.out_channels} out, the vae {pipe.vae.config.latent_channels}; "
            "expected the same number (inpainting models are not edited)."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        latents = torch.randn(1, config.in_channels, side, side)
        scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        scheduler.set_timesteps(2)
        answer = pipe.unet(latents, scheduler.timesteps[:1], states).sample
        scheduler.step(answer, scheduler.timesteps[0], latents * scheduler.init_noise_sigma)
        scale = pipe.vae.config.scaling_factor
        image = pipe.vae.decode(latents / scale).sample
        pipe.vae.encode(image)
    if not (math.isfinite(float(answer.sum())) and math.isfinite(float(image.sum()))):
        raise ValueError("its answer to plain noise is NaN or infinite")
