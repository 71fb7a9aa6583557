"""What a trial has yielded: metrics by name, and the predictions that they rest on."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dcube.errors import DcubeError
from dcube.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Result:
    """Attributes:
    folder: `metrics.json` and `predictions.csv`, or `fid.json`, or the files that a study reports.
    """

    folder: Path

    @classmethod
    def load(cls, folder: Path) -> "Result":
        if not folder.is_dir():
            raise DcubeError(f"{folder} is missing: run the study again")
        return cls(folder)

    @cached_property
    def content(self) -> dict:
        """Of the one file of metrics; empty where there is none."""
        for name in ("metrics.json", "fid.json"):
            if (self.folder / name).exists():
                return json.loads((self.folder / name).read_text(encoding="utf-8"))
        return {}

    @property
    def validation(self) -> dict[str, float]:
        """Figures of the validation split."""
        return self.content["validation"]

    @cached_property
    def metrics(self) -> dict[str, float]:
        """By name: of the test split, or of the generated images: `fid`, `kid`, and `fid, CLASS` for every class."""
        if "test" in self.content:
            return self.content["test"]
        classes = self.content.get("classes", {})
        return dict(_numbers(self.content.get("overall", {}))) | {
            f"{name}, {label}": value for label, own in classes.items() for name, value in _numbers(own)
        }

    @cached_property
    def predictions(self) -> Predictions | None:
        path = self.folder / "predictions.csv"
        return Predictions.load(path) if path.exists() else None


def _numbers(values: Mapping) -> Iterator[tuple[str, float]]:
    return ((name, float(value)) for name, value in values.items() if isinstance(value, int | float))
