"""An erased pipeline as an MLflow model: a prompt in, the bytes of a PNG out.

MLflow stores this file as text beside the weights and runs it where the model is loaded. So nothing is pickled, and nothing
of tverase may be imported here.
"""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ErasedPipeline(PythonModel):
    """Draws one image for each row of `prompt`; the same prompt and `seed` give the same image wherever the row is."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the pipeline that was logged, from its own files only."""
        import diffusers
        import torch
        from diffusers import DiffusionPipeline

        folder = Path(context.artifacts["pipeline"])
        known = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        if not hasattr(diffusers, known["_class_name"]):
            raise ValueError(
                f"a {known['_class_name']} is no pipeline of diffusers and cannot be served; open the folder {folder} "
                "with tverase.models.folder.open_model where its plug-in is installed."
            )
        unchecked = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in known else {}
        pipe = DiffusionPipeline.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, **unchecked
        )
        pipe.set_progress_bar_config(disable=True)
        self.pipe = pipe.to("cuda" if torch.cuda.is_available() else "cpu")

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One column `image_png`, in the order of the prompts."""
        asked = {**context.model_config, **(params or {})}  # as it was measured, unless the caller wants otherwise
        steps = int(asked["num_inference_steps"])
        if steps < 1:
            raise ValueError(f"num_inference_steps is {steps}; it has to be 1 or more.")
        images = [
            self._draw(str(prompt), steps, float(asked["guidance_scale"]), int(asked["seed"]))
            for prompt in model_input["prompt"]
        ]
        return pd.DataFrame({"image_png": images})

    def _draw(self, prompt: str, steps: int, guidance: float, seed: int) -> bytes:
        import torch

        # The noise is drawn on the CPU, so that a seed means the same image on every device.
        noise = torch.Generator().manual_seed(seed)
        drawn = self.pipe(prompt, num_inference_steps=steps, guidance_scale=guidance, generator=noise)
        png = BytesIO()
        drawn.images[0].save(png, format="PNG")
        return png.getvalue()


set_model(ErasedPipeline())
