"""Images below one S3 prefix and predictions below another, as one Parquet file per finished batch.

This module must not import torch.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from pyarrow import ArrowInvalid

from dcube.artifacts.schemas.job import StoredObject
from dcube.errors import DcubeError
from dcube.runtime.s3 import Storage

BATCH, PARQUET = "batch-", ".parquet"
IDENTITY = ["object", "etag"]
GONE = "deleted since it was listed"
NO_IMAGE = "not an image: a file of another kind"
DOWNLOADS_AT_ONCE = 8


def batch_file_name(batch: Sequence[StoredObject]) -> str:
    """Return the name of the batch's Parquet file, which depends on the batch's objects and etags alone."""
    content = json.dumps([one.model_dump() for one in batch])
    return f"{BATCH}{hashlib.sha256(content.encode()).hexdigest()[:16]}{PARQUET}"


def list_objects(storage: Storage) -> list[StoredObject]:
    """List all objects below the prefix, sorted by name, without the placeholders that some clients write for folders.

    The names are relative to the prefix.
    """
    start = storage.key("") + "/" if storage.prefix else ""
    with storage.explained():
        pages = storage.client().get_paginator("list_objects_v2").paginate(Bucket=storage.bucket, Prefix=start)
        found = [item for page in pages for item in page.get("Contents", [])]
    objects = [item for item in found if not item["Key"].endswith("/")]
    stored = [StoredObject(object=item["Key"].removeprefix(start), etag=item["ETag"]) for item in objects]
    return sorted(stored, key=lambda one: one.object)


def read_predictions(storage: Storage, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the rows of all finished batches below the prefix. Incomplete Parquet files are skipped."""
    names = [one.object for one in list_objects(storage) if one.object.startswith(BATCH)]
    parts = []
    for name in names:
        try:
            parts.append(pq.read_table(BytesIO(read_object(storage, name)), columns=columns).to_pandas())
        except ArrowInvalid:
            continue
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=list(columns or [*IDENTITY, "image", "problem"]))
    )


def pending_objects(stored: Iterable[StoredObject], rows: pd.DataFrame) -> list[StoredObject]:
    """Return the objects whose present version (name and etag) is in no finished batch."""
    finished = set(rows[IDENTITY].itertuples(index=False, name=None))
    return [one for one in stored if (one.object, one.etag) not in finished]


def current_predictions(stored: Iterable[StoredObject], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows for the present versions of the objects, without duplicates."""
    present = pd.DataFrame([one.model_dump() for one in stored], columns=IDENTITY)
    return rows.merge(present, on=IDENTITY).drop_duplicates([*IDENTITY, "image"])


def read_object(storage: Storage, name: str) -> bytes:
    with storage.explained():
        response: Any = storage.client().get_object(Bucket=storage.bucket, Key=storage.key(name))
        return response["Body"].read()


def download_objects(storage: Storage, objects: Sequence[StoredObject], folder: Path) -> None:
    """Write the objects to files of the same names below the folder.

    Raises:
        DcubeError: if a name fits no file below the folder, or if an object was deleted or cannot be written.
    """
    if unfit := sum(not _names_file(one.object) for one in objects):
        raise DcubeError(f"{storage.address()}: no file can have the names of {unfit} objects: rename or remove them")
    client = storage.client()

    def download(one: StoredObject) -> None:
        file = folder / one.object
        file.parent.mkdir(parents=True, exist_ok=True)
        with storage.explained(), file.open("wb") as target:
            response = client.get_object(Bucket=storage.bucket, Key=storage.key(one.object))
            shutil.copyfileobj(response["Body"], target)

    try:
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            list(pool.map(download, objects))
    except OSError as error:  # its text contains the name of an object
        raise DcubeError(f"{storage.address()} cannot be copied to {folder}: {error.strerror}") from None


def _names_file(name: str) -> bool:
    path = PurePosixPath(name)
    return str(path) == name and not path.is_absolute() and ".." not in path.parts and name.isprintable()


def write_object(storage: Storage, name: str, content: bytes) -> None:
    """Write an object. S3 writes are atomic: readers never see part of one."""
    with storage.explained():
        storage.client().put_object(Bucket=storage.bucket, Key=storage.key(name), Body=content)


def to_parquet(rows: pd.DataFrame) -> bytes:
    buffer = BytesIO()
    rows.to_parquet(buffer, index=False)
    return buffer.getvalue()
