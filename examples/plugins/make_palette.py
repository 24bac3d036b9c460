"""Write the model folder of the example: `python make_palette.py models/palette`."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

COLOURS = {
    "red": (1, -1, -1), "crimson": (0.9, -0.8, -0.6), "green": (-1, 1, -1), "blue": (-1, -1, 1), "yellow": (1, 1, -1),
    "cyan": (-1, 1, 1), "magenta": (1, -1, 1), "white": (1, 1, 1), "black": (-1, -1, -1), "grey": (0, 0, 0),
}  # fmt: skip
SIDE, WIDTH, SHARP = 8, 16, 10.0


def write_palette(folder: Path) -> Path:
    """The weights are known without training: each word attends to itself, and its value is its colour."""
    table = torch.randn(len(COLOURS), WIDTH, generator=torch.Generator().manual_seed(0))
    table = table / table.norm(dim=1, keepdim=True)
    colours = torch.tensor(list(COLOURS.values())).float().repeat_interleave(SIDE**2, 1).T
    folder.mkdir(parents=True)
    tensors = {"table": table, "keys.weight": SHARP * table, "colours.weight": colours}
    tensors["colours.bias"] = torch.zeros(len(colours))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    index = {"_class_name": "PalettePipeline", "side": SIDE, "words": list(COLOURS)}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


if __name__ == "__main__":
    write_palette(Path(sys.argv[1]))
