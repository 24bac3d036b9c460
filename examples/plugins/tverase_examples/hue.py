"""Says which of a few colours an image has on the whole."""

from pathlib import Path

import torch

from tverase.judges.base import Judge
from tverase.judges.scored import Scored
from tverase.settings import Settings

COLOURS = {
    "red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "yellow": (1, 1, -1), "cyan": (-1, 1, 1),
    "magenta": (1, -1, 1), "white": (1, 1, 1), "black": (-1, -1, -1), "grey": (0, 0, 0),
}  # fmt: skip


class Hue(Settings):
    """The colour that is nearest to an image's mean."""

    sharpness: float = 4.0
    batch: int = 64

    def files(self) -> dict[str, Path]:
        """It reads no files."""
        return {}

    def open(self, device: str = "cpu") -> Judge:
        """A judge of the colours' names."""
        colours = torch.tensor(list(COLOURS.values())).float()

        def score(images: torch.Tensor) -> torch.Tensor:
            return (-self.sharpness * torch.cdist(images.mean((2, 3)), colours)).softmax(1)

        return Scored("hue/1", {"colour": tuple(COLOURS)}, score, batch=self.batch)
