"""A finished run in miniature, of a data set whose names try to break out of a page."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from dcube.artifacts.layout import DIFFUSION, EVALUATION, FEATURES, FID, MODELS, PARAMS, PREPARED, SAMPLES, SYNTHETIC
from dcube.config.schema import Evaluation, Params
from dcube.data.prepared import PreparedDataset
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.summary import summarise
from dcube.features.selection import Selection
from tests.support.discs import CLASSES, TINY, write_dataset
from tests.support.random_candidate import write_candidate

HOSTILE = '<img src="https://example.org/x.png" onerror="alert(1)">&amp;'
NAMES = [HOSTILE, "malignant", "normal"]
KINDS = {"dcube": 2.0, "sub_features": 1.0}  # how much each knows


def write_run(folder: Path) -> None:
    """Everything below `folder` that stages would have left there."""
    params = Params.model_validate(TINY)
    (folder / PARAMS).write_text(params.to_yaml())
    dataset = _prepared(folder / PREPARED)
    for kind, sharpness in KINDS.items():
        _candidate(folder, dataset, params, kind, sharpness)
    steps = np.arange(1, 6) * 10
    _table(folder / DIFFUSION / "history.csv", step=steps, loss=2.0 / steps, diffusion_loss=1.9 / steps)
    _table(folder / DIFFUSION / "validation.csv", step=steps, fid=[50.0, 40.0, 30.0, 35.0, 36.0])
    _json(folder / DIFFUSION / "config.json", {"weights_sha256": "d" * 64})
    (folder / FEATURES).mkdir()
    statistic, p_value = [0.1, 0.3, 0.2], [0.5, 0.01, 0.2]
    definition = {"timestep": 1, "images": 16, "values_a_map": 16, "significance": 0.05, "keep": 2, "seed": 0}
    Selection([1, 2], [0, 2], statistic, p_value, definition).save(folder / FEATURES)
    _measured(folder, dataset)


def _prepared(folder: Path) -> PreparedDataset:
    dataset = write_dataset(folder)
    manifest = dataset.manifest.replace({"label": dict(zip(CLASSES, NAMES, strict=True))})
    manifest.to_csv(folder / "manifest.csv", index=False)
    labelled = manifest[manifest["label"] != ""]
    counts = {split: rows["label"].value_counts().to_dict() for split, rows in labelled.groupby("split")}
    info = dataset.info | {
        "classes": NAMES, "counts": counts, "unlabelled": 6, "patients": 45, "split_origin": "official",
        "dropped_duplicates": [{"file": "train/1.png", "split": "train", "reason": "copy", "kept": ["test/2.png"]}],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(info))
    return PreparedDataset.load(folder)


def _candidate(folder: Path, dataset: PreparedDataset, params: Params, kind: str, sharpness: float) -> None:
    rows = dataset.indices("test")
    scores = np.random.default_rng(0).normal(size=(len(rows), 3)) + sharpness * np.eye(3)[dataset.labels[rows]]
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    answers = Predictions.of(dataset, rows, chances)
    metrics = summarise(answers, Evaluation(bootstrap_samples=100)) | {
        "model": kind, "kind": kind, "validation": {"auroc": 0.7 + 0.1 * sharpness, "cross_entropy": 0.5},
        "weights_sha256": write_candidate(folder / MODELS / kind, params, 0, kind), "is_phantom": True,
        "dataset_fingerprint": dataset.fingerprint,
    }  # fmt: skip
    evaluation = folder / EVALUATION / kind
    evaluation.mkdir(parents=True)
    answers.save(evaluation / "predictions.csv")
    _json(evaluation / "metrics.json", metrics)
    _table(folder / MODELS / kind / "history.csv", step=[20, 40], loss=[1.0, 0.5])
    _table(folder / MODELS / kind / "validation.csv", step=[12, 24, 36], auroc=[0.6, 0.7, 0.7 + 0.1 * sharpness])


def _measured(folder: Path, dataset: PreparedDataset) -> None:
    values = {"fid": 30.0, "kid": 1.25, "kid_std": 0.1}
    definition = {"extractor": "EfficientNet-Lite0", "n_generated": 12, "n_real": 48}
    blockiness = {"generated": 1.5, "real": 1.0}
    classes = dict.fromkeys(dataset.classes, values)
    fid = {"overall": values, "classes": classes, "blockiness": blockiness, "definition": definition}
    _json(folder / FID / "fid.json", fid)
    real, labels = dataset.images(16)[:9], dataset.labels[:9]
    np.savez(folder / FID / SAMPLES, real=real, real_labels=labels, generated=255 - real, generated_labels=labels)
    nearest = [{"synthetic": row, "training": row, "distance": 0.4} for row in range(3)]
    audit = {
        "n_synthetic": 9, "exact_copies": 0, "share_nearer_than_threshold": 0.01,
        "threshold_quantile_of_held_out": 0.01, "nearest": nearest,
    }  # fmt: skip
    _json(folder / SYNTHETIC / "audit.json", audit)
    np.save(folder / SYNTHETIC / "images-16.npy", 255 - real)


def _json(file: Path, values: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values))


def _table(file: Path, **columns) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(file, index=False)
