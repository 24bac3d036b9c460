"""The judges of the embedded emoji world: one convolutional network for objects, one for styles."""

from pathlib import Path

from ..settings import Settings
from .base import Judge
from .by_label import ByLabel
from .cnn import CnnJudge

NAME = "embedded"
AXES = ("object", "style")


class EmbeddedJudge(Settings):
    """Where the judges are: `object.safetensors` and `style.safetensors`."""

    folder: Path = Path("models/judges")

    def files(self) -> dict[str, Path]:
        """Both files."""
        return {axis: self.folder / f"{axis}.safetensors" for axis in AXES}

    def open(self, device: str = "cpu") -> Judge:
        """Load both; they are small and stay on the CPU."""
        return ByLabel({axis: CnnJudge.load(self.folder / f"{axis}.safetensors") for axis in AXES})


PLUGIN = EmbeddedJudge
