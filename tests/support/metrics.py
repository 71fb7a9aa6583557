"""`metrics.json` as the stage `evaluate` would write it, with a few values."""

from typing import Any

from dcube.artifacts.schemas.metrics import Interval, Metrics
from dcube.evaluation.metrics import HEADLINES

TEST = dict.fromkeys((metric.name for metric in HEADLINES), 0.5)


def made_metrics(**changes: Any) -> Metrics:
    usual = {
        "model": "dcube", "kind": "dcube", "test": TEST, "interval": dict.fromkeys(TEST, Interval(low=0.4, high=0.6)),
        "confidence": 0.95, "abstain_below": 0.0, "calibration_bins": 10, "resampled": "images", "resamples": 100,
        "resamples_without_a_class": 0, "test_images": 80, "test_patients": None, "test_fingerprint": "t" * 64,
        "validation": {"auroc": 0.9, "cross_entropy": 0.5}, "weights_sha256": "w" * 64,
        "dataset_fingerprint": "f" * 64, "is_phantom": True, "grouping": "patients",
    }  # fmt: skip
    return Metrics(**usual | changes)
