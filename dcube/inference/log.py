"""The inference log: one JSON line for each prediction, appended to the file that `DCUBE_INFERENCE_LOG` names.

A line records the version, its prediction, the time, the sha256 of the image's preprocessed pixels, and image
statistics such as brightness and contrast for drift. It contains no pixels and no names of files or patients. Feedback
about an image is appended later as a separate line.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dcube.artifacts.schemas.artifact import FORMAT_VERSION
from dcube.artifacts.schemas.inference_log import Feedback, LoggedPrediction, Source
from dcube.data.preprocessing import ModelInput
from dcube.errors import DcubeError
from dcube.evaluation.predictions import classes_of
from dcube.inference.drift import statistics_where_known
from dcube.inference.prediction_row import timestamp
from dcube.runtime.settings import read_settings

NAMES = ["image", "problem"]  # columns that contain, or may contain, the name of the file
SOURCE = "source"  # key that only lines of feedback have
FEWEST_DIGITS = 8  # shortest prefix of a sha256 that is accepted as the name of an image


def log_predictions(rows: pd.DataFrame, inputs: Sequence[ModelInput | str]) -> None:
    """Append the rows of images that were not refused. Do nothing if no log is configured.

    Args:
        inputs: model input of each row, or a text if the image was refused.
    """
    file = read_settings().inference_log
    if file is None:
        return
    images = [found.image if isinstance(found, ModelInput) else None for found in inputs]
    table = pd.concat([rows.drop(columns=NAMES, errors="ignore"), statistics_where_known(images)], axis=1)
    predicted = table[[image is not None for image in images]]
    if len(predicted):
        values = predicted.astype(object).where(predicted.notna(), None).to_dict("records")
        _append(file, "".join(f"{LoggedPrediction.model_validate(row).model_dump_json()}\n" for row in values))


def feed_back(image: str, label: str, source: Source) -> str:
    """Append the true class of an image with a logged prediction, and return the image's full hash.

    Args:
        image: the prediction's `input_sha256`, or its first digits.
        label: a class of the model that made the prediction.
        source: whether the label is the confirmed truth or a reader's correction.

    Raises:
        DcubeError: if no prediction or predictions for several images match, or if the model has no class `label`.
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
        raise DcubeError(f"{row['model']} has no class {label!r}: it knows {', '.join(map(repr, classes))}")
    line = Feedback(input_sha256=row["input_sha256"], label=label, source=source, fed_back_at=timestamp())
    _append(file, f"{line.model_dump_json()}\n")
    return str(row["input_sha256"])


def read_log() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the predictions and the feedback (`input_sha256`, `label`, `source`), in the order of the lines.

    Raises:
        DcubeError: if no log is configured, if it is missing, or if a line is damaged or has another format.
    """
    file = _existing_log()
    predictions: list[dict] = []
    fed_back: list[dict] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").rstrip("\n").split("\n"), 1):
        where = f"{file} line {number}"
        if _is_feedback(line):
            fed_back.append(Feedback.parse(line, where).model_dump())
        else:
            predictions.append(LoggedPrediction.parse(line, where).model_dump(exclude={FORMAT_VERSION}))
    return pd.DataFrame(predictions), pd.DataFrame(fed_back, columns=["input_sha256", "label", SOURCE])


def _is_feedback(line: str) -> bool:
    """Tell feedback from predictions. Invalid JSON counts as a prediction, so that parsing reports the error."""
    try:
        return SOURCE in json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return False


def _existing_log() -> Path:
    file = read_settings().inference_log
    if file is None:
        raise DcubeError("DCUBE_INFERENCE_LOG names no file: set it to the log of `dcube predict` or of the service")
    if not file.exists():
        raise DcubeError(f"{file} is missing: DCUBE_INFERENCE_LOG names it, and nothing has been predicted since")
    return file


def _append(file: Path, lines: str) -> None:
    """Append with a single write, because several processes may share the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(target, "ab", buffering=0) as log:
        log.write(lines.encode())
