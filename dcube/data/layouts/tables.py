"""CSV tables that come with images."""

import csv
import re
from pathlib import Path

from dcube.errors import DcubeError, abbreviated

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")


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
