"""Images below one S3 prefix, answers below another: one Parquet file a finished batch. Imports no torch."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from pyarrow import ArrowInvalid

from dcube.artifacts.schemas.job import Stored
from dcube.runtime.s3 import Storage

BATCH, PARQUET = "batch-", ".parquet"
IDENTITY = ["object", "etag"]
NO_IMAGE = "no image: a file of another kind"


def name_of(batch: Sequence[Stored]) -> str:
    """Of the batch's Parquet file: the same objects, the same name."""
    content = json.dumps([one.model_dump() for one in batch])
    return f"{BATCH}{hashlib.sha256(content.encode()).hexdigest()[:16]}{PARQUET}"


def stored_in(storage: Storage) -> list[Stored]:
    """Every object below the prefix, by name; folders that some clients write as empty objects are none."""
    start = storage.key("") + "/" if storage.prefix else ""
    with storage.explained():
        pages = storage.client().get_paginator("list_objects_v2").paginate(Bucket=storage.bucket, Prefix=start)
        found = [item for page in pages for item in page.get("Contents", [])]
    objects = [item for item in found if not item["Key"].endswith("/")]
    stored = [Stored(object=item["Key"].removeprefix(start), etag=item["ETag"]) for item in objects]
    return sorted(stored, key=lambda one: one.object)


def answers_in(storage: Storage, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """All rows of all finished batches below the prefix; a file that is no whole Parquet counts as not there."""
    names = [one.object for one in stored_in(storage) if one.object.startswith(BATCH)]
    parts = []
    for name in names:
        try:
            parts.append(pq.read_table(BytesIO(get(storage, name)), columns=columns).to_pandas())
        except ArrowInvalid:
            continue
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=list(columns or [*IDENTITY, "image", "problem"]))
    )


def unanswered(stored: Iterable[Stored], rows: pd.DataFrame) -> list[Stored]:
    """What no finished batch holds in its present state."""
    finished = set(rows[IDENTITY].itertuples(index=False, name=None))
    return [one for one in stored if (one.object, one.etag) not in finished]


def newest_of(stored: Iterable[Stored], rows: pd.DataFrame) -> pd.DataFrame:
    """The rows about the objects as they are now, each once."""
    present = pd.DataFrame([one.model_dump() for one in stored], columns=IDENTITY)
    return rows.merge(present, on=IDENTITY).drop_duplicates([*IDENTITY, "image"])


def get(storage: Storage, name: str) -> bytes:
    with storage.explained():
        answer: Any = storage.client().get_object(Bucket=storage.bucket, Key=storage.key(name))
        return answer["Body"].read()


def put(storage: Storage, name: str, content: bytes) -> None:
    """S3 shows an object whole or not at all."""
    with storage.explained():
        storage.client().put_object(Bucket=storage.bucket, Key=storage.key(name), Body=content)


def as_parquet(rows: pd.DataFrame) -> bytes:
    buffer = BytesIO()
    rows.to_parquet(buffer, index=False)
    return buffer.getvalue()
