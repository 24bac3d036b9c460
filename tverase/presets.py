"""What `recipe` and `effort` set, unless the parameters say otherwise."""

from collections.abc import Mapping
from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "robust": {},
    "paper": {
        "build_vector": {"weighting": "none"},
        "harden": {"max_rounds": 0},
        "choose_strength": {"attacks": []},
    },
}
EFFORTS: dict[str, dict[str, Any]] = {
    "quick": {
        "make_images": {"retain_images": 200},
        "harden": {"max_rounds": 6},
        "choose_strength": {"retain_images": 160, "frontier": [0.0, 0.5, 1.0, 1.5]},
        "evaluate": {"images": 40, "images_each": 40, "retain_images": 160},
    },
    "standard": {},
    "thorough": {
        "make_images": {"images": 200, "retain_images": 600},
        "invert": {"per_bin": 2},
        "harden": {"max_rounds": 20, "inputs": 480},
        "choose_strength": {"attacks": [{"kind": "concept-inversion", "words": 12, "space": "tokens"}]},
        "evaluate": {"images": 120, "images_each": 120, "retain_images": 640},
    },
}


def filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with what their recipe and their effort set. An unknown name sets nothing; it is refused elsewhere."""
    content: dict[str, Any] = {}
    for table, name in ((EFFORTS, given.get("effort", "standard")), (RECIPES, given.get("recipe", "robust"))):
        _add(content, table.get(name, {}) if isinstance(name, str) else {})
    _add(content, given)
    return content


def _add(content: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Section by section; where both have a value, that of `more` is taken."""
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(content.get(key), dict)
        content[key] = {**content[key], **value} if both else value
