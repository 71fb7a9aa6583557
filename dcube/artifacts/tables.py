"""CSV files that one stage writes and another reads, safe to open in a spreadsheet.

A spreadsheet takes text that starts with `=`, `+`, `-`, `@`, a tab or a carriage return for a formula. `to_csv` puts a
`'` before such text, even if it already has one or more there. `read_csv` removes one, so that it returns the text that
was written.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from dcube.artifacts.schemas.artifact import remedy_of_stage
from dcube.errors import DcubeError

SHIELD = "'"
FORMULA = re.compile(r"'*[=+\-@\t\r]")


@dataclass(frozen=True)
class TableSchema:
    """Required format of a table.

    Attributes:
        columns: required columns; a table may have more.
        remedy: end of the error message for a file that does not fit: how to correct it.
        numbers: whether all cells are numbers; otherwise they are text.
    """

    columns: tuple[str, ...]
    remedy: str
    numbers: bool = False

    def load(self, path: Path, more_columns: Iterable[str] = ()) -> pd.DataFrame:
        """Read and check a table. Raises `DcubeError` if the file is missing or damaged, or lacks a column."""
        try:
            table = read_csv(path, dtype=float) if self.numbers else read_csv(path, dtype=str, keep_default_na=False)
        except (FileNotFoundError, NotADirectoryError):
            raise DcubeError(f"{path} is missing: {self.remedy}") from None
        except ValueError as error:  # pandas' own errors, and text that is not UTF-8, are ValueErrors
            raise self.damaged(path, str(error)) from None
        if missing := [name for name in (*self.columns, *more_columns) if name not in table]:
            raise self.damaged(path, f"it has no column {', '.join(missing)}")
        return table

    def damaged(self, path: Path, reason: str) -> DcubeError:
        return DcubeError(f"{path} is damaged ({' '.join(reason.split())[:160]}): {self.remedy}")


PREPARED_MANIFEST = TableSchema(("id", "file", "label", "patient", "split", "sha256"), remedy_of_stage("prepare"))
SYNTHETIC_MANIFEST = TableSchema(("id", "label", "seed"), remedy_of_stage("synthesize"))
DIFFUSION_HISTORY = TableSchema(("step", "loss"), remedy_of_stage("train_diffusion"), numbers=True)
DIFFUSION_VALIDATION = TableSchema(("step", "fid", "noise_mse"), remedy_of_stage("train_diffusion"), numbers=True)


def to_csv(table: pd.DataFrame, path: Path | None = None, **options: Any) -> str:
    """Write a table without its index; return the text if `path` is None. `options` are those of pandas."""
    return _mapped(table, _shielded).to_csv(path, index=False, **options) or ""


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Read a file that `to_csv` wrote. `options` are those of pandas."""
    return _mapped(pd.read_csv(path, **options), _unshielded)


def _mapped(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    texts = {name: table[name].map(change) for name in table.columns if not is_numeric_dtype(table[name])}
    return table.assign(**texts).rename(columns=change)


def _shielded(cell: Any) -> Any:
    return SHIELD + cell if isinstance(cell, str) and FORMULA.match(cell) else cell


def _unshielded(cell: Any) -> Any:
    return cell[1:] if isinstance(cell, str) and cell.startswith(SHIELD) and FORMULA.match(cell) else cell
