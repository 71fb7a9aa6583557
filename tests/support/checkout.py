"""The folder of the project, and paths in its dvc.yaml."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def outs_of(stage: dict[str, Any]) -> list[str]:
    """The paths of a stage's outputs in dvc.yaml, with options or without."""
    return [path for out in stage["outs"] for path in ([out] if isinstance(out, str) else out)]
