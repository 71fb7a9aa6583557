"""CSV files of text from outside: no spreadsheet takes a cell for a formula, and what is read is what was written.

Text that starts with `=`, `+`, `-`, `@`, a tab or a carriage return is a formula to a spreadsheet. Such text is written
with a `'` before it; text that has a `'` there already gets one more, so that reading can take one away.
"""

import re
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

SHIELD = "'"
FORMULA = re.compile(r"'*[=+\-@\t\r]")


def to_csv(table: pd.DataFrame, path: Path | None = None, **options: Any) -> str:
    """Without the index; the text where no file is named. `options` are those of pandas."""
    return _mapped(table, _shielded).to_csv(path, index=False, **options) or ""


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """What `to_csv` wrote. `options` are those of pandas."""
    return _mapped(pd.read_csv(path, **options), _unshielded)


def _mapped(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    texts = {name: table[name].map(change) for name in table.columns if not is_numeric_dtype(table[name])}
    return table.assign(**texts).rename(columns=change)


def _shielded(cell: Any) -> Any:
    return SHIELD + cell if isinstance(cell, str) and FORMULA.match(cell) else cell


def _unshielded(cell: Any) -> Any:
    return cell[1:] if isinstance(cell, str) and cell.startswith(SHIELD) and FORMULA.match(cell) else cell
