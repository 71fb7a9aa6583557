"""Reading the rows of tables in the usual formats for labels: text with any delimiter, spreadsheets, JSON."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from dcube.errors import abbreviated

LARGEST = 2**26  # bytes of a table that is not read line by line
LONGEST = 2**20  # characters of a line
DELIMITERS = ",;\t|"
STREAMED = (".csv", ".tsv")
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def table_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a table, starting with the titles if it has any; nothing if it is damaged or not a table."""
    read = READERS.get(path.suffix.lower())
    if read is None or (path.suffix.lower() not in STREAMED and path.stat().st_size > LARGEST):
        return
    try:
        yield from read(path)
    except Exception:  # a damaged table names no images; functions that need the table report the error
        return


def at_lines(path: Path, lines: Sequence[int]) -> str:
    """Name lines of a table for an error text, the first of many."""
    numbers = abbreviated(list(map(str, lines)))
    return f"{path} line{'s' if len(lines) > 1 else ''} {numbers}"


def quoted(cells: Iterable[str]) -> str:
    """Quote cells for an error text, each once and the first of many; a backslash stays as it is in the table."""
    return abbreviated([repr(cell).replace(2 * "\\", "\\") for cell in dict.fromkeys(cells)])


def _text_rows(path: Path) -> Iterator[list[str]]:
    with path.open("rb") as file:
        encoding = "utf-16" if file.read(2) in UTF16 else "utf-8-sig"
    with path.open(encoding=encoding, errors="replace", newline="") as text:
        first = text.readline(LONGEST)
        text.seek(0)
        delimiter = max(DELIMITERS, key=first.count)
        if delimiter in first or path.suffix.lower() != ".txt":
            yield from csv.reader((line.replace("\0", "") for line in bounded_lines(text)), delimiter=delimiter)
        else:
            yield from _spaced_rows(bounded_lines(text))


def bounded_lines(text: TextIO) -> Iterator[str]:
    """Yield the lines of a table; raise `csv.Error` for a line of `LONGEST` characters, as a file may be one line."""
    while line := text.readline(LONGEST):
        if len(line) == LONGEST:
            raise csv.Error(f"a line of {LONGEST:,} characters and more")
        yield line


def _spaced_rows(lines: Iterable[str]) -> list[list[str]]:
    """Split lines into words; return no rows if the number of words varies, because the text is then not a table."""
    rows = [line.split() for line in lines if line.strip()]
    return rows if len({len(row) for row in rows}) == 1 else []


def _spreadsheet_rows(path: Path) -> Iterable[list[str]]:
    from dcube.data.layouts.spreadsheets import sheets  # a served model does not need openpyxl

    return max(sheets(path), key=len)  # the other sheets are often notes about the data


def _json_rows(path: Path) -> Iterable[list[str]]:
    return _rows_in(json.loads(path.read_bytes()))


def _rows_in(value: Any) -> Iterator[list[str]]:
    """Yield the rows of JSON: list of records, `{name: label}`, `{name: record}`, `{label: [name]}`, nested list."""
    if isinstance(value, dict):
        lists = [one for one in value.values() if isinstance(one, list) and any(isinstance(item, dict) for item in one)]
        if lists:
            yield from _rows_in(max(lists, key=len))
            return
        value = [item for key, one in value.items() for item in _entries(key, one)]
    if isinstance(value, list):
        titles = list(dict.fromkeys(key for item in value if isinstance(item, dict) for key in item))
        yield from [titles] if titles else []
        for item in value:
            cells = [item.get(title, "") for title in titles] if isinstance(item, dict) else item
            yield [str(cell) for cell in (cells if isinstance(cells, list) else [cells])]


def _entries(key: str, value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield {"": key, **value}
    else:
        yield from ([key, one] for one in (value if isinstance(value, list) else [value]))


READERS: dict[str, Callable[[Path], Iterable[list[str]]]] = {
    **dict.fromkeys((*STREAMED, ".txt"), _text_rows),
    **dict.fromkeys((".xlsx", ".xlsm"), _spreadsheet_rows),
    ".json": _json_rows,
}
