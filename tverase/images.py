"""Images as bytes, for files and pictures."""

import torch
from torch import Tensor


def to_bytes(images: Tensor) -> Tensor:
    """[-1, 1] -> uint8 of the same shape (B, 3, H, W)."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
