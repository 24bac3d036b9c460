"""What an answer of the flow means for whoever asked for an erased model."""

from typing import Any

from tverase.errors import Infeasible, NotProved


def require_proved(result: dict[str, Any]) -> None:
    """Nothing if the verdict is "erased"; otherwise the error that says what it is, with its own exit code."""
    said = result["verdict"]
    if said["outcome"] == "infeasible":
        raise Infeasible(f"{said['why']} The report has the curve; change choose_strength or erase.alpha.")
    if said["outcome"] != "erased":
        raise NotProved(f"{said['title']} ({said['outcome']}). {said['why']}")
