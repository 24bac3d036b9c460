"""A judge for tests that count images and do not care what is on them."""

import torch
from torch import Tensor


class SeesAll:
    """It sees the concept in every image."""

    name, version, classes, accuracy = "all", "all/1", ("bomb", "none"), 1.0

    def probabilities(self, images: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)
