"""What a deployed run is given: params.yaml, changed by overrides, as the JSON that Prefect takes.

prefect.yaml calls `read` when it is deployed, and for one run other than the usual:
prefect deployment run erase/on-demand --params "$(python -m flows._params concepts=skull finetune.steps=100)"
"""

import json
import sys
from pathlib import Path
from typing import Any

from tasks._quiet import plainly
from tverase.config import Params


def read(overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """`{"params": ...}` with what params.yaml says and nothing that it leaves to the defaults."""
    params = Params.load(Path("params.yaml"), overrides)
    return {"params": params.model_dump(mode="json", by_alias=True, exclude_unset=True)}


if __name__ == "__main__":
    with plainly():
        sys.stdout.write(json.dumps(read(tuple(sys.argv[1:]))) + "\n")
