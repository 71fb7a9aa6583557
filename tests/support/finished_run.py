"""A finished run in miniature, of a data set whose names try to break out of a page."""

from pathlib import Path

import numpy as np
import pandas as pd

from dcube.artifacts.layout import (
    AUDIT,
    CONFIG,
    DATASET,
    DIFFUSION,
    EVALUATION,
    FEATURES,
    FID,
    FID_REPORT,
    METRICS_FILE,
    MODELS,
    PARAMS,
    PREDICTIONS,
    PREPARED,
    SAMPLES,
    SELECTION,
    SYNTHETIC,
)  # fmt: skip
from dcube.artifacts.schemas.audit import Audit, Neighbour
from dcube.artifacts.schemas.dataset import DroppedDuplicate
from dcube.artifacts.schemas.decision import Estimate
from dcube.artifacts.schemas.diffusion import DiffusionConfig
from dcube.artifacts.schemas.fid import Blockiness, Distances, FidDefinition, FidReport
from dcube.artifacts.schemas.metrics import Subgroup, SubgroupColumn
from dcube.artifacts.schemas.selection import Selection, SelectionDefinition
from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from dcube.evaluation.metrics import HEADLINES
from dcube.evaluation.plots import draw_figures
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.summary import evaluate_candidate
from tests.support.discs import CLASSES, TINY, write_dataset
from tests.support.random_candidate import candidate_config, write_candidate

HOSTILE = '<img src="https://example.org/x.png" onerror="alert(1)">&amp;'
NAMES = [HOSTILE, "malignant", "normal"]
ESTIMATES = {metric.name: Estimate(value=0.75, low=0.625, high=0.875) for metric in HEADLINES}
GROUP = Subgroup(value=HOSTILE, images=1212, patients=606, test=ESTIMATES)
SCANNERS = SubgroupColumn(name="scanner", groups=[GROUP], hidden=1)
KINDS = {"dcube": 2.0, "sub_features": 1.0}  # how well each predicts


def write_run(folder: Path) -> None:
    """Write everything below `folder` that the stages would have written."""
    params = Params.model_validate(TINY)
    (folder / PARAMS).write_text(params.to_yaml())
    dataset = _prepared(folder / PREPARED)
    for kind, sharpness in KINDS.items():
        _candidate(folder, dataset, params, kind, sharpness)
    steps = np.arange(1, 6) * 10
    _table(folder / DIFFUSION / "history.csv", step=steps, loss=2.0 / steps, diffusion_loss=1.9 / steps)
    distances = [50.0, 40.0, 30.0, 35.0, 36.0]
    _table(folder / DIFFUSION / "validation.csv", step=steps, fid=distances, noise_mse=1.0 / steps)
    DiffusionConfig(  # its weights are not those of the table's best step
        diffusion=params.diffusion, best_step=40, image_size=16, channels=1, classes=NAMES, data_fingerprint="f" * 64,
        weights_sha256="d" * 64,
    ).save(folder / DIFFUSION / CONFIG)  # fmt: skip
    (folder / FEATURES).mkdir()
    definition = SelectionDefinition(
        timestep=1, images=16, values_a_map=16, null="random_field", significance=0.05, keep=2, seed=0
    )
    Selection(
        best=[1, 2],
        worst=[0, 2],
        statistic=[0.1, 0.3, 0.2],
        p_value=[0.5, 0.01, 0.2],
        critical=[0.2, 0.2, 0.25],
        definition=definition,
    ).save(folder / FEATURES / SELECTION)
    _measured(folder, dataset)


def _prepared(folder: Path) -> PreparedDataset:
    dataset = write_dataset(folder)
    manifest = dataset.manifest.replace({"label": dict(zip(CLASSES, NAMES, strict=True))})
    manifest.to_csv(folder / "manifest.csv", index=False)
    labelled = manifest[manifest["label"] != ""]
    counts = {split: rows["label"].value_counts().to_dict() for split, rows in labelled.groupby("split")}
    dropped = DroppedDuplicate(file="train/1.png", split="train", reason="copy", kept=["test/2.png"])
    changes = {
        "classes": NAMES, "counts": counts, "unlabelled": 6, "patients": 45, "split_origin": "official",
        "dropped_duplicates": [dropped],
    }  # fmt: skip
    dataset.info.model_copy(update=changes).save(folder / DATASET)
    return PreparedDataset.load(folder)


def _candidate(folder: Path, dataset: PreparedDataset, params: Params, kind: str, sharpness: float) -> None:
    rows = dataset.indices("test")
    scores = np.random.default_rng(0).normal(size=(len(rows), 3)) + sharpness * np.eye(3)[dataset.labels[rows]]
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    predictions = Predictions.of(dataset, rows, chances)
    config = candidate_config(
        params, kind=kind, weights_sha256=write_candidate(folder / MODELS / kind, params, 0, kind),
        validation={"auroc": 0.7 + 0.1 * sharpness, "cross_entropy": 0.5},
    )  # fmt: skip
    metrics = evaluate_candidate(kind, config, dataset.info, predictions, params.evaluation)
    metrics = metrics.model_copy(update={"subgroups": [SCANNERS]})
    evaluation = folder / EVALUATION / kind
    evaluation.mkdir(parents=True)
    predictions.save(evaluation / PREDICTIONS)
    metrics.save(evaluation / METRICS_FILE)
    draw_figures(predictions, metrics.evaluation.calibration_bins, evaluation, kind)
    _table(folder / MODELS / kind / "history.csv", step=[20, 40], loss=[1.0, 0.5])
    _table(folder / MODELS / kind / "validation.csv", step=[12, 24, 36], auroc=[0.6, 0.7, 0.7 + 0.1 * sharpness])


def _measured(folder: Path, dataset: PreparedDataset) -> None:
    values = Distances(fid=30.0, kid=1.25, kid_std=0.1)
    definition = FidDefinition(
        extractor="EfficientNet-Lite0", weights_sha256="e" * 64, resize=32, n_generated=12, n_real=48,
        sampling_steps=4, seed=0,
    )  # fmt: skip
    (folder / FID).mkdir()
    FidReport(
        overall=values, classes=dict.fromkeys(dataset.classes, values), definition=definition,
        blockiness=Blockiness(generated=1.5, real=1.0),
    ).save(folder / FID / FID_REPORT)  # fmt: skip
    real, labels = dataset.images(16)[:9], dataset.labels[:9]
    np.savez(folder / FID / SAMPLES, real=real, real_labels=labels, generated=255 - real, generated_labels=labels)
    (folder / SYNTHETIC).mkdir()
    Audit(
        n_synthetic=9, n_held_out=18, exact_copies=0, share_nearer_than_threshold=0.01, threshold=0.2,
        threshold_quantile_of_held_out=0.01, median_distance=0.5, median_distance_of_held_out=0.5,
        nearest=[Neighbour(synthetic=row, training=row, distance=0.4) for row in range(3)],
    ).save(folder / SYNTHETIC / AUDIT)  # fmt: skip
    np.save(folder / SYNTHETIC / "images-16.npy", 255 - real)


def _table(file: Path, **columns) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(file, index=False)
