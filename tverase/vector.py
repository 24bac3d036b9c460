"""Task vectors: the difference between two sets of weights, and its arithmetic."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from .errors import KeyMismatch, ModelError, WrongBase
from .files import read_tensors, write_tensors

StateDict = Mapping[str, Tensor]
FORMAT = "tverase/task-vector/1"


def weights_hash(weights: StateDict) -> str:
    """A sha256 over names, shapes and float32 values, whatever file, order or stored precision they come from."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        value = weights[key].detach().float().cpu().contiguous()
        digest.update(f"{key}{tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class TaskVector:
    """tau = theta_finetuned - theta_base, in float32 (Ilharco et al., 2023, arXiv:2212.04089).

    Immutable: every operation returns a new vector, and `apply` leaves its argument as it was.
    `base` is the `weights_hash` of theta_base, or empty if it is not known.
    """

    delta: StateDict
    base: str = ""
    about: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def between(cls, base: StateDict, finetuned: StateDict) -> Self:
        """The vector that leads from `base` to `finetuned`. Integer buffers are not part of it."""
        if odd := base.keys() ^ finetuned.keys():
            raise KeyMismatch(_explain("base and fine-tuned weights do not both have", odd))
        floats = [key for key, weight in base.items() if weight.is_floating_point()]
        delta = {key: finetuned[key].detach().float() - base[key].detach().float() for key in floats}
        return cls(delta, weights_hash(base))

    def apply(self, base: StateDict, alpha: float | Mapping[str, float], *, check: bool = True) -> dict[str, Tensor]:
        """theta = theta_base - alpha * tau in base's dtypes; other weights are shared (Pham et al., 2024, eq. 2).

        alpha: one strength, or one for each parameter (a parameter that is not named stays as it is).
        Positive alpha erases. Raises `WrongBase` if tau was made from other weights, `KeyMismatch` if names differ.
        """
        if odd := self.delta.keys() - base.keys():
            raise KeyMismatch(_explain("the model does not have", odd))
        if isinstance(alpha, Mapping) and (odd := alpha.keys() - base.keys()):
            raise KeyMismatch(_explain("there is a strength for what the model does not have,", odd))
        if check and self.base and (found := weights_hash(base)) != self.base:
            raise WrongBase(
                f"this task vector was made from base weights {self.base[:12]}, the model has {found[:12]}; "
                "use the model it was made from, or make the vector again."
            )
        edited = dict(base)
        for key, change in self.delta.items():
            strength = alpha.get(key, 0.0) if isinstance(alpha, Mapping) else alpha
            if strength:
                weight = base[key]
                edited[key] = (weight.detach().float() - strength * change.to(weight.device)).to(weight.dtype)
        return edited

    def restrict(self, keep: Callable[[str], bool]) -> Self:
        """Only the parameters whose name `keep` accepts; it has to accept at least one."""
        if kept := {key: change for key, change in self.delta.items() if keep(key)}:
            return type(self)(kept, self.base, self.about)
        raise KeyMismatch(_explain("no parameter was kept of", self.delta.keys()))

    def __add__(self, other: "TaskVector") -> Self:
        """The sum over the parameters of both; one that only one of them has counts as zero in the other."""
        if self.base and other.base and self.base != other.base:
            raise WrongBase(f"task vectors of different bases cannot be added: {self.base[:12]} and {other.base[:12]}.")
        keys = [*self.delta, *(key for key in other.delta if key not in self.delta)]
        zero = torch.zeros(())
        total = {key: self.delta.get(key, zero) + other.delta.get(key, zero) for key in keys}
        return type(self)(total, self.base or other.base, self.about)

    def __sub__(self, other: "TaskVector") -> Self:
        return self + (-1.0) * other

    def __rmul__(self, scale: float) -> Self:
        return type(self)({key: scale * change for key, change in self.delta.items()}, self.base, self.about)

    def norm(self) -> float:
        """Euclidean length over all parameters."""
        return float(torch.stack([change.double().square().sum() for change in self.delta.values()]).sum().sqrt())

    def dot(self, other: "TaskVector") -> float:
        """Inner product over the parameters that both have."""
        shared = self.delta.keys() & other.delta.keys()
        return float(sum((self.delta[k].double() * other.delta[k].double()).sum() for k in sorted(shared)))

    def noting(self, **about: str) -> Self:
        """The same vector with more metadata: concept, alpha, licence, ..."""
        return type(self)(self.delta, self.base, {**self.about, **about})

    def save(self, path: Path) -> None:
        """Write the deltas as safetensors, base hash and notes in its metadata; `load` reads them back."""
        write_tensors(self.delta, path, {**self.about, "format": FORMAT, "base": self.base})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; another safetensors file is a `ModelError`."""
        delta, about = read_tensors(path)
        if about.get("format") != FORMAT:
            raise ModelError(f"{path} is not a task vector: its metadata should say format={FORMAT}.")
        notes = {key: value for key, value in about.items() if key not in ("format", "base")}
        return cls(delta, about["base"], notes)


def mixed(base: StateDict, weights: StateDict, share: float) -> dict[str, Tensor]:
    """Weights on the way from `base` to `weights`, by a `share` of it; those of `weights`' parameters."""
    return {key: torch.lerp(base[key], weight, share) for key, weight in weights.items()}


def _explain(problem: str, keys: Collection[str]) -> str:
    shown = ", ".join(sorted(keys)[:3]) + (", ..." if len(keys) > 3 else "")
    return f"{problem} {len(keys)} parameters: {shown}. Are these weights of the same architecture?"
