"""Descriptions of splits, and the notice that is shown beside metrics of a split that may leak patients."""

from dcube.artifacts.schemas.dataset import DatasetInfo, owners_of
from dcube.artifacts.schemas.metrics import Metrics

WHY = "because images of one patient may be in training and test."
TOO_HIGH = f"metrics are likely too high, {WHY}"
BY_IMAGE = f"Split by image: {TOO_HIGH}"
OFFICIAL_BY_IMAGE = f"Official split by image: {TOO_HIGH}"
WITH_THEM = "other images of the same patient are in another split"
GUESSED = f"Groups guessed from file names: metrics may still be too high, {WHY}"
KEPT_APART = {
    "patients": "by patient",
    "group_by": "by group (data.group_by)",
    "guessed": "by groups that are guessed from file names (data.group_by)",
    "none": "by image",
}


def split_notice(metrics: Metrics) -> str:
    """Return the notice for this test; empty if every image has a patient, or a group set by a person."""
    if metrics.grouping == "guessed":
        return GUESSED
    if metrics.without_patient:
        return f"{_on_their_own(metrics)}: if {WITH_THEM}, metrics are too high."
    if metrics.grouping != "none":
        return ""
    return OFFICIAL_BY_IMAGE if metrics.split_origin == "official" else BY_IMAGE


def split_in_words(dataset: DatasetInfo) -> str:
    """Return the origin of the split, what it is split by, and the test fold of a cross-validation, as text."""
    origin = {"official": "came with the data", "generated": "was made here"}[dataset.split_origin]
    kept_apart = KEPT_APART[dataset.grouping]
    if dataset.without_patient:
        known = KEPT_APART["patients"] if dataset.grouping == "none" else kept_apart
        kept_apart = f"{known} ({_on_their_own(dataset)})"
    return f"{origin}, {kept_apart}{_fold_in_words(dataset)}"


def _fold_in_words(dataset: DatasetInfo) -> str:
    if not dataset.folds:
        return ""
    if dataset.fold is None:
        return f"; each of {dataset.folds} folds is the test of the one model that was trained without it"
    return f"; the test is fold {dataset.fold} of 0 to {dataset.folds - 1}"


def _on_their_own(data: DatasetInfo | Metrics) -> str:
    """Return how many labelled images name no patient, or belong to no group, as text."""
    one = data.without_patient == 1
    if owners_of(data.grouping) == "groups":
        belonging = f"belong{'s' if one else ''} to no group"
    else:
        belonging = f"name{'s' if one else ''} no patient"
    return f"{data.without_patient} labelled image{'' if one else 's'} {belonging}"
