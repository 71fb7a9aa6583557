"""Cache of image summaries: a second check of a data set is fast, because unchanged files are not read again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dcube.config.schema import Data
from dcube.data.checks.near_duplicates import group_near_duplicates
from dcube.data.file_cache import FileCache
from dcube.data.image_summary import ImageSummary
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.readers.stored_images import split_name
from dcube.data.scan_checkpoint import hash_of_preprocessing


class ScanCache:
    """Stored image summaries; the key is the image's file and everything that defines its pixels.

    The cache contains thumbnails, but no names of files or patients.

    Args:
        file: the database; None stores nothing.
        root: the folder to which the files of the records are relative.

    Attributes:
        files: the same database, for facts about whole files.
    """

    def __init__(self, file: Path | None, root: Path, dataset: RawDataset, data: Data) -> None:
        self._root, self._dataset = root, dataset
        self._defining = hash_of_preprocessing(data)
        self.files = FileCache(file, self._defining)

    def find(self, rows: Sequence[int]) -> dict[int, ImageSummary]:
        """Return the stored summaries of these records, by row; rows without a stored summary are left out."""
        keys = {row: key for row in rows if (key := self._key(row))}
        found = self.files.read(list(keys.values()))
        return {row: ImageSummary.from_json(json.loads(found[key])) for row, key in keys.items() if key in found}

    def add(self, summaries: Mapping[int, ImageSummary]) -> None:
        """Store summaries by row, except those of unusable images: another limit or reader may accept these."""
        self.files.write(
            {
                key: json.dumps(summary.as_json()).encode()
                for row, summary in summaries.items()
                if not summary.problem and (key := self._key(row))
            }
        )

    def group_near_duplicates(self, thumbnails: Sequence[bytes]) -> np.ndarray:
        """Return `near_duplicates.group_near_duplicates(thumbnails)`, cached: it takes minutes for 100,000 images."""
        digest = hashlib.sha256(self._defining)
        for one in thumbnails:
            digest.update(one)
        key = digest.digest()
        if known := self.files.read([key]).get(key):
            return np.frombuffer(known, np.int64)
        groups = group_near_duplicates(thumbnails).astype(np.int64)
        self.files.write({key: groups.tobytes()})
        return groups

    def _key(self, row: int) -> bytes:
        record, place = self._dataset.records[row], self._dataset.places[row] if self._dataset.places else ""
        if self._dataset.archive:
            return self.files.key_of(self._dataset.archive, record.file)
        whole = (self._root / record.file).is_file()  # `IM#1` may be the name of a file
        file, number = (record.file, "") if whole else split_name(record.file)
        return self.files.key_of(self._root / file, number, place)
