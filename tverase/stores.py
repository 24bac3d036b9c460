"""Which store a place means: `s3://BUCKET/PREFIX` or a folder.

The keys, the region and the endpoint of S3 come from the standard variables `AWS_*`.
"""

import os
import re
from pathlib import Path

from .errors import ConfigError
from .storage import FolderStore, Store

VARIABLE = "TVERASE_STORE"


def open_store(where: str | None = None) -> Store:
    """Return the store at `where`, or the one that the variable TVERASE_STORE names."""
    where = where or os.environ.get(VARIABLE, "")
    if where and "://" not in where:
        return FolderStore(Path(where))
    if not where.startswith("s3://"):
        raise ConfigError(f"no store is given; set {VARIABLE} to s3://BUCKET/PREFIX or to a folder.")
    from .s3 import S3Store

    bucket, _, prefix = where.removeprefix("s3://").partition("/")
    if not re.fullmatch(r"[\w.\-]{3,63}", bucket):
        raise ConfigError(f"{VARIABLE} or --to needs s3://BUCKET/PREFIX, and no keys in it: they are AWS_* variables.")
    return S3Store(bucket, prefix.strip("/"))
