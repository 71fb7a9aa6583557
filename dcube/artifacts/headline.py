"""`headline.json`: the metric of a stage that `dvc exp show` compares.

It has no format version, because only DVC reads it, and DVC shows every number in it as a metric.
"""

import json
from pathlib import Path

from dcube.artifacts.layout import HEADLINE


def save_headline(folder: Path, group: str, name: str, value: float) -> None:
    """Write the metric that DVC shows in the column `GROUP.NAME`."""
    (folder / HEADLINE).write_text(json.dumps({group: {name: value}}), encoding="utf-8")
