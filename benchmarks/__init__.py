"""Measures: `python -m benchmarks.<name>` ends with one line of JSON."""

import json
from typing import Any


def say(measure: str, value: Any, goal: Any, *, ok: bool, **more: Any) -> None:
    """The last line of every measure."""
    print(json.dumps({"measure": measure, "value": value, "goal": goal, "ok": bool(ok), **more}))
