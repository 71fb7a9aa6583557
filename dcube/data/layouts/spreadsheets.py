"""Reading the rows of spreadsheets as text, independent of the extent that the file declares."""

from pathlib import Path
from typing import Any
from zipfile import ZipFile

from openpyxl import load_workbook

from dcube.errors import DcubeError

HEADER_ROWS = 4
LARGEST = 2**28  # unpacked bytes; a single cell of this size takes several times as much memory
END = 1000  # empty rows after which reading stops; programs may save a million of them


def read_spreadsheet(path: Path, required: tuple[str, ...]) -> list[dict[str, str]]:
    """Read the rows of a spreadsheet's first sheet as column → text.

    The header is the row that contains the first `required` column, among the first `HEADER_ROWS` rows.

    Raises:
        DcubeError: if the spreadsheet is damaged or a required column is missing.
    """
    try:
        rows = sheets(path)[0]
    except Exception as error:  # openpyxl raises all kinds of errors on damaged files
        raise DcubeError(f"{path} is not a readable spreadsheet ({type(error).__name__}): fetch it again") from None
    header = next((row for row in rows[:HEADER_ROWS] if required[0] in row), [])
    for column in required:
        if column not in header:
            raise DcubeError(f"{path}: the column {column!r} is missing: fetch it again")
    return [dict.fromkeys(header, "") | dict(zip(header, row, strict=False)) for row in rows]


def sheets(path: Path) -> list[list[list[str]]]:
    """Return the non-empty rows of each sheet, up to a gap of more than `END` empty rows.

    The extent that the file declares is ignored, because openpyxl would create cells for all of it.
    """
    with path.open("rb") as file:
        if sum(member.file_size for member in ZipFile(file).infolist()) > LARGEST:
            raise ValueError(f"a spreadsheet of more than {LARGEST} bytes")
        return [_filled_rows(sheet) for sheet in load_workbook(file, read_only=True).worksheets]


def _filled_rows(sheet: Any) -> list[list[str]]:
    rows, empty = [], 0
    sheet.reset_dimensions()
    for cells in sheet.values:
        row = [_text(cell) for cell in cells]
        empty = 0 if any(row) else empty + 1
        if empty > END:
            break
        rows.append(row)
    return [row for row in rows if any(row)]


def _text(cell: Any) -> str:
    """Return a cell as text; whole numbers, which Excel sometimes stores as floats, have no decimal point."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return "" if cell is None else str(cell).strip()
