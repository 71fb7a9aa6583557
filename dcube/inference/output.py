"""Output of prediction rows as a terminal table, CSV or JSON."""

import json
from collections.abc import Callable
from io import StringIO

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dcube.artifacts.tables import to_csv
from dcube.evaluation.predictions import PREFIX

FOR_PEOPLE = (
    "image", "patient", "images", "first_image", "decision", "prediction", "confidence", "entropy", "spread", "problem",
)  # fmt: skip


def as_csv(rows: pd.DataFrame) -> str:
    return to_csv(rows, float_format="%.6g")


def as_json(rows: pd.DataFrame) -> str:
    """Return a JSON list of objects; unknown values are null."""
    return json.dumps(json.loads(rows.to_json(orient="records")), indent=2, ensure_ascii=False) + "\n"


def as_table(rows: pd.DataFrame) -> str:
    """Return a table for the terminal, without columns that are empty or the same as another one in all rows."""
    if rows["prediction"].equals(rows["decision"]):
        rows = rows.drop(columns="prediction")
    shown = [name for name in FOR_PEOPLE if name in rows and _has_values(rows[name])]
    probabilities = [name for name in rows.columns.astype(str) if name.startswith(PREFIX)]
    place = shown.index("confidence") + 1 if "confidence" in shown else len(shown)
    columns = [*shown[:place], *(probabilities if "confidence" in shown else []), *shown[place:]]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=_who(rows), title_justify="left", caption=_how(rows))
    for name in columns:
        table.add_column(name.removeprefix(PREFIX).replace("_", " "), overflow="fold")
    for row in rows[columns].itertuples(index=False):
        table.add_row(*map(_cell, row))
    buffer = StringIO()
    Console(file=buffer, highlight=False, width=None if _is_terminal() else 200, markup=False).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {"table": as_table, "csv": as_csv, "json": as_json}


def _who(rows: pd.DataFrame) -> str | None:
    """Return model, version and weights for the title, as they are the same in all rows."""
    if "weights_sha256" not in rows or rows.empty:
        return None
    first = rows.iloc[0]
    return f"{first['model']}/{first['version']}, weights {first['weights_sha256'][:12]}"


def _how(rows: pd.DataFrame) -> str | None:
    if "use" not in rows or not _has_values(rows["decision"]):
        return None
    first = rows.iloc[0]
    return f"Decided by: {first['decided_by']}. {first['use']}"


def _has_values(column: pd.Series) -> bool:
    return bool((column.notna() & (column != "")).any())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.3f}"
    return str(value)


def _is_terminal() -> bool:
    return Console().is_terminal
