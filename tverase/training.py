"""A training that can stop anywhere and go on exactly: parameters, their running averages, the optimiser's moments."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from .anchor import Anchor
from .errors import ModelError, NumericalError
from .files import dropped, read_tensors, write_tensors

CHECKPOINT_EVERY = 250  # steps of the long trainings


def warm_average(step: int, limit: float) -> float:
    """The averages' decay at `step`: short at first, `limit` at last (the rule of the paper's scripts)."""
    return min(limit, (1 + step) / (10 + step))


class Training:
    """Named parameters in training with AdamW. `average` holds their exponential moving average."""

    def __init__(
        self, parameters: Mapping[str, Tensor], *, weight_decay: float, clip: float = 1.0, anchor: Anchor | None = None
    ) -> None:
        self.parameters = dict(parameters)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        everything = list(self.parameters.values())
        self.optimiser = torch.optim.AdamW(everything, lr=0.0, weight_decay=weight_decay, betas=(0.9, 0.99))
        self.clip = clip
        self.anchor = anchor
        self.step = 0
        self.path: Path | None = None  # of its checkpoint

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], *, decay: float = 0.0) -> Self:
        """The training of copies; `weights` stay as they are. decay: what pulls the copies back to them (`Anchor`)."""
        copies = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
        return cls(copies, weight_decay=0.0, anchor=Anchor(weights, decay) if decay else None)

    def advance(self, loss: Tensor, rate: float, decay: float) -> float:
        """One step of the optimiser and of the averages; the loss as a number.

        `NumericalError` if the loss or its gradient is not finite. The state is then that before the step, and is saved to the
        path of `go_on`.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise self._stopped(f"the loss is {value}")
        everything = list(self.parameters.values())
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(everything, self.clip).item()
        if not math.isfinite(norm):
            raise self._stopped(f"the norm of the gradient is {norm}")
        self.optimiser.step()
        if self.anchor is not None:
            self.anchor.pull(self.parameters, rate)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), everything, 1 - decay)
        self.step += 1
        return value

    def _stopped(self, why: str) -> NumericalError:
        """The error of a step that cannot be taken; the last good state is saved, if one step was taken at all."""
        if self.path is not None and self.step:
            self.save(self.path)
        return NumericalError(f"{why} at step {self.step}; lower the learning rate.")

    def result(self) -> dict[str, Tensor]:
        """Copies of the averages."""
        return {name: weight.clone() for name, weight in self.average.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, beside its number."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            state = self.optimiser.state[parameter]
            tensors |= {f"now/{name}": parameter, f"average/{name}": self.average[name]}
            tensors |= {f"first/{name}": state["exp_avg"], f"second/{name}": state["exp_avg_sq"]}
        return tensors

    def save(self, path: Path) -> None:
        """The same in one safetensors file."""
        write_tensors(self.tensors(), path, {"step": str(self.step)})

    def keeping(self, losses: Iterator[float], path: Path) -> Iterator[float]:
        """The losses of a training as they come, with a `save` after each `CHECKPOINT_EVERY` steps."""
        for loss in losses:
            yield loss
            if self.step % CHECKPOINT_EVERY == 0:
                self.save(path)

    def leave(self, path: Path | None, every: int, end: int) -> None:
        """`save` after each `every` steps, if there is a path, but not at the end."""
        if path is not None and self.step % every == 0 and self.step < end:
            self.save(path)

    def go_on(self, path: Path | None) -> None:
        """`resume`, if there is a path and a training has left something sound there."""
        self.path = path
        if path is not None and path.exists():
            try:
                self.resume(path)
            except ModelError as error:
                dropped(path, error)

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote, as if nothing had happened."""
        tensors, about = read_tensors(path)
        shapes = {key.partition("/")[2]: value.shape for key, value in tensors.items()}
        if shapes != {name: p.shape for name, p in self.parameters.items()}:
            raise ModelError(f"{path} is a checkpoint of other weights; delete it to start anew.")
        self.restore(tensors, int(about["step"]))

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Go on from `tensors` of the step after which they were taken."""
        self.step = step
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"now/{name}"])
                self.average[name].copy_(tensors[f"average/{name}"])
                self.optimiser.state[parameter] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": tensors[f"first/{name}"],
                    "exp_avg_sq": tensors[f"second/{name}"],
                }
