"""Checkpoints on the shared bucket, so that a training goes on where another machine left it.

Uploads happen beside the training and never stop it: the newest checkpoint wins, whatever S3 does. An object counts
once its checksum stands beside it, which is written last.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from dcube.artifacts.atomic import atomic_write
from dcube.artifacts.checksums import checksum_of, sha256_of
from dcube.runtime.s3 import Storage, StorageAwayError

KEPT = 2
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
# An undisturbed training can wait for its last upload; one that is told to end has seconds until it is killed.
PATIENCE_AT_END, PATIENCE_WHEN_INTERRUPTED = 30.0, 3.0
# How long the start of a training waits for a server that is away: longer than its restart takes.
PATIENCE_AT_START = 150.0
# In the calling thread: a pool of threads would be waited for when the process ends.
TRANSFER = TransferConfig(use_threads=False)

Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)


class Mirror:
    """The checkpoints of one training on the bucket.

    Args:
        storage: the bucket.
        key: of the training.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        self.storage, self.key = storage, key
        self._client = storage.client()
        self._changed = threading.Condition()
        self._waiting: Path | None = None
        self._busy = self._ending = False

    @classmethod
    def configured(cls, key: str) -> Self | None:
        """The mirror on the bucket that the environment names, if it names one."""
        storage = Storage.configured()
        return cls(storage, key) if storage else None

    # --- to the bucket

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Upload what is offered inside the block; what then still waits gets a short time."""
        threading.Thread(target=self._upload_offers, name="checkpoint mirror", daemon=True).start()
        patience = PATIENCE_WHEN_INTERRUPTED
        try:
            yield
            patience = PATIENCE_AT_END
        finally:
            with self._changed:
                done = self._changed.wait_for(lambda: not (self._waiting or self._busy), patience)
                self._ending = True
                self._changed.notify_all()
            if not done:
                print("warning: the newest checkpoint did not reach S3 before the end", file=sys.stderr)

    def offer(self, checkpoint: Path) -> None:
        """Have a whole checkpoint uploaded soon; it replaces one that still waits. Returns at once."""
        with self._changed:
            self._waiting = checkpoint
            self._changed.notify_all()

    def _upload_offers(self) -> None:
        pause, trouble = FIRST_PAUSE, False
        while checkpoint := self._next_offer():
            try:
                self._upload(checkpoint)
            except FileNotFoundError:
                pass  # newer ones have taken its place on disk, and one of them is offered
            except Exception as error:  # whatever the mirror does, the training goes on
                if not trouble:
                    print(f"warning: checkpoints stay on this machine for now: {error}", file=sys.stderr)
                trouble = True
                self._put_back(checkpoint, pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if trouble:
                print("checkpoints reach S3 again", file=sys.stderr)
            pause, trouble = FIRST_PAUSE, False
            self._rest()

    def _next_offer(self) -> Path | None:
        """Wait for one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            offer, self._waiting = self._waiting, None
            self._busy = not self._ending
            return None if self._ending else offer

    def _put_back(self, checkpoint: Path, pause: float) -> None:
        """Have it wait for the next attempt, unless a newer one does."""
        with self._changed:
            self._waiting = self._waiting or checkpoint
            self._busy = False
            self._changed.wait_for(lambda: self._ending, pause)

    def _rest(self) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def _upload(self, checkpoint: Path) -> None:
        checksum = checksum_of(checkpoint).read_bytes()
        # Opened once: the training may remove the file while its parts are on their way.
        with checkpoint.open("rb") as file, self.storage.explained():
            self._client.upload_fileobj(file, **self._at(checkpoint.name), Config=TRANSFER)
            self._client.put_object(**self._at(checksum_of(checkpoint).name), Body=checksum)
            for old in self._whole()[:-KEPT]:
                # The checksum first: at no instant does it stand beside half a file.
                self._client.delete_object(**self._at(checksum_of(Path(old)).name))
                self._client.delete_object(**self._at(old))

    # --- from the bucket

    def fetch(self, folder: Path, newer_than: str) -> Path | None:
        """Bring the newest whole checkpoint into `folder`, if its name comes after `newer_than`.

        A server that is away is waited for; if it stays away, the training goes on with what this machine has.

        Raises:
            DcubeError: the bucket cannot be used as it is configured.
        """
        try:
            names = self._patiently(self._whole)
            for name in reversed([name for name in names if name > newer_than]):
                if path := self._patiently(partial(self._download, name, folder)):
                    logger.info("Fetched checkpoint %s from %s", name, self.storage.address("checkpoints", self.key))
                    return path
                logger.warning("warning: checkpoint %s on S3 is damaged or gone, trying the one before it", name)
        except StorageAwayError as error:
            logger.warning("warning: going on without the checkpoints on S3: %s", error)
        return None

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        deadline, pause, told = time.monotonic() + PATIENCE_AT_START, FIRST_PAUSE, False
        while True:
            try:
                with self.storage.explained():
                    return ask()
            except StorageAwayError as error:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    logger.warning("warning: waiting for the checkpoints on S3: %s", error)
                told = True
            time.sleep(pause)

    def _download(self, name: str, folder: Path) -> Path | None:
        """The checkpoint, once its bytes agree with its checksum; None where they do not, or were just removed."""
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
        """Names of the checkpoints that have a checksum, oldest first."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.storage.bucket, Prefix=self._name("")
        )
        names = {item["Key"].rpartition("/")[2] for page in pages for item in page.get("Contents", [])}
        return sorted(name for name in names if checksum_of(Path(name)).name in names - {name})

    def _name(self, name: str) -> str:
        return f"{self.storage.key('checkpoints', self.key)}/{name}"

    def _at(self, name: str) -> dict[str, Any]:
        return {"Bucket": self.storage.bucket, "Key": self._name(name)}
