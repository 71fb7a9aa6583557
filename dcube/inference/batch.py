"""Batch prediction on a bucket's images in a separate process: `python -m dcube.inference.batch JOB.json`."""

import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.artifacts.schemas.job import BatchJob, StoredObject
from dcube.classifier.candidate import Candidate, load_candidate
from dcube.config.schema import Compute
from dcube.data.preprocessing import ModelInput
from dcube.engine.device import choose_device
from dcube.engine.progress import progress
from dcube.errors import one_line_errors
from dcube.inference.bucket import (
    DOWNLOADS_AT_ONCE,
    GONE,
    IDENTITY,
    NO_IMAGE,
    batch_file_name,
    read_object,
    to_parquet,
    write_object,
)
from dcube.inference.inputs import InputImage, images_in_file
from dcube.inference.log import log_with_statistics
from dcube.inference.prediction import drift_columns, predict
from dcube.runtime.processes import prepare_process
from dcube.runtime.s3 import MissingObjectError, Storage


def main(job_file: str) -> None:
    job = BatchJob.load(Path(job_file))
    source, results = (Storage.at(address, "address") for address in (job.source, job.results))
    candidate = load_candidate(Path(job.model), choose_device(Compute()))
    with progress("Predicting", total=len(job.pending), unit="objects") as advance:
        for batch in job.batches:
            with TemporaryDirectory(dir=Path(job_file).parent) as folder:
                rows = _predict_objects(candidate, _download(source, batch, Path(folder)), job.policy)
            rows = rows.assign(**job.identity)
            write_object(results, batch_file_name(batch), to_parquet(rows))
            log_with_statistics(rows)  # afterwards: only batches that are not written are computed again
            advance(len(batch))


def _predict_objects(
    candidate: Candidate, downloads: Sequence[tuple[StoredObject, list[InputImage] | None]], policy: DecisionPolicy
) -> pd.DataFrame:
    """Return one row per image, and one per object without images, because an object without rows stays pending."""
    found = [(one, of_object or []) for one, of_object in downloads]
    parts: list[pd.DataFrame] = []

    def on_batch(inputs: Sequence[ModelInput | str], rows: pd.DataFrame) -> None:
        parts.append(pd.concat([rows, drift_columns(inputs)], axis=1))

    images = [image for _, of_object in found for image in of_object]
    if images:
        predict(candidate, images, policy, on_batch)
    owners = [(one.object, one.etag, image.name) for one, of_object in found for image in of_object]
    predicted = pd.concat([pd.DataFrame(columns=["image"]), *parts], ignore_index=True)
    table = pd.concat([pd.DataFrame(owners, columns=[*IDENTITY, "image"]), predicted.drop(columns="image")], axis=1)
    empty = [
        (one.object, one.etag, one.object, "", "", GONE if of_object is None else NO_IMAGE, "", "")
        for one, of_object in downloads
        if not of_object
    ]
    columns = [*IDENTITY, "image", "decision", "prediction", "problem", "mode", "modality"]
    return pd.concat([table, pd.DataFrame(empty, columns=columns)], ignore_index=True)


def _download(
    source: Storage, batch: Sequence[StoredObject], folder: Path
) -> list[tuple[StoredObject, list[InputImage] | None]]:
    """Return each object with the images in it, or with None if the object was deleted since it was listed.

    An object that changed since it was listed stays pending, because its rows carry the old etag.
    """

    def download(number: int) -> tuple[StoredObject, list[InputImage] | None]:
        name = batch[number].object
        file = folder / str(number) / Path(name).name
        file.parent.mkdir()
        try:
            file.write_bytes(read_object(source, name))
        except MissingObjectError:
            return batch[number], None
        return batch[number], images_in_file(file.parent, file.name, name)

    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        return list(pool.map(download, range(len(batch))))


if __name__ == "__main__":
    prepare_process()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with one_line_errors():
        main(*sys.argv[1:])
