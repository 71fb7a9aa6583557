"""Answers a bucket's images batch by batch, in a process of its own: `python -m dcube.inference.batch JOB.json`."""

import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from dcube.artifacts.schemas.job import Job, Stored
from dcube.classifier.candidate import Candidate, load_candidate
from dcube.config.schema import Compute
from dcube.engine.device import choose_device
from dcube.engine.progress import progress
from dcube.errors import one_line_errors
from dcube.inference.bucket import IDENTITY, NO_IMAGE, as_parquet, get, name_of, put
from dcube.inference.drift import looks
from dcube.inference.inputs import Asked, of_file
from dcube.inference.prediction import Prepared, answers
from dcube.runtime.s3 import Storage

DOWNLOADS_AT_ONCE = 8


def main(job_file: str) -> None:
    job = Job.load(Path(job_file))
    source, results = (Storage.at(address, "address") for address in (job.source, job.results))
    candidate = load_candidate(Path(job.model), choose_device(Compute()))
    with progress("Answering", total=len(job.waiting), unit="objects") as advance:
        for batch in job.batches:
            with TemporaryDirectory(prefix="dcube-batch-") as folder:
                rows = _answer(candidate, _download(source, batch, Path(folder)), job.abstain_below)
            put(results, name_of(batch), as_parquet(rows))
            advance(len(batch))


def _answer(candidate: Candidate, found: Sequence[tuple[Stored, list[Asked]]], abstain_below: float) -> pd.DataFrame:
    """A row an image, and one for each object without any, or it would come back."""
    seen: list[pd.DataFrame] = []

    def look(images: Sequence[Prepared | str], rows: pd.DataFrame) -> None:
        seen.append(pd.concat([rows, _looked_at(images)], axis=1))

    asked = [image for _, images in found for image in images]
    if asked:
        answers(candidate, asked, abstain_below, look)
    owners = [(one.object, one.etag, image.name) for one, images in found for image in images]
    answered = pd.concat([pd.DataFrame(columns=["image"]), *seen], ignore_index=True)
    table = pd.concat([pd.DataFrame(owners, columns=[*IDENTITY, "image"]), answered.drop(columns="image")], axis=1)
    empty = [(one.object, one.etag, one.object, "", "", NO_IMAGE, "", "") for one, images in found if not images]
    columns = [*IDENTITY, "image", "answer", "prediction", "problem", "mode", "modality"]
    return pd.concat([table, pd.DataFrame(empty, columns=columns)], ignore_index=True)


def _download(source: Storage, batch: Sequence[Stored], folder: Path) -> list[tuple[Stored, list[Asked]]]:
    """Each object with the images that it holds. One that has changed since it was listed comes back next time."""

    def fetch(number: int) -> tuple[Stored, list[Asked]]:
        name = batch[number].object
        file = folder / str(number) / Path(name).name
        file.parent.mkdir()
        file.write_bytes(get(source, name))
        return batch[number], of_file(file.parent, file.name, name)

    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        return list(pool.map(fetch, range(len(batch))))


def _looked_at(images: Sequence[Prepared | str]) -> pd.DataFrame:
    """What drift is measured by, a row an image; empty for those that were refused."""
    rows = [
        {"width": np.nan, "height": np.nan, "mode": "", "modality": ""}
        if isinstance(image, str)
        else {
            "width": image.raw.image.width,
            "height": image.raw.image.height,
            "mode": image.raw.mode,
            "modality": image.raw.modality,
            **looks(image.image[None]).iloc[0].to_dict(),
        }
        for image in images
    ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with one_line_errors():
        main(*sys.argv[1:])
