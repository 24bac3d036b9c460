"""CLIP models without training: one of random weights, and one worked out by hand that tells bright from dark."""

import json
import shutil
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel
from transformers.utils import logging

ROOT = Path(__file__).parents[1]
TOKENIZER = ROOT / "models" / "emoji-sd" / "tokenizer"
BRIGHT, DARK = "snowman", "bomb"  # each is one token
BRIGHT_ID, DARK_ID = 817, 798
PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True, "size": {"shortest_edge": 32}, "resample": 3,
    "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
    "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.48, 0.45, 0.4], "image_std": [0.27, 0.26, 0.28],
}  # fmt: skip


def small_clip(width: int = 16, layers: int = 2) -> CLIPModel:
    """Random weights, drawn from a seed."""
    shape = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
    }
    text = {**shape, "vocab_size": 1022, "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(
        text_config={**text, "pad_token_id": 1},
        vision_config={**shape, "image_size": 32, "patch_size": 8},
        projection_dim=width,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(config).eval().requires_grad_(False)
        for weight in model.parameters():  # larger than usual, so that different images give different answers
            weight.copy_(weight + 0.1 * torch.randn(weight.shape))
    return model


def write(model: CLIPModel, folder: Path, processor: dict[str, object] = PROCESSOR) -> Path:
    """A folder as the hub has it."""
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    for path in TOKENIZER.iterdir():
        shutil.copy(path, folder / path.name)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@torch.no_grad()
def bright_clip() -> CLIPModel:
    """Bright images lie along `snowman`, dark ones along `bomb`.

    In both towers every position holds (b, -b, ...): the brightness of a patch, or +-1 of a word. The one attention
    layer averages the positions, since its queries are zero, and adds the mean to the class token or the last token.
    """
    model = small_clip(width=8, layers=1)
    for name, weight in model.named_parameters():
        weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    for tower in (model.vision_model, model.text_model):
        attention = tower.encoder.layers[0].self_attn
        attention.v_proj.weight.copy_(torch.eye(8))
        attention.out_proj.weight.copy_(torch.eye(8))
        tower.embeddings.position_embedding.weight[:, 2:4] = torch.tensor([1.0, -1.0])
    patches = model.vision_model.embeddings.patch_embedding.weight
    patches[0], patches[1] = 1 / patches[0].numel(), -1 / patches[0].numel()
    words = model.text_model.embeddings.token_embedding.weight
    words[BRIGHT_ID, :2], words[DARK_ID, :2] = torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0])
    model.visual_projection.weight[0, 0] = model.text_projection.weight[0, 0] = 1.0
    model.logit_scale.fill_(1.0)
    return model
