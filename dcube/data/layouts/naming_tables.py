"""Tables beside the images that name them: many public data sets have their labels there and not in folders."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dcube.data.layouts.columns import SPLIT_NAMES, is_patient_column
from dcube.data.layouts.table_rows import READERS, table_rows

FEWEST_NAMED = 2
MOST_CLASSES = 100  # a column with more values does not contain classes
ANY_NUMBER = re.compile(r"\d{1,4}")  # too short to identify an image


@dataclass(frozen=True)
class NamingTable:
    """A table with a column of names of images or of their folders.

    Attributes:
        file: path of the table, relative to the data set's folder.
        column: title of the column, or its number (from 1) if the table has no titles.
        named: the image files that the table names.
        people: title of the first column with several patients and a repeated one; empty if there is none.
        others: titles and values of the other columns that may be classes; empty if there are none.
    """

    file: str
    column: str
    named: frozenset[str]
    people: str
    others: frozenset[str]


def is_table(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in READERS


def find_naming_tables(path: Path, files: Iterable[str], images: Iterable[str]) -> list[NamingTable]:
    """Return the tables among the `files` of a folder that name some of the `images`."""
    tables = list(filter(is_table, files))
    index = _index(images) if tables else {}
    # A table that is named like an image is about that image only.
    return [table for file in tables if PurePosixPath(file).stem not in index and (table := _read(path, file, index))]


def _index(images: Iterable[str]) -> dict[str, set[str]]:
    """Return the image files by the names that a table may use for them.

    These are the path, the name, the name without suffix, and the paths and names of their folders. Folders of splits
    and classes are left out, because a table also names these as labels.
    """
    index: dict[str, set[str]] = defaultdict(set)
    for image in images:
        file = PurePosixPath(image)
        above = 3 if file.parts[0].casefold() in SPLIT_NAMES else 2  # the set itself, split, class
        for place in (file, *file.parents[:-above]):
            for name in {place.as_posix(), place.name, place.name.partition(".")[0]}:
                if not ANY_NUMBER.fullmatch(name):
                    index[name].add(image)
    return index


def _read(path: Path, file: str, index: Mapping[str, set[str]]) -> NamingTable | None:
    found: dict[int, set[str]] = defaultdict(set)
    values: dict[int, set[str]] = defaultdict(set)
    titles: list[str] = []
    people: dict[int, Counter[str]] = {}
    for row in table_rows(path / file):
        if not titles:
            titles = row
            people = {column: Counter() for column, title in enumerate(titles) if is_patient_column(title)}
        else:
            for column in people.keys() & range(len(row)):
                people[column].update(filter(None, [row[column].strip()]))
        for column, cell in enumerate(row):
            found[column].update(name for name in _names(cell) if name in index)
            if len(values[column]) <= MOST_CLASSES:
                values[column].add(cell.strip().casefold())
    named = {column: set().union(*map(index.__getitem__, names)) for column, names in found.items()}
    column = max(named, key=lambda one: len(named[one]), default=0)
    if len(named.get(column, ())) < FEWEST_NAMED:
        return None
    title = str(1 + column) if any(name in index for name in _names(titles[column])) else titles[column]
    others = [values[one] for one in values if one != column and len(values[one]) <= MOST_CLASSES]
    shared = [titles[one] for one, counts in people.items() if one != column and 1 < len(counts) < counts.total()]
    return NamingTable(file, title, frozenset(named[column]), next(iter(shared), ""), frozenset().union(*others))


def _names(cell: str) -> Iterator[str]:
    """Yield the parts and the ends of the path in a cell, because its first folders may not exist here."""
    parts = cell.strip().replace("\\", "/").strip("/").split("/")
    yield from parts
    yield from ("/".join(parts[start:]) for start in range(len(parts) - 1))
