"""What a reader of any layout gives: records, and a way to decode the image of each."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from dcube.data.readers.images import RawImage


@dataclass(frozen=True)
class Record:
    """One raw image; an empty string stands for what is not known.

    Attributes:
        file: relative to the set's folder; a frame or slice of it is `file#number`, from 0 on.
    """

    file: str
    label: str = ""
    patient: str = ""
    split: str = ""


@dataclass(frozen=True)
class Source:
    """A raw data set.

    Attributes:
        layout: its name for people.
        records: ordered by file.
        read: decodes the image of `records[i]`, windowed and cropped as the parameters ask; raises
            `UnusableImageError`. Safe to call from several threads.
        ignored: files that are no images.
        notes: what people must know of the set (no file and no patient is named); kept in `dataset.json`.
        identifying: whether it holds files of a kind that carries a person's identity (DICOM, NIfTI).
    """

    layout: str
    records: list[Record]
    read: Callable[[int], RawImage]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    identifying: bool = False

    def table(self) -> pd.DataFrame:
        """Columns file, label, patient, split; all of them strings."""
        return pd.DataFrame(self.records, columns=["file", "label", "patient", "split"], dtype=str)


@dataclass(frozen=True)
class Seen:
    """What one raw image is like; `problem` says why it cannot be used, then nothing else is known.

    A `blank` one is a frame or slice that shows nothing: it is left out.

    `sha256` is over the square pixels that networks see: equal means equal to every model. `thumbnail` is for near
    duplicates, where they are looked for.
    """

    sha256: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    brightest: float = 0.0
    modality: str = ""
    problem: str = ""
    blank: bool = False
    thumbnail: bytes = b""
