"""What earlier checks have found out about images whose files have not changed since: a second check is fast."""

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
from dcube.data.scan_checkpoint import hash_of_preprocessing


class ScanCache:
    """Summaries by the image's file, and by what defines the pixels.

    There are no names and patients, but thumbnails.

    Args:
        file: of the database; None: nothing is remembered.
        root: the folder that the records' files are relative to.

    Attributes:
        files: what is remembered about whole files.
    """

    def __init__(self, file: Path | None, root: Path, dataset: RawDataset, data: Data) -> None:
        self._root, self._dataset = root, dataset
        self._defining = hash_of_preprocessing(data)
        self.files = FileCache(file, self._defining)

    def find(self, rows: Sequence[int]) -> dict[int, ImageSummary]:
        """What is known of these records, by row."""
        keys = {row: key for row in rows if (key := self._key(row))}
        found = self.files.read(list(keys.values()))
        return {row: ImageSummary.from_json(json.loads(found[key])) for row, key in keys.items() if key in found}

    def add(self, summaries: Mapping[int, ImageSummary]) -> None:
        """Remember what was found out, by row. A refusal is none: another limit, or another reader, may lift it."""
        self.files.write(
            {
                key: json.dumps(summary.as_json()).encode()
                for row, summary in summaries.items()
                if not summary.problem and (key := self._key(row))
            }
        )

    def group_near_duplicates(self, thumbnails: Sequence[bytes]) -> np.ndarray:
        """As the function of that name, which takes minutes for 100,000 images."""
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
        file, _, number = record.file.partition("#")
        return self.files.key_of(self._root / file, number, place)
