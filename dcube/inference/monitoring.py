"""What the inference log says of one version: predictions, what was fed back, and drift. Imports no torch."""

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
    """Attributes:
    start: its first day, as ISO 8601.
    predictions: also those that abstain.
    with_feedback: decided predictions for images whose class was fed back.
    correct: of them.
    drift: from the version's own validation images.
    """

    start: str
    predictions: int
    abstained: int
    with_feedback: int
    correct: int
    drift: list[DriftRow]


@dataclass(frozen=True)
class Reader:
    """What one reader said about images with a decided prediction.

    Attributes:
        images: about which something was said; of several opinions about one, the last counts.
        as_predicted: with the class that the model decided.
        confirmed: whose truth is known.
        correct: of them.
    """

    name: str
    images: int
    as_predicted: int
    confirmed: int
    correct: int


def periods(
    predictions: pd.DataFrame, fed_back: pd.DataFrame, reference: DriftReference, every: PeriodLength
) -> Iterator[Period]:
    """One for each period with a prediction, the oldest first.

    Args:
        predictions, fed_back: as of `read_log`; predictions of one version. What was fed back last about an image
            counts, and the truth before a reader's word.
    """
    labels = _labels(fed_back.assign(true=fed_back[SOURCE] == TRUTH).sort_values("true", kind="stable"))
    times = pd.to_datetime(predictions["predicted_at"], utc=True, format="ISO8601").dt.tz_localize(None)
    for period, rows in predictions.groupby(times.dt.to_period(FREQUENCIES[every])):
        decided = rows[rows["decision"] != ABSTAIN]
        label = decided["input_sha256"].map(labels)
        yield Period(
            start=str(period.start_time.date()),
            predictions=len(rows),
            abstained=len(rows) - len(decided),
            with_feedback=int(label.notna().sum()),
            correct=int((label == decided["decision"]).sum()),
            drift=prediction_drift(rows.dropna(subset=["confidence"]), reference),
        )


def readers(predictions: pd.DataFrame, fed_back: pd.DataFrame) -> Iterator[Reader]:
    """One for each with an opinion about an image of these predictions, by name; arguments as of `periods`."""
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
    """The last of each image."""
    return rows.drop_duplicates("input_sha256", keep="last").set_index("input_sha256")[column]
