"""What a split keeps apart, in words. The notice stands wherever a metric of such a test is shown."""

from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.artifacts.schemas.metrics import Metrics

WHY = "because images of one patient may be in training and test."
TOO_HIGH = f"metrics are likely too high, {WHY}"
BY_IMAGE = f"Split by image: {TOO_HIGH}"
OFFICIAL_BY_IMAGE = f"Official split by image: {TOO_HIGH}"
GUESSED = f"Groups guessed from file names: metrics may still be too high, {WHY}"
KEPT_APART = {
    "patients": "by patient",
    "group_by": "by group (data.group_by)",
    "guessed": "by groups that are guessed from file names (data.group_by)",
    "none": "by image",
}


def split_notice(metrics: Metrics) -> str:
    """The notice that this test needs; empty where patients, or groups that a person has set, were kept apart."""
    if metrics.grouping == "guessed":
        return GUESSED
    if metrics.grouping != "none":
        return ""
    return OFFICIAL_BY_IMAGE if metrics.split_origin == "official" else BY_IMAGE


def split_in_words(dataset: DatasetInfo) -> str:
    """Who made the split, what it keeps apart, and which fold of a cross-validation is the test."""
    origin = {"official": "came with the data", "generated": "was made here"}[dataset.split_origin]
    fold = f"; the test is fold {dataset.fold} of 0 to {dataset.folds - 1}" if dataset.folds else ""
    return f"{origin}, {KEPT_APART[dataset.grouping]}{fold}"
