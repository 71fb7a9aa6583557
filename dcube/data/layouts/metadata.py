"""The layout with a table `metadata.csv`: columns file and label, optionally patient_id, split and others.

Other columns are only read if `data.subgroups` names them.
"""

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath

from dcube.artifacts.schemas.dataset import UNKNOWN
from dcube.config.schema import Data
from dcube.data.grouping_errors import SubgroupError
from dcube.data.layouts.columns import READ, plain_title, refuse_misnamed
from dcube.data.layouts.copied_names import originals
from dcube.data.layouts.naming_tables import is_table
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.layouts.raw_files import METADATA, RawFiles, inner_folder
from dcube.data.layouts.spelling import one_spelling
from dcube.data.layouts.table_rows import LONGEST, at_lines, quoted
from dcube.data.layouts.tables import MOST_ABOVE, read_rows, split_of
from dcube.data.readers.stored_images import StoredImage
from dcube.data.readers.windows import window_of
from dcube.errors import DcubeError, abbreviated

UNMERGE = {
    "patient_id": "fill these, or remove the column if patients are not known",
    "label": "fill these",
}
NBIA = {"seriesuid", "filelocation"}
UNREAD = (".ods", ".xls", ".numbers", ".jsonl", ".parquet", ".sav", ".dta", ".rds", ".mat", ".sqlite", ".accdb")


def recognises(raw: RawFiles) -> bool:
    return bool(raw.image_files) and (METADATA in raw.files or bool(_misnamed(raw)))


def read_layout(raw: RawFiles, data: Data) -> RawDataset:
    """List the images of the table.

    A row names a file (all its frames or slices), `file#number` (one of them; the others may then be missing), or a
    folder (a series). If a row has no `patient_id`, the patient is taken from the image file.

    Raises:
        DcubeError: if a row names no image, or no row lists an image; the message names the line or the image.
    """
    if misnamed := _misnamed(raw):
        raise DcubeError(f"{raw.path / misnamed} would not be read: save it as {METADATA}, or remove it")
    _refuse_foreign_table(raw)
    table = raw.path / METADATA
    rows = read_rows(table, ("file", "label"))
    if rows and (missing := [name for name in data.subgroups if name not in rows[0][1]]):
        raise SubgroupError(f"data.subgroups: {METADATA} has no column {missing[0]!r}")
    columns = tuple(rows[0][1]) if rows else ()
    unused = [name for name in columns if name not in (*READ, *data.subgroups)]
    refuse_misnamed(table, [row for _, row in rows], unused)
    records = _read_records(table, rows, raw, data.subgroups)
    dataset = RawDataset.of_stored_images("metadata", raw, records, window_of(data), tables=(METADATA,))
    return replace(
        dataset,
        subgroups=tuple(data.subgroups),
        unused_columns=tuple(unused),
        has_patient_column="patient_id" in columns,
    )


def columns_of(path: Path) -> set[str]:
    """Return the columns of a raw data set's table; empty if it has no table."""
    table = inner_folder(path) / METADATA
    return {name for _, row in read_rows(table, ()) for name in row} if table.exists() else set()


def _read_records(
    path: Path, rows: Sequence[tuple[int, dict[str, str]]], raw: RawFiles, subgroups: Sequence[str]
) -> dict[StoredImage, ImageRecord]:
    """Return the listed images with their records, in the order of the files."""
    index = _index(raw)
    missing = {line: row["file"] for line, row in rows if _normalised(row["file"]) not in index}
    if missing:
        raise DcubeError(
            f"{at_lines(path, list(missing))}: there is no image {quoted(missing.values())} below {path.parent}"
            f"{_mend(next(iter(missing.values())), index)}"
        )
    listed: dict[StoredImage, ImageRecord] = {}
    for line, row in rows:
        split = split_of(row)
        for image in index[_normalised(row["file"])]:
            if image in listed:
                raise DcubeError(f"{path} line {line}: {image.name!r} is listed twice")
            patient = row.get("patient_id", "") or image.patient
            groups = tuple(row[name] or UNKNOWN for name in subgroups)
            listed[image] = ImageRecord(image.name, row["label"], patient, split, groups)
    files = {image.file for image in listed}
    unlisted = sorted({image.file for image in raw.images if image.file not in files})
    if unlisted:
        raise DcubeError(
            f"{path} does not list {abbreviated(unlisted)}: list them (unlabelled: an empty label) or remove them"
        )
    if rows and "patient_id" in rows[0][1] and not any(record.patient for record in listed.values()):
        raise DcubeError(
            f"{path}: the column 'patient_id' is empty in every row: fill it, or remove it if patients are not known"
        )
    for column in ("patient_id", "label"):
        _refuse_merged(path, column, [row.get(column, "") for _, row in rows])
    _refuse_unknown_labels(path, list(listed.values()))
    return {image: listed[image] for image in raw.all_images if image in listed}


def _refuse_merged(path: Path, column: str, cells: Sequence[str]) -> None:
    """Refuse a column of merged cells, of which a spreadsheet saves only the first."""
    named = list(filter(None, cells))
    apart = not any(map(all, pairwise(cells)))
    if len(named) > 1 and cells[0] and apart and len(set(named)) == len(named):
        raise DcubeError(
            f"{path}: each {column} is followed by empty cells, as merged cells are saved: {UNMERGE[column]}"
        )


def _mend(name: str, index: Mapping[str, Sequence[StoredImage]]) -> str:
    """Return a hint for an error text: the images that the path may mean, or how to write the path."""
    slashes = ": write / in the place of \\" if "\\" in name else ""
    meant = PurePosixPath(name.replace("\\", "/"))
    files = sorted({image.file for images in index.values() for image in images})
    alike = [
        file for file in files if PurePosixPath(file).stem.casefold() in (meant.name.casefold(), meant.stem.casefold())
    ]
    return slashes or (f" (did you mean {abbreviated(alike)}?)" if alike else ": write its path below that folder")


def _misnamed(raw: RawFiles) -> str:
    """Return a table of the images with a wrong name (`Metadata.csv`, `metadata.xlsx`), which would not be read."""
    files = [] if METADATA in raw.files else [file for file in raw.files if "/" not in file]
    alike = [file for file in files if PurePosixPath(METADATA).stem in _likely_names(PurePosixPath(file).stem)]
    names = {table.file for table in raw.naming_tables} if any(map(is_table, alike)) else set()
    return next((file for file in alike if file in names or file.lower().endswith(UNREAD)), "")


def _likely_names(stem: str) -> set[str]:
    """Return the names meant by a stem: `Metadata` is metadata, and so is `metadata (1)` from a second download."""
    return {stem.casefold(), *originals(stem.casefold())}


def _refuse_foreign_table(raw: RawFiles) -> None:
    """Refuse a `metadata.csv` that came with an archive and has other columns."""
    with (raw.path / METADATA).open(encoding="utf-8-sig", errors="replace") as file:
        titles = "".join(file.readline(LONGEST) for _ in range(1 + MOST_ABOVE))
    cells = re.split(r"[,;\t|\n]", titles.replace("\0", ""))  # UTF-16 has zero bytes between the letters
    names = {plain_title(cell) for cell in cells}
    if names >= NBIA:
        raise DcubeError(
            f"{raw.path / METADATA} is the list of series that comes with a download from TCIA (NBIA): remove it, and "
            "put the series into one folder for each class; or write a table in its place, with the columns file (the "
            "folders under 'File Location'), label and patient_id (as 'Subject ID')"
        )
    if "file" in names:
        return
    for table in raw.naming_tables:
        if table.file == METADATA:
            raise DcubeError(
                f"{raw.path / METADATA}: the column 'file' is missing, and its column {table.column!r} names the "
                "images: write a table with the columns file (their paths), label and patient_id in its place"
            )


def _index(raw: RawFiles) -> dict[str, list[StoredImage]]:
    """Return the images by every name that a row may use.

    Masks and localizers have only their own names, not their folder's: they are used only if a row lists them.
    """
    index: dict[str, list[StoredImage]] = defaultdict(list)
    for image in raw.all_images:
        aside = image in raw.set_aside
        folders = [] if aside else [folder.as_posix() for folder in PurePosixPath(image.file).parents]
        for name in {image.name, image.file, *folders} - {"."}:
            index[_normalised(name)].append(image)
    return dict(index)


def _refuse_unknown_labels(path: Path, records: list[ImageRecord]) -> None:
    """Refuse labels without a folder if the folders are named like the labels: they are spelling mistakes."""
    folders = {one_spelling(parts[0]) for record in records if len(parts := PurePosixPath(record.file).parts) > 1}
    if len(folders & {one_spelling(record.label) for record in records}) < 2:
        return
    for record in records:
        if record.label and one_spelling(record.label) not in folders:
            nearest = difflib.get_close_matches(record.label, folders, n=1)
            hint = f" (did you mean {nearest[0]}?)" if nearest else ""
            raise DcubeError(f"{path}: unknown label {record.label!r} of {record.file}{hint}: folders name the classes")


def _normalised(file: str) -> str:
    """Normalise a path (`./a/` is `a`) and its accents, which file systems encode differently."""
    return unicodedata.normalize("NFC", PurePosixPath(file).as_posix())
