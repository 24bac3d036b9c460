"""A guard that edits the text encoder: the denoiser stays as it is, and all words go through the edited encoder."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import KeyMismatch, ModelError
from ..models.base import Conditioning, Model
from ..models.text import token_ids
from ..vector import StateDict


@dataclass(frozen=True)
class EditedEncoder:
    """Edited parameters of a model's text encoder, by name; parameters that are not named stay as they are.

    The strength is the share of the way from the model's own weights to these: 0 changes nothing, 1 is the edit itself.
    """

    weights: StateDict

    def guarded(self, model: Model, strength: float = 1.0) -> Model:
        """The same model with an edited copy of its text encoder; `encode`, `encode_tokens` and `space` use the copy."""
        own = dict(encoder_of(model).named_parameters())
        if odd := sorted(self.weights.keys() - own.keys()):
            raise KeyMismatch(
                f"the text encoder does not have {len(odd)} of the guard's parameters ({', '.join(odd[:3])}); use the model "
                "that the guard was made for."
            )
        if odd := sorted(name for name, weight in self.weights.items() if weight.shape != own[name].shape):
            raise KeyMismatch(
                f"the guard and the text encoder have other shapes of {len(odd)} parameters ({', '.join(odd[:3])}); use the "
                "model that the guard was made for."
            )
        if not strength:
            return model
        encoder = copy.deepcopy(encoder_of(model))
        with torch.no_grad():
            for name, weight in encoder.named_parameters():
                if name in self.weights:
                    edited = self.weights[name].to(weight.device, torch.float32)
                    weight.copy_(torch.lerp(weight.float(), edited, strength))
        return cast(Model, replace(cast(Any, model), text_encoder=encoder))


def encoder_of(model: Model) -> nn.Module:
    """The text encoder of a model that has exactly one; `ModelError` for others."""
    encoder = getattr(model, "text_encoder", None)
    owned = is_dataclass(model) and "text_encoder" in {field.name for field in fields(model)}
    if not owned or not isinstance(encoder, nn.Module):
        raise ModelError(
            f"{type(model).__name__} has no text encoder that can be edited; expected a model with one text encoder, such as "
            "Stable Diffusion 1.x or 2.x; choose an eraser that edits the denoiser."
        )
    return encoder


@dataclass(frozen=True)
class CalledWith:
    """A text encoder that is called with other weights; gradients reach them."""

    encoder: nn.Module
    weights: StateDict

    def __call__(self, *given: Any, **more: Any) -> Any:
        """The encoder's answer with these weights."""
        return functional_call(self.encoder, dict(self.weights), given, more)

    def get_input_embeddings(self) -> Any:
        """The encoder's own table of word embeddings."""
        return cast(Any, self.encoder).get_input_embeddings()


def encoding_with(model: Model, weights: StateDict) -> Model:
    """The model whose text encoder is called with `weights`. `space` and `encoded` are differentiable in them."""
    return cast(Model, replace(cast(Any, model), text_encoder=CalledWith(encoder_of(model), weights)))


def encoded(model: Model, prompts: Sequence[str]) -> Conditioning:
    """What `Model.encode` says of the prompts (B, ...), differentiable in the text encoder's weights."""
    parts, speaker = [], cast(Any, model)
    for tokens in token_ids(speaker.tokenizer, prompts):
        nothing = speaker.token_embedding.weight.new_zeros(1, 0, speaker.token_embedding.weight.shape[1])
        states: Tensor = speaker.encode_tokens(tokens, slice(0, 0), nothing)
        parts.append(states)
    return torch.cat(parts)
