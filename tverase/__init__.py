"""Erase a concept from a generative model with task vectors, and prove that it is gone.

    from tverase import Concept, erase, open_model

    result = erase(open_model("models/emoji-sd"), Concept.named("bomb"), effort="quick")
    result.save("erased")
    print(result.report())

`erase` runs the steps in their order. Each of them is a function of a `Context` and can be used alone:
`make_images`, `fine_tune`, `build_vector`, `invert`, `harden`, `choose_strength`, `evaluate`.
Nothing is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import erase, open_model, prepare
    from .concepts import Concept
    from .config import Params
    from .context import Context
    from .errors import TveraseError
    from .result import Result
    from .steps.drawing import make_images
    from .steps.evaluation import evaluate
    from .steps.finetuning import fine_tune
    from .steps.hardening import harden
    from .steps.inversion import invert
    from .steps.strength import choose_strength
    from .steps.vector import build_vector
    from .vector import TaskVector

__all__ = [
    "Concept",
    "Context",
    "Params",
    "Result",
    "TaskVector",
    "TveraseError",
    "build_vector",
    "choose_strength",
    "erase",
    "evaluate",
    "fine_tune",
    "harden",
    "invert",
    "make_images",
    "open_model",
    "prepare",
]

_HOMES = {
    "Concept": "concepts",
    "Context": "context",
    "Params": "config",
    "Result": "result",
    "TaskVector": "vector",
    "TveraseError": "errors",
    "build_vector": "steps.vector",
    "choose_strength": "steps.strength",
    "erase": "api",
    "evaluate": "steps.evaluation",
    "fine_tune": "steps.finetuning",
    "harden": "steps.hardening",
    "invert": "steps.inversion",
    "make_images": "steps.drawing",
    "open_model": "api",
    "prepare": "api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("tverase")
    if name not in _HOMES:
        raise AttributeError(f"module 'tverase' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
