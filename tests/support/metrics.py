"""`metrics.json` and `predictions.csv` as the stage `evaluate` would write them, with a few values."""

from typing import Any

from dcube.artifacts.schemas.metrics import Interval, Metrics
from dcube.config.schema import Evaluation
from dcube.evaluation.metrics import HEADLINES

TEST = dict.fromkeys((metric.name for metric in HEADLINES), 0.5)


def made_metrics(**changes: Any) -> Metrics:
    usual = {
        "model": "dcube", "kind": "dcube", "test": TEST, "interval": dict.fromkeys(TEST, Interval(low=0.4, high=0.6)),
        "resampled": "images", "evaluation": Evaluation(bootstrap_samples=100),
        "resamples_without_a_class": 0, "test_images": 80, "test_patients": None, "test_fingerprint": "t" * 64,
        "validation": {"auroc": 0.9, "cross_entropy": 0.5}, "weights_sha256": "w" * 64,
        "dataset_fingerprint": "f" * 64, "is_phantom": True, "grouping": "patients",
    }  # fmt: skip
    return Metrics(**usual | changes)


def made_predictions() -> str:
    """The text of a `predictions.csv`: two classes, every second image of each is predicted rightly."""
    rows = ["id,file,patient,sha256,label,prediction,probability_benign,probability_normal"]
    for number in range(80):
        label = ("benign", "normal")[number // 40]
        predicted, chances = (("benign", "0.8,0.2"), ("normal", "0.2,0.8"))[number % 2]
        rows.append(f"{number},{number}.png,,{number:064x},{label},{predicted},{chances}")
    return "\n".join(rows) + "\n"
