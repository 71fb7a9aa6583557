"""What every layout is read into: one record for each image, and a way to decode it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pandas as pd

from dcube.artifacts.schemas.dataset import SUBGROUP
from dcube.data.layouts.planes import OTHER_PLANE, slices_in_other_planes
from dcube.data.layouts.previews import AMONG_MEDICAL, pictures_among_medical
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.readers.raw_image import RawImage
from dcube.data.readers.stored_images import StoredImage, read_stored_image
from dcube.data.readers.windows import Window


@dataclass(frozen=True)
class ImageRecord:
    """One raw image; an empty string stands for what is not known.

    Attributes:
        file: relative to the data set's folder; for a frame or slice of a file `file#number`, counted from 0.
        subgroups: the values of the data set's `subgroups`.
    """

    file: str
    label: str = ""
    patient: str = ""
    split: str = ""
    subgroups: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawDataset:
    """A raw data set, whatever its layout.

    Attributes:
        layout: its name for people.
        records: ordered by file.
        read: decodes the image of `records[i]`, windowed; raises `UnusableImageError`. Thread-safe.
        ignored: files that this layout has no use for.
        left_out: all other files that are not used, by the reason why.
        suspects: images that are used and may not be the set's, by what they do.
        notes: what people must know about the set, naming no file and no patient; kept in `dataset.json`.
        doubtful_names: sentences about names of classes and patients that may not be meant, naming no patient.
        stand_ins: images whose DICOM series or file stands for a patient that it does not name.
        is_medical: whether it holds files of a kind that can identify a person (DICOM, NIfTI).
        archive: the one file that holds all images as rows of arrays.
        beginnings: gives `numbered_beginnings` of the records' files, where these were named by people.
        formats: what the records' files are by their suffixes, where these were named by people.
        subgroups: columns of `data.subgroups`.
        unused_columns: those of `metadata.csv` that nothing reads.
        places: where another file has a say in the pixels of each record: what it says.
    """

    layout: str
    records: list[ImageRecord]
    read: Callable[[int], RawImage]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubtful_names: tuple[str, ...] = ()
    stand_ins: int = 0
    is_medical: bool = False
    archive: Path | None = None
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    suspects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beginnings: Callable[[], Sequence[tuple[int, ...]]] = tuple
    formats: tuple[str, ...] = ()
    subgroups: tuple[str, ...] = ()
    unused_columns: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    @classmethod
    def of_stored_images(
        cls,
        layout: str,
        raw: RawFiles,
        records: dict[StoredImage, ImageRecord],
        window: Window | None,
        tables: tuple[str, ...] = (),
    ) -> Self:
        """The images of a folder with their records; `tables` are files that were used besides the images."""
        stored = list(records)
        if not any(record.patient for record in records.values()):
            raw.refuse_unread_patients()
        suspects = {
            OTHER_PLANE: tuple(slices_in_other_planes(stored)),
            AMONG_MEDICAL: pictures_among_medical(raw.kinds, (image.file for image in stored)),
        }
        return cls(
            layout,
            list(records.values()),
            lambda i: read_stored_image(raw.path, stored[i], window),
            stand_ins=sum(one.stands_in and record.patient == one.patient != "" for one, record in records.items()),
            is_medical=raw.are_medical,
            left_out=raw.left_out({image.file for image in records} | set(tables)),
            suspects={what: files for what, files in suspects.items() if files},
        )

    @property
    def name_warnings(self) -> list[str]:
        """Sentences about classes and patients that may not be what they are called."""
        stand_ins = (
            f"{self.stand_ins} of {len(self.records)} images name no patient, and each DICOM series or NIfTI file "
            "counts as one: if a person has several, they may be in several splits, and metrics are too high. Give "
            "patients in metadata.csv"
        )
        return [*self.doubtful_names, *([stand_ins] if self.stand_ins else [])]

    @property
    def has_paths(self) -> bool:
        """Whether the names of the images were given by people; rows of an archive have none."""
        return self.archive is None

    def table(self) -> pd.DataFrame:
        """Columns file, label, patient, split, and those of subgroups; all of them strings."""
        table = pd.DataFrame(self.records, columns=["file", "label", "patient", "split"], dtype=str)
        for position, name in enumerate(self.subgroups):
            table[SUBGROUP + name] = [record.subgroups[position] for record in self.records]
        return table
