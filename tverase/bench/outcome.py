"""How a part of the table ended: done, failed or refused, with one sentence. The other parts go on."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError, DataError, Infeasible, ModelError, NothingToErase, NumericalError, TveraseError
from .deadline import OutOfTime, within

State = Literal["done", "failed", "refused"]


class Partial(TveraseError):
    """A table with cells that failed or were refused although the rest is there; its exit code is 12."""

    exit_code = 12


@dataclass(frozen=True)
class Outcome:
    """The state, the reason if it is not done, and what was found out if it is."""

    state: State
    why: str = ""
    found: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON, the findings beside the state."""
        return {"state": self.state, "why": self.why, **(self.found or {})}


def attempted(work: Callable[[], dict[str, Any]], seconds: float) -> Outcome:
    """What `work` finds out, or why it does not; whatever it raises becomes a state."""
    try:
        return Outcome("done", found=within(seconds, work))
    except OutOfTime:
        return Outcome("failed", f"it takes longer than {seconds:g} s; allow more with --seconds and --retry.")
    except (ConfigError, ModelError, NothingToErase) as error:
        return Outcome("refused", _sentence(error))
    except (DataError, Infeasible, NumericalError) as error:
        return Outcome("failed", _sentence(error))
    except Exception as error:
        logging.getLogger("tverase").info("a part of the table failed", exc_info=error)
        return Outcome("failed", f"{type(error).__name__}: {_sentence(error)}")


def _sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
