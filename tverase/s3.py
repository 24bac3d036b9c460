"""The store in an S3 bucket: uploads in parts that can be resumed, checksums that the server compares, plain errors."""

import hashlib
import math
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from boto3 import Session
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - that of botocore
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)
from s3transfer.exceptions import RetriesExceededError

from .errors import ConfigError, NetworkError, StorageError, TveraseError
from .storage import Store

PART = 16 << 20  # bytes; a larger file is sent in parts of this size
THREADS = 4
WAIT, ATTEMPTS = 30.0, 4  # seconds without a byte, and tries, before a request fails
AGAIN = "what is on this machine is kept, and the same command completes it later"
KEYS = {"403", "AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
FULL = {"507", "EntityTooLarge", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}
DOWN = (HTTPClientError, ConnectionError, IncompleteReadError, Boto3Error, RetriesExceededError)
STALE = {"BadDigest", "InvalidPart", "InvalidRequest", "NoSuchUpload"}  # answers to an upload that is resumed


class S3Store(Store):
    """A store under a prefix of an S3 bucket."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self.bucket, self.root = bucket, f"{prefix}/" if prefix else ""
        self.place = f"s3://{bucket}/{prefix}".rstrip("/")
        own = {} if "AWS_MAX_ATTEMPTS" in os.environ else {"total_max_attempts": ATTEMPTS}
        retries = {"mode": os.environ.get("AWS_RETRY_MODE", "standard"), **own}
        try:
            config = Config(retries=retries, connect_timeout=min(10.0, WAIT), read_timeout=WAIT)
            self.client: Any = Session().client("s3", config=config)
        except (ValueError, BotoCoreError) as error:
            raise ConfigError(
                f"S3 cannot be used ({type(error).__name__}); check AWS_ENDPOINT_URL_S3, AWS_DEFAULT_REGION and AWS_PROFILE."
            ) from error
        server = urlsplit(self.client.meta.endpoint_url)
        self.server = f"{server.hostname}:{server.port}" if server.port else str(server.hostname)  # without a login

    def _present(self, key: str, digest: str, size: int) -> bool:
        found = self._head(key)
        if found is None:
            return False
        # Of an upload in parts, S3 has only a checksum of the parts' checksums.
        whole = found.get("ChecksumSHA256", "-")
        same = whole == _base64(bytes.fromhex(digest)) if "-" not in whole else True
        return same and found["ContentLength"] == size and found["Metadata"].get("sha256") == digest

    def _head(self, key: str) -> dict[str, Any] | None:
        with self._plainly():
            try:
                return dict(self.client.head_object(**self._at(key), ChecksumMode="ENABLED"))
            except ClientError as error:
                if _code(error) in ("404", "NoSuchKey", "NotFound"):
                    return None
                raise

    def _send(self, path: Path, key: str, digest: str) -> None:
        size, mark = path.stat().st_size, {"sha256": digest}
        with self._plainly():
            if size <= PART:
                content, checksum = path.read_bytes(), _base64(bytes.fromhex(digest))
                self.client.put_object(**self._at(key), Body=content, ChecksumSHA256=checksum, Metadata=mark)
                return
            for tries_left in (2, 1, 0):
                upload = self._unfinished(key) or self._begin(key, mark)
                try:
                    self._parts(path, size, key, upload)
                except ClientError as error:
                    if tries_left == 0 or _code(error) not in STALE:
                        raise
                    # Its parts are damaged, or another process has just completed it.
                    with suppress(ClientError):
                        self.client.abort_multipart_upload(**self._at(key), UploadId=upload)
                if self._present(key, digest, size):
                    return

    def _begin(self, key: str, mark: dict[str, str]) -> str:
        made = self.client.create_multipart_upload(**self._at(key), ChecksumAlgorithm="SHA256", Metadata=mark)
        return str(made["UploadId"])

    def _unfinished(self, key: str) -> str | None:
        """The upload that a stopped process left. The key names the content, so its parts are parts of this file."""
        found = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=self.root + key).get("Uploads", [])
        mine = [upload for upload in found if upload["Key"] == self.root + key]
        return str(max(mine, key=lambda upload: upload["Initiated"])["UploadId"]) if mine else None

    def _parts(self, path: Path, size: int, key: str, upload: str) -> None:
        """Send the parts that the server lacks, and let it put them together."""
        ours = {**self._at(key), "UploadId": upload}
        pages = self.client.get_paginator("list_parts").paginate(**ours)
        there = {part["PartNumber"]: part for page in pages for part in page.get("Parts", [])}
        each = max(PART, math.ceil(size / 10_000))  # S3 takes 10,000 parts

        def send(number: int) -> dict[str, Any]:
            with path.open("rb") as handle:
                handle.seek((number - 1) * each)
                content = handle.read(each)
            checksum, part = _base64(hashlib.sha256(content).digest()), there.get(number)
            if part is None or part["Size"] != len(content):
                part = self.client.upload_part(**ours, PartNumber=number, Body=content, ChecksumSHA256=checksum)
            return {"PartNumber": number, "ETag": part["ETag"], "ChecksumSHA256": checksum}

        with ThreadPoolExecutor(THREADS) as pool:
            parts = list(pool.map(send, range(1, math.ceil(size / each) + 1)))
        self.client.complete_multipart_upload(**ours, MultipartUpload={"Parts": parts})

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        with self._plainly():
            sink = SimpleNamespace(write=digest.update)
            self.client.download_fileobj(self.bucket, self.root + key, sink, Config=TransferConfig(use_threads=False))
        return digest.hexdigest()

    def _fetch(self, key: str, to: Path) -> bool:
        if self._head(key) is None:
            return False
        with self._plainly():
            config = TransferConfig(max_concurrency=THREADS)
            self.client.download_file(self.bucket, self.root + key, str(to), Config=config)
        return True

    def _write(self, key: str, content: bytes) -> None:
        with self._plainly():
            checksum = _base64(hashlib.sha256(content).digest())
            self.client.put_object(**self._at(key), Body=content, ChecksumSHA256=checksum)

    def _read(self, key: str) -> bytes | None:
        with self._plainly():
            try:
                return bytes(self.client.get_object(**self._at(key))["Body"].read())
            except self.client.exceptions.NoSuchKey:
                return None

    def _keys(self, prefix: str) -> Iterable[str]:
        with self._plainly():
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.root + prefix)
            return [str(found["Key"]).removeprefix(self.root) for page in pages for found in page.get("Contents", [])]

    def _delete(self, key: str) -> None:
        with self._plainly():
            self.client.delete_object(**self._at(key))

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.root + key}

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Turn what boto3 raises into one sentence, without keys and without the login of an endpoint."""
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error, RetriesExceededError) as error:
            raise self._sentence(error) from error

    def _sentence(self, error: Exception) -> TveraseError:
        if isinstance(error, DOWN):
            return NetworkError(f"the S3 server {self.server} does not answer ({type(error).__name__}); {AGAIN}.")
        if isinstance(error, FlexibleChecksumError):
            return StorageError(f"what {self.place} sends is damaged; publish it again, which replaces it.")
        if not isinstance(error, ClientError):
            return StorageError(
                f"{self.place} needs keys ({type(error).__name__}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        code = _code(error)
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        if code == "NoSuchBucket":
            return StorageError(
                f"the bucket {self.bucket} is not at {self.server}; make it first, or name another one."
            )
        if code in FULL or status in FULL:
            return StorageError(f"{self.place} is full ({code}); free some space there: {AGAIN}.")
        if code in KEYS or status in KEYS:
            return StorageError(
                f"{self.server} refuses {self.place} ({code}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what "
                "this key may do: list, read and write."
            )
        if status.startswith("5"):
            return NetworkError(
                f"the S3 server {self.server} fails again and again ({code}): it is overloaded, restarting or full; {AGAIN}."
            )
        return StorageError(f"{self.server} refuses a request for {self.place} ({code}); {AGAIN}.")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _base64(digest: bytes) -> str:
    return b64encode(digest).decode()
