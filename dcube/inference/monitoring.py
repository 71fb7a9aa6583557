"""What the inference log says of one version: predictions, what was fed back, and drift. Imports no torch."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from dcube.artifacts.schemas.dataset import ABSTAIN
from dcube.artifacts.schemas.drift import DriftReference, DriftRow
from dcube.artifacts.schemas.inference_log import PeriodLength
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


def periods(
    predictions: pd.DataFrame, fed_back: pd.DataFrame, reference: DriftReference, every: PeriodLength
) -> Iterator[Period]:
    """One for each period with a prediction, the oldest first.

    Args:
        predictions, fed_back: as of `read_log`; predictions of one version. What was fed back last about an image
            counts, and the truth before a reader's word.
    """
    ordered = fed_back.assign(true=fed_back[SOURCE] == "truth").sort_values("true", kind="stable")
    labels = ordered.drop_duplicates("input_sha256", keep="last").set_index("input_sha256")["label"]
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
