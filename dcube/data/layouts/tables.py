"""CSV tables that come with images."""

import csv
import re
from pathlib import Path
from typing import Any

from openpyxl import load_workbook

from dcube.errors import DcubeError, abbreviated

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")
HEADER_ROWS = 4
END = 1000  # empty rows in a spreadsheet; programs save a million of them


def read_rows(path: Path, required: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and stripped cells of a CSV file.

    Raises:
        DcubeError: where a required column is missing, or the file is not a complete CSV in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            _refuse_confusing_columns(path, columns)
            for column in required:
                if column not in columns:
                    raise DcubeError(
                        f"{path}: the column {column!r} is missing (found: {', '.join(columns) or 'none'})"
                    )
            reader.fieldnames = columns
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise DcubeError(f"{path} line {reader.line_num}: expected {len(columns)} cells")
                rows.append((reader.line_num, {name: cell.strip() for name, cell in row.items()}))
            return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise DcubeError(f"{path} is not a CSV in UTF-8: {error}") from None


def _refuse_confusing_columns(path: Path, columns: list[str]) -> None:
    """Of a repeated column only the last would count, and a misspelt one would not count at all."""
    known = {re.sub(r"[\W_]", "", name): name for name in ("file", "label", "patient_id", "split")}
    for column in columns:
        if columns.count(column) > 1:
            raise DcubeError(f"{path}: the column {column!r} is there {columns.count(column)} times: keep one of them")
        meant = known.get(re.sub(r"[\W_]", "", column).casefold(), column)
        if meant != column:
            raise DcubeError(f"{path}: the column {column!r} would not be used: call it {meant!r}, or remove it")


def split_of(row: dict[str, str], where: str) -> str:
    """The split of a row; empty where none is given. `where` names the row in the error about an unknown split."""
    split = row.get("split", "").lower()
    if split and split not in SPLIT_NAMES:
        raise DcubeError(f"{where}: unknown split {split!r}: use train, val or test")
    return SPLIT_NAMES.get(split, "")


def read_patients(path: Path, known: set[str]) -> dict[str, tuple[str, str]]:
    """Label and split (empty where not given) by patient, from the columns patient_id, label and perhaps split.

    Raises:
        DcubeError: for a patient who is not `known` or is listed twice, and for an unknown split.
    """
    found: dict[str, tuple[str, str]] = {}
    for line, row in read_rows(path, ("patient_id", "label")):
        patient = row["patient_id"]
        if patient not in known:
            raise DcubeError(
                f"{path} line {line}: there are no images of {patient!r} (there are {abbreviated(sorted(known))})"
            )
        if patient in found:
            raise DcubeError(f"{path} line {line}: {patient!r} is listed twice")
        found[patient] = row["label"], split_of(row, f"{path} line {line}")
    return found


def read_spreadsheet(path: Path, required: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows below the header, which is the row with the first `required` column, one of the first four.

    Raises:
        DcubeError: for a damaged spreadsheet, or one without a required column.
    """
    try:
        with path.open("rb") as file:
            rows = _filled_rows(load_workbook(file, read_only=True).worksheets[0])
    except Exception as error:  # openpyxl raises all kinds of errors on damaged files
        raise DcubeError(f"{path} is not a readable spreadsheet ({type(error).__name__}): fetch it again") from None
    header = next((row for row in rows[:HEADER_ROWS] if required[0] in row), [])
    for column in required:
        if column not in header:
            raise DcubeError(f"{path}: the column {column!r} is missing: fetch it again")
    return [dict.fromkeys(header, "") | dict(zip(header, row, strict=False)) for row in rows]


def _filled_rows(sheet: Any) -> list[list[str]]:
    """Up to a long gap. The extent that a file claims is not believed: cells would be made up for all of it."""
    sheet.reset_dimensions()
    rows, empty = [], 0
    for cells in sheet.values:
        row = [_text(cell) for cell in cells]
        empty = 0 if any(row) else empty + 1
        if empty > END:
            break
        rows.append(row)
    return [row for row in rows if any(row)]


def _text(cell: Any) -> str:
    """Excel keeps whole numbers as floats now and then."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return "" if cell is None else str(cell).strip()
