"""The inference log: one JSON line for each prediction, appended to the file that `DCUBE_INFERENCE_LOG` names.

A line records the version, its prediction, the time, the sha256 of the image's preprocessed pixels, and image
statistics such as brightness and contrast for drift. It contains no pixels and no names of files or patients. Feedback
about an image is appended later as a separate line.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from dcube.artifacts.schemas.artifact import FORMAT_VERSION
from dcube.artifacts.schemas.inference_log import Feedback, LoggedPrediction
from dcube.data.preprocessing import ModelInput
from dcube.errors import DcubeError
from dcube.evaluation.predictions import classes_of
from dcube.inference.drift import statistics_where_known
from dcube.inference.prediction_row import timestamp
from dcube.runtime.settings import read_settings

# Columns that contain, or may contain, the name of a file, and those that only a batch prediction has.
NOT_LOGGED = ["image", "problem", "object", "etag", "width", "height", "mode", "modality"]
SOURCE = "source"  # key that only lines of feedback have
FEWEST_DIGITS = 8  # shortest prefix of a sha256 that is accepted as the name of an image


def log_predictions(rows: pd.DataFrame, inputs: Sequence[ModelInput | str]) -> None:
    """Append the rows of images that were not refused. Do nothing if no log is configured.

    Args:
        inputs: model input of each row, or a text if the image was refused.
    """
    if read_settings().inference_log is not None:
        images = [found.image if isinstance(found, ModelInput) else None for found in inputs]
        log_with_statistics(pd.concat([rows, statistics_where_known(images)], axis=1))


def log_with_statistics(rows: pd.DataFrame) -> None:
    """Append the rows that have image statistics, which refused images lack. Do nothing if no log is configured."""
    file = read_settings().inference_log
    if file is None or "brightness" not in rows:
        return
    predicted = rows[rows["brightness"].notna()].drop(columns=NOT_LOGGED, errors="ignore")
    if len(predicted):
        values = predicted.astype(object).where(predicted.notna(), None).to_dict("records")
        _append(file, "".join(f"{LoggedPrediction.model_validate(row).model_dump_json()}\n" for row in values))


@dataclass(frozen=True)
class InferenceLog:
    """Contents of the inference log.

    Attributes:
        predictions: one row for each prediction, in the order of the lines.
        fed_back: the feedback (`input_sha256`, `label`, `source`), in the order of the lines.
        skipped: sentence with the number of lines that are damaged or have another format, and the first of them;
            empty if there are none.
    """

    file: Path
    predictions: pd.DataFrame
    fed_back: pd.DataFrame
    skipped: str


def feed_back(log: InferenceLog, image: str, label: str, source: str) -> str:
    """Append the true class of an image with a logged prediction, and return the image's full hash.

    Args:
        image: the prediction's `input_sha256`, or its first digits.
        label: a class of the model that made the prediction.
        source: `truth` for the confirmed class, or the name of the reader whose opinion it is.

    Raises:
        DcubeError: if no prediction or predictions for several images match, if the model has no class `label`, or if
            the name of the reader is not allowed.
    """
    row = _prediction_of(log, image).dropna()
    classes = classes_of(row.index)
    if label not in classes:
        raise DcubeError(f"{row['model']} has no class {label!r}: it knows {', '.join(map(repr, classes))}")
    try:
        line = Feedback(input_sha256=row["input_sha256"], label=label, source=source, fed_back_at=timestamp())
    except ValidationError:
        raise DcubeError(f"--by {source!r}: give `truth`, or a reader's name of 1 to 64 characters") from None
    _append(log.file, f"{line.model_dump_json()}\n")
    return str(row["input_sha256"])


def _prediction_of(log: InferenceLog, image: str) -> "pd.Series":
    """Return the last prediction for the image."""
    if len(image) < FEWEST_DIGITS:
        raise DcubeError(
            f"{image!r} has {len(image)} of the 64 digits of an input_sha256: give {FEWEST_DIGITS} or more of them"
        )
    of_image = log.predictions
    if len(of_image):
        of_image = of_image[of_image["input_sha256"].str.startswith(image)]
    images = of_image["input_sha256"].nunique() if len(of_image) else 0
    if images > 1:
        raise DcubeError(
            f"{log.file} has predictions for {images} images whose input_sha256 begins with {image}: give more digits"
        )
    if not images:
        raise DcubeError(
            f"{log.file} has no prediction for an image whose input_sha256 begins with {image!r}: take it from the "
            "column input_sha256 of `dcube predict`"
        )
    return of_image.iloc[-1]


def read_log() -> InferenceLog:
    """Read the file `DCUBE_INFERENCE_LOG`. Lines that are damaged or have another format are skipped and counted.

    Raises:
        DcubeError: if no log is configured, or if it is missing.
    """
    file = _existing_log()
    predictions: list[dict] = []
    fed_back: list[dict] = []
    problems: list[str] = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        where = f"{file} line {number}"
        try:
            if _is_feedback(line):
                fed_back.append(Feedback.parse(line, where).model_dump())
            elif line.strip():
                predictions.append(LoggedPrediction.parse(line, where).model_dump(exclude={FORMAT_VERSION}))
        except DcubeError as error:
            problems.append(str(error))
    skipped = f"left out: {len(problems)} × damaged line: {problems[0]}" if problems else ""
    columns = ["input_sha256", "label", SOURCE]
    return InferenceLog(file, pd.DataFrame(predictions), pd.DataFrame(fed_back, columns=columns), skipped)


def _is_feedback(line: bytes) -> bool:
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
