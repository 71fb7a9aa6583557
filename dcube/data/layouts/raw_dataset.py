"""The common representation of all layouts: one record for each image, and a function that decodes it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pandas as pd

from dcube.artifacts.schemas.dataset import SUBGROUP
from dcube.data.layouts.header_patients import describe_divided_people, refuse_divided_series
from dcube.data.layouts.planes import OTHER_PLANE, slices_in_other_planes
from dcube.data.layouts.previews import AMONG_MEDICAL, pictures_among_medical
from dcube.data.layouts.raw_files import RawFiles
from dcube.data.layouts.sequences import refuse_mixed_sequences
from dcube.data.readers.raw_image import RawImage
from dcube.data.readers.stored_images import StoredImage, read_stored_image
from dcube.data.readers.windows import Window


@dataclass(frozen=True)
class ImageRecord:
    """One raw image; an empty string means unknown.

    Attributes:
        file: path relative to the data set's folder; `file#number` (from 0) for a frame or slice of a file.
        subgroups: the image's values of `RawDataset.subgroups`.
    """

    file: str
    label: str = ""
    patient: str = ""
    split: str = ""
    subgroups: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawDataset:
    """A raw data set of any layout.

    Attributes:
        layout: name of the layout for users.
        records: one record for each image, ordered by file.
        read: decodes and windows the image of `records[i]`; raises `UnusableImageError`. Thread-safe.
        ignored: files that this layout does not use.
        notes: what users must know about the data set, without names of files or patients; kept in `dataset.json`.
        doubtful_names: warnings about names of classes and patients, without names of patients.
        divided_people: warnings about images of one person under several patients, without names.
        stand_ins: number of images without a patient, whose DICOM series or file counts as the patient.
        is_medical: whether it contains files that can identify a person (DICOM, NIfTI).
        archive: the single file that contains all images as rows of arrays; None if images are separate files.
        left_out: all other files that are not used, by reason.
        suspects: used images that may not belong to the data set, by a description of why.
        beginnings: returns `numbered_beginnings` of the records' files; empty if people did not name the files.
        formats: the file format of each record by its suffix; empty if people did not name the files.
        subgroups: the columns of `data.subgroups`.
        unused_columns: columns of `metadata.csv` that are not read.
        has_patient_column: whether `metadata.csv` has the column patient_id.
        places: for each record, the part of its preprocessing that comes from another file (the centre of a crop).
    """

    layout: str
    records: list[ImageRecord]
    read: Callable[[int], RawImage]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubtful_names: tuple[str, ...] = ()
    divided_people: tuple[str, ...] = ()
    stand_ins: int = 0
    is_medical: bool = False
    archive: Path | None = None
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    suspects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beginnings: Callable[[], Sequence[tuple[int, ...]]] = tuple
    formats: tuple[str, ...] = ()
    subgroups: tuple[str, ...] = ()
    unused_columns: tuple[str, ...] = ()
    has_patient_column: bool = False
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
        """Make the data set of a folder from its images and their records.

        Args:
            window: the window for DICOM and NIfTI; None takes each file's own.
            tables: files that were used besides the images.

        Raises:
            DcubeError: if patients would not be read, or contradict the headers; the message names the file.
        """
        stored = list(records)
        patients = {image: record.patient for image, record in records.items()}
        refuse_divided_series(patients, str(raw.path))
        refuse_mixed_sequences(patients, str(raw.path))
        if not any(patients.values()):
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
            divided_people=tuple(describe_divided_people(patients)),
            is_medical=raw.are_medical,
            left_out=raw.left_out({image.file for image in records} | set(tables)),
            suspects={what: files for what, files in suspects.items() if files},
        )

    @property
    def name_warnings(self) -> list[str]:
        """Return warnings about names of classes and patients, and about series or files that count as patients."""
        stand_ins = (
            f"{self.stand_ins} of {len(self.records)} images name no patient, and each DICOM series or NIfTI file "
            "counts as one: if a person has several, they may be in several splits, and metrics are too high. Give "
            "patients in metadata.csv"
        )
        return [*self.doubtful_names, *self.divided_people, *([stand_ins] if self.stand_ins else [])]

    @property
    def has_paths(self) -> bool:
        """Whether people named the image files; rows of an archive have no such names."""
        return self.archive is None

    def table(self) -> pd.DataFrame:
        """Return a table with the columns file, label, patient, split and the subgroups; all values are strings."""
        table = pd.DataFrame(self.records, columns=["file", "label", "patient", "split"], dtype=str)
        for position, name in enumerate(self.subgroups):
            table[SUBGROUP + name] = [record.subgroups[position] for record in self.records]
        return table
