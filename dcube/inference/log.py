"""The inference log: one JSON line for each prediction, appended to the file that `DCUBE_INFERENCE_LOG` names.

A prediction says which version predicted what and when, for an image with which sha256 (of its preprocessed pixels). It
holds no pixels, and no name of a file or a patient. What is fed back about an image later is a line of its own.
"""

import json
import os
from pathlib import Path
from typing import Literal

import pandas as pd

from dcube.errors import DcubeError
from dcube.evaluation.predictions import classes_of
from dcube.inference.prediction_row import timestamp
from dcube.runtime.settings import read_settings

NAMES = ["image", "problem"]  # columns that say, or may say, what the file is called
SOURCE = "source"  # only lines of feedback have it
FEWEST_DIGITS = 8  # of a hash that names an image
Source = Literal["truth", "reader"]


def log_predictions(rows: pd.DataFrame) -> None:
    """Append the rows of images that were not refused; nothing, where no log is named."""
    file = read_settings().inference_log
    predicted = rows[rows["input_sha256"] != ""].drop(columns=NAMES, errors="ignore")
    if file is not None and len(predicted):
        _append(file, predicted.to_json(orient="records", lines=True, double_precision=15))


def feed_back(image: str, label: str, source: Source) -> str:
    """Append what an image shows about which a prediction was made; returns its hash.

    Args:
        image: the prediction's `input_sha256`, or its first digits.
        label: a class of the model that made it.
        source: the truth as it became known, or a reader's correction.

    Raises:
        DcubeError: there is no such prediction, there are some for several images, or the model has no such class.
    """
    file, (predictions, _) = _existing_log(), read_log()
    of_image = predictions[predictions["input_sha256"].str.startswith(image)] if len(predictions) else predictions
    found = of_image["input_sha256"].nunique() if len(of_image) else 0
    if len(image) < FEWEST_DIGITS or found != 1:
        raise DcubeError(
            f"{file} has predictions for {found} images with the input_sha256 {image!r}: give {FEWEST_DIGITS} or more "
            "digits of one that has a prediction"
        )
    row = of_image.iloc[-1].dropna()
    classes = classes_of(row.index)
    if label not in classes:
        raise DcubeError(f"{row['model']} has no class {label!r}: it knows {', '.join(classes)}")
    line = {"input_sha256": row["input_sha256"], "label": label, SOURCE: source, "fed_back_at": timestamp()}
    _append(file, json.dumps(line, ensure_ascii=False) + "\n")
    return str(row["input_sha256"])


def read_log() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The predictions, and what was fed back (`input_sha256`, `label`, `source`), in the order of the lines.

    Raises:
        DcubeError: no log is named, it is missing, or a line of it is damaged.
    """
    file = _existing_log()
    predictions: list[dict] = []
    fed_back: list[dict] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(line)
            (fed_back if SOURCE in values else predictions).append(values)
        except (ValueError, TypeError):
            raise DcubeError(f"{file} line {number} is damaged: restore it, or move the file away") from None
    return pd.DataFrame(predictions), pd.DataFrame(fed_back, columns=["input_sha256", "label", SOURCE])


def _existing_log() -> Path:
    file = read_settings().inference_log
    if file is None:
        raise DcubeError("DCUBE_INFERENCE_LOG names no file: set it to the log of `dcube predict` or of the service")
    if not file.exists():
        raise DcubeError(f"{file} is missing: DCUBE_INFERENCE_LOG names it, and nothing has been predicted since")
    return file


def _append(file: Path, lines: str) -> None:
    """One write at the end of the file: several processes may share it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(target, "ab", buffering=0) as log:
        log.write(lines.encode())
