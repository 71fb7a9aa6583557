"""`headline.json`: the number of a stage that `dvc exp show` compares.

DVC alone reads it, and takes every number in it for a metric: it has no format version.
"""

import json
from pathlib import Path

from dcube.artifacts.layout import HEADLINE


def save_headline(folder: Path, group: str, name: str, value: float) -> None:
    """DVC's column is `GROUP.NAME`."""
    (folder / HEADLINE).write_text(json.dumps({group: {name: value}}), encoding="utf-8")
