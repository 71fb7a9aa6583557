"""Checkpoints on the shared bucket, with which a training continues on another machine.

Uploads run in the background and never stop the training. Only the newest checkpoint is uploaded, and a checkpoint is
complete once its checksum object exists, which is written last.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from tenacity import sleep_using_event, stop_when_event_set

from dcube.artifacts.atomic import atomic_write
from dcube.artifacts.checksums import checksum_of, sha256_of
from dcube.runtime import retries
from dcube.runtime.s3 import Storage, StorageUnavailableError

KEPT = 2
# Seconds for the last upload: a finished training can wait, but an interrupted one will soon be killed.
TIMEOUT_AT_END, TIMEOUT_WHEN_INTERRUPTED = 30.0, 3.0
# Transfer in the calling thread, because Python would wait for a thread pool when the process ends.
TRANSFER = TransferConfig(use_threads=False)

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


class CheckpointSync:
    """The checkpoints of one training on the bucket.

    Args:
        storage: bucket and prefix.
        key: key of the training.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        self.storage, self.key = storage, key
        self._client = storage.client()
        self._changed = threading.Condition()
        self._offered: Path | None = None  # checkpoint that waits for its upload
        self._closed = threading.Event()

    @classmethod
    def configured(cls, key: str) -> Self | None:
        """Return the checkpoints on the bucket of `DCUBE_STORAGE`, or None if it is not set."""
        storage = Storage.configured()
        return cls(storage, key) if storage else None

    # --- to the bucket

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Upload offered checkpoints during the block; at its end, wait a short time for the last upload."""
        threading.Thread(target=self._upload_offers, name="checkpoint upload", daemon=True).start()
        timeout = TIMEOUT_WHEN_INTERRUPTED
        try:
            yield
            timeout = TIMEOUT_AT_END
        finally:
            with self._changed:
                uploaded = self._changed.wait_for(lambda: self._offered is None, timeout)
                self._closed.set()
                self._changed.notify_all()
            if not uploaded:
                print("warning: the newest checkpoint did not reach S3 before the end", file=sys.stderr)

    def offer(self, checkpoint: Path) -> None:
        """Offer a complete checkpoint for upload, in place of one that still waits. Returns immediately."""
        with self._changed:
            self._offered = checkpoint
            self._changed.notify_all()

    def _upload_offers(self) -> None:
        retrying = retries.UPLOAD_CHECKPOINT.retrying(
            Exception,  # no error of an upload may stop the training
            on_error=lambda error: print(
                f"warning: checkpoints stay on this machine for now: {error}", file=sys.stderr
            ),
            stop=stop_when_event_set(self._closed),
            sleep=sleep_using_event(self._closed),
        )
        while self._wait_for_offer():
            try:
                retrying(self._upload_newest)
            except Exception:
                return  # closed
            if retrying.statistics["attempt_number"] > 1:
                print("checkpoint upload works again", file=sys.stderr)

    def _wait_for_offer(self) -> bool:
        """Wait for an offered checkpoint; return False at the end of the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._offered or self._closed.is_set())
        return not self._closed.is_set()

    def _upload_newest(self) -> None:
        checkpoint = self._offered
        assert checkpoint
        with suppress(FileNotFoundError):  # newer checkpoints replaced it on disk, and one of them is offered
            self._upload(checkpoint)
        with self._changed:
            if self._offered == checkpoint:
                self._offered = None
            self._changed.notify_all()

    def _upload(self, checkpoint: Path) -> None:
        checksum = checksum_of(checkpoint).read_bytes()
        # Opened only once, because the training may remove the file during the upload.
        with checkpoint.open("rb") as file, self.storage.explained():
            self._client.upload_fileobj(file, **self._at(checkpoint.name), Config=TRANSFER)
            self._client.put_object(**self._at(checksum_of(checkpoint).name), Body=checksum)
            for old in self._whole()[:-KEPT]:
                # The checksum is deleted first, so that it never exists beside an incomplete file.
                self._client.delete_object(**self._at(checksum_of(Path(old)).name))
                self._client.delete_object(**self._at(old))

    # --- from the bucket

    def fetch(self, folder: Path, newer_than: str) -> Path | None:
        """Download the newest complete checkpoint into `folder` and return its path, or None if there is none.

        If the server does not respond, wait for some time, then warn and continue with the local checkpoints.

        Args:
            newer_than: only checkpoints whose names sort after this one are downloaded.

        Raises:
            DcubeError: if the bucket cannot be used with the present settings.
        """
        try:
            names = self._with_retries(self._whole)
            for name in reversed([name for name in names if name > newer_than]):
                if path := self._with_retries(partial(self._download, name, folder)):
                    logger.info("Fetched checkpoint %s from %s", name, self.storage.address("checkpoints", self.key))
                    return path
                logger.warning("warning: checkpoint %s on S3 is damaged or gone, trying the one before it", name)
        except StorageUnavailableError as error:
            logger.warning("warning: continuing without the checkpoints on S3: %s", error)
        return None

    def _with_retries(self, request: Callable[[], Result]) -> Result:
        def explained() -> Result:
            with self.storage.explained():
                return request()

        retrying = retries.FETCH_CHECKPOINT.retrying(
            StorageUnavailableError,
            on_error=lambda error: logger.warning("warning: waiting for the checkpoints on S3: %s", error),
        )
        return retrying(explained)

    def _download(self, name: str, folder: Path) -> Path | None:
        """Download a checkpoint and return its path, or None if its checksum is wrong or it was just removed."""
        folder.mkdir(parents=True, exist_ok=True)
        path, partial = folder / name, folder / f".{name}.partial"
        try:
            checksum = self._client.get_object(**self._at(checksum_of(path).name))["Body"].read()
            with partial.open("wb") as file:
                self._client.download_fileobj(**self._at(name), Fileobj=file, Config=TRANSFER)
            if sha256_of(partial).encode() != checksum:
                return None
            partial.replace(path)
            atomic_write(checksum_of(path), checksum)
            return path
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise
        finally:
            partial.unlink(missing_ok=True)

    def _whole(self) -> list[str]:
        """Return the names of the checkpoints that have a checksum, the oldest first."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.storage.bucket, Prefix=self._name("")
        )
        names = {item["Key"].rpartition("/")[2] for page in pages for item in page.get("Contents", [])}
        return sorted(name for name in names if checksum_of(Path(name)).name in names - {name})

    def _name(self, name: str) -> str:
        return f"{self.storage.key('checkpoints', self.key)}/{name}"

    def _at(self, name: str) -> dict[str, Any]:
        return {"Bucket": self.storage.bucket, "Key": self._name(name)}
