"""The layout with a table: `metadata.csv` says what each picture below its folder shows."""

import difflib
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath

from dcube.data.layouts.listing import read_rows, split_named
from dcube.data.layouts.source import Record
from dcube.data.naming import some
from dcube.data.readers.stored_images import Picture
from dcube.errors import DcubeError

METADATA = "metadata.csv"


def read_metadata(path: Path, pictures: list[Picture]) -> dict[Picture, Record]:
    """The listed pictures in the order given, each with its record.

    A row names a file (all its frames or slices), `file#number` (one of them; the rest may then be left out), or a
    folder (a series). Without a `patient_id` the patient is the one that the file knows.

    Raises:
        DcubeError: naming the line, where a row fits no picture, or a picture no row.
    """
    index = _index(pictures)
    listed: dict[Picture, Record] = {}
    for line, row in read_rows(path, ("file", "label")):
        named = index.get(_normal(row["file"].rstrip("/")))
        if named is None:
            raise DcubeError(f"{path} line {line}: there is no image {row['file']!r} below {path.parent}")
        split = split_named(row, f"{path} line {line}")
        for picture in named:
            if picture in listed:
                raise DcubeError(f"{path} line {line}: {picture.name!r} is listed twice")
            patient = row.get("patient_id", "") or picture.patient
            listed[picture] = Record(picture.name, row["label"], patient, split)
    files = {picture.file for picture in listed}
    unlisted = sorted({picture.file for picture in pictures if picture.file not in files})
    if unlisted:
        raise DcubeError(
            f"{path} does not list {some(unlisted)}: list them (unlabelled: an empty label) or remove them"
        )
    _refuse_unknown_labels(path, list(listed.values()))
    return {picture: listed[picture] for picture in pictures if picture in listed}


def _index(pictures: list[Picture]) -> dict[str, list[Picture]]:
    """Pictures by everything that a row may call them."""
    index: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        folders = (folder.as_posix() for folder in PurePosixPath(picture.file).parents)
        for name in {picture.name, picture.file, *folders} - {"."}:
            index[_normal(name)].append(picture)
    return dict(index)


def _refuse_unknown_labels(path: Path, records: list[Record]) -> None:
    """Where the images lie in folders named like their labels, a label without a folder is a slip of the pen."""
    folders = {parts[0] for record in records if len(parts := PurePosixPath(record.file).parts) > 1}
    if len(folders & {record.label for record in records}) < 2:
        return
    for record in records:
        if record.label and record.label not in folders:
            nearest = difflib.get_close_matches(record.label, folders, n=1)
            hint = f" (did you mean {nearest[0]}?)" if nearest else ""
            raise DcubeError(f"{path}: unknown label {record.label!r} of {record.file}{hint}: folders name the classes")


def _normal(file: str) -> str:
    """One spelling of accents: file systems differ in it."""
    return unicodedata.normalize("NFC", file)
