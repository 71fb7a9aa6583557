"""Reading CSV tables that come with images."""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from dcube.data.layouts.columns import SPLIT_NAMES, refuse_confusing
from dcube.data.layouts.damaged_cells import refuse_damaged
from dcube.data.layouts.table_rows import at_lines, bounded_lines, quoted
from dcube.errors import DcubeError, abbreviated

MOST_ABOVE = 5  # lines above the titles
WHOLE = re.compile(r"-?\d+\.0+")


def is_unlabelled(folder: str) -> bool:
    """Return whether a folder with this name contains images without a label."""
    return folder.strip().casefold() in ("unlabelled", "unlabeled")


def read_rows(path: Path, required: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file as (line number, column → stripped cell); columns of `0.0`, `1.0` … are read as 0, 1 ….

    Raises:
        DcubeError: if a required column is missing, a cell is damaged, a split is unknown, or the file is not a
            complete CSV in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(bounded_lines(file), strict=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            if any("\0" in column for column in columns):
                raise csv.Error("it is UTF-16")
            _refuse_late_titles(path, required, columns, reader.reader)
            _refuse_other_delimiters(path, columns)
            refuse_confusing(path, columns)
            for column in required:
                if column not in columns:
                    raise DcubeError(
                        f"{path}: the column {column!r} is missing (found: {abbreviated(columns, 20) or 'none'}): add "
                        "it, with one value in each row"
                    )
            reader.fieldnames = columns
            rows, uneven = [], []
            for row in reader:
                if not any(row.values()):  # spreadsheets save such rows at the end
                    continue
                if None in row or None in row.values():
                    uneven.append(reader.line_num)
                else:
                    rows.append((reader.line_num, {name: cell.strip() for name, cell in row.items()}))
            if uneven:
                raise DcubeError(f"{at_lines(path, uneven)}: expected {len(columns)} cells")
            refuse_damaged(path, rows)
            _refuse_unknown_splits(path, rows)
            return _with_whole_numbers(rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DcubeError(f"{path} is not a CSV in UTF-8: {error}: save it as one") from None


def _with_whole_numbers(rows: Sequence[tuple[int, dict[str, str]]]) -> list[tuple[int, dict[str, str]]]:
    """Remove `.0` from columns with nothing else, as pandas writes whole numbers with missing ones among them."""
    columns = rows[0][1].keys() - {"file"} if rows else ()
    whole = {name for name in columns if all(WHOLE.fullmatch(row[name]) for _, row in rows if row[name])}
    return [
        (line, {name: cell.partition(".")[0] if name in whole else cell for name, cell in row.items()})
        for line, row in rows
    ]


def _refuse_late_titles(path: Path, required: Sequence[str], first: list[str], rows: Iterator[list[str]]) -> None:
    """Refuse a table whose titles are below a comment, a heading, an empty line or the `sep=,` of Excel."""
    if set(required) <= set(first):
        return
    for line, row in enumerate(islice(rows, MOST_ABOVE), 2):
        if set(required) <= {cell.strip() for cell in row}:
            raise DcubeError(f"{path}: its columns are named in line {line} and not in line 1: remove what is above")


def _refuse_other_delimiters(path: Path, columns: list[str]) -> None:
    for delimiter, name in {";": "semicolons", "\t": "tabs", "|": "bars"}.items():
        if len(columns) == 1 and delimiter in columns[0]:
            raise DcubeError(f"{path}: the columns are separated by {name}: save the table with commas")


def _refuse_unknown_splits(path: Path, rows: Sequence[tuple[int, dict[str, str]]]) -> None:
    splits = {line: row["split"] for line, row in rows if row.get("split")}
    unknown = {line: split for line, split in splits.items() if split.lower() not in SPLIT_NAMES}
    if unknown:
        raise DcubeError(
            f"{at_lines(path, list(unknown))}: unknown split {quoted(unknown.values())}: use train, val or test"
        )


def split_of(row: dict[str, str]) -> str:
    """Return the split of a row; empty if none is given."""
    return SPLIT_NAMES.get(row.get("split", "").lower(), "")


def read_patients(path: Path, known: set[str]) -> dict[str, tuple[str, str]]:
    """Read label and split (empty if not given) by patient from the columns patient_id, label and optionally split.

    Raises:
        DcubeError: if a patient is not in `known` or is listed twice, or if a split is unknown.
    """
    found: dict[str, tuple[str, str]] = {}
    rows = read_rows(path, ("patient_id", "label"))
    unknown = {line: row["patient_id"] for line, row in rows if row["patient_id"] not in known}
    if unknown:
        raise DcubeError(
            f"{at_lines(path, list(unknown))}: there are no images of {quoted(unknown.values())} "
            f"(there are {abbreviated(sorted(known))})"
        )
    for line, row in rows:
        patient = row["patient_id"]
        if patient in found:
            raise DcubeError(f"{path} line {line}: {patient!r} is listed twice")
        found[patient] = row["label"], split_of(row)
    return found
