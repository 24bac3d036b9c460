"""One step a file: read files, one call into the library, write files. Run by Prefect (cached) and by DVC."""

import sys

_started = sys.orig_argv[sys.orig_argv.index("-m") + 1 :][:1] if "-m" in sys.orig_argv else []
if _started and _started[0].startswith("tasks.") and not _started[0].startswith("tasks._"):
    _step = _started[0].partition(".")[2]
    sys.stderr.write(f"error: {_started[0]} is no command; write `python -m tasks {_step}`.\n")
    sys.exit(2)
