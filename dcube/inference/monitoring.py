"""Monitoring of one version by the inference log: predictions, feedback, drift. This module must not import torch."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from dcube.artifacts.schemas.dataset import ABSTAIN
from dcube.artifacts.schemas.drift import DriftReference, DriftRow
from dcube.artifacts.schemas.inference_log import TRUTH, PeriodLength
from dcube.inference.drift import prediction_drift
from dcube.inference.log import SOURCE

FREQUENCIES: dict[PeriodLength, str] = {"day": "D", "week": "W", "month": "M"}


@dataclass(frozen=True)
class Period:
    """Summary of the predictions in one period.

    Attributes:
        start: first day of the period, as ISO 8601.
        predictions: number of predictions, including abstentions.
        with_feedback: number of predictions without abstention whose image has feedback.
        correct: number of predictions in `with_feedback` whose decision equals the feedback.
        by_class: class of the feedback → number of correct predictions, and of all predictions in `with_feedback`.
        drift: comparison with the version's own validation images.
    """

    start: str
    predictions: int
    abstained: int
    with_feedback: int
    correct: int
    by_class: dict[str, tuple[int, int]]
    drift: list[DriftRow]


@dataclass(frozen=True)
class Reader:
    """Summary of one reader's opinions about images for which the model did not abstain.

    Attributes:
        images: number of images with an opinion; the last opinion about an image counts.
        as_predicted: number of images whose opinion equals the model's decision.
        confirmed: number of images whose true class is known.
        correct: number of images in `confirmed` whose opinion equals the true class.
    """

    name: str
    images: int
    as_predicted: int
    confirmed: int
    correct: int


def periods(
    predictions: pd.DataFrame, fed_back: pd.DataFrame, reference: DriftReference, every: PeriodLength
) -> Iterator[Period]:
    """Yield a summary of each period that has predictions, the oldest first.

    Args:
        predictions: predictions of one version, from `read_log`.
        fed_back: feedback from `read_log`. For each image the last feedback counts, or the last truth if there is one.
    """
    labels = _labels(fed_back.assign(true=fed_back[SOURCE] == TRUTH).sort_values("true", kind="stable"))
    times = pd.to_datetime(predictions["predicted_at"], utc=True, format="ISO8601").dt.tz_localize(None)
    for period, rows in predictions.groupby(times.dt.to_period(FREQUENCIES[every])):
        decided = rows[rows["decision"] != ABSTAIN]
        label = decided["input_sha256"].map(labels)
        is_correct = label == decided["decision"]
        yield Period(
            start=str(period.start_time.date()),
            predictions=len(rows),
            abstained=len(rows) - len(decided),
            with_feedback=int(label.notna().sum()),
            correct=int(is_correct.sum()),
            by_class={str(name): (int(of_class.sum()), len(of_class)) for name, of_class in is_correct.groupby(label)},
            drift=prediction_drift(rows.dropna(subset=["confidence"]), reference),
        )


def readers(predictions: pd.DataFrame, fed_back: pd.DataFrame) -> Iterator[Reader]:
    """Yield a summary of each reader with an opinion about these predictions, by name. Arguments as for `periods`."""
    decided = _labels(predictions[predictions["decision"] != ABSTAIN], "decision")
    truth = _labels(fed_back[fed_back[SOURCE] == TRUTH])
    for name, rows in fed_back[fed_back[SOURCE] != TRUTH].groupby(SOURCE):
        said = _labels(rows[rows["input_sha256"].isin(decided.index)])
        if len(said):
            known = truth.reindex(said.index)
            yield Reader(
                name=str(name),
                images=len(said),
                as_predicted=int((said == decided.reindex(said.index)).sum()),
                confirmed=int(known.notna().sum()),
                correct=int((said == known).sum()),
            )


def _labels(rows: pd.DataFrame, column: str = "label") -> pd.Series:
    """Return input_sha256 → last value of `column`."""
    return rows.drop_duplicates("input_sha256", keep="last").set_index("input_sha256")[column]
