"""Small evaluated candidates and invented predictions, for tests of the registry."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dcube.artifacts.candidates import ON_DIFFUSION_FEATURES
from dcube.artifacts.layout import CONFIG, EVALUATION, METRICS_FILE, MODELS, PREDICTIONS
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.config.schema import Params
from dcube.evaluation.plots import confusion_figure
from dcube.evaluation.predictions import PREFIX, Predictions
from dcube.evaluation.summary import evaluate_candidate
from dcube.registry.versions import RegisteredModel
from dcube.stages import register
from tests.support.random_candidate import CLASSES, SPEC, candidate_config, write_candidate

NAME = "dcube-discs"  # the registered model of the data set `discs`
DATASET = DatasetInfo(
    name="discs",
    is_phantom=True,
    classes=CLASSES,
    input=SPEC,
    counts={},
    grouping="patients",
    split_origin="generated",
    fingerprint="f" * 64,
)
EACH = 30  # images of a class
# The candidates of a whole pipeline: name → kind.
CANDIDATES = {
    "dcube": "dcube", "untrained_uvit": "untrained_uvit", "sub_features": "sub_features", "baseline": "resnet18"
}  # fmt: skip


def predictions(right: dict[str, int], confidence: float = 0.8, test: str = "", classes: list[str] = CLASSES):
    """The first `right` of each class's `EACH` images (two a patient) are predicted correctly, others as the next."""
    rows = []
    for index, label in enumerate(classes):
        for number in range(EACH):
            predicted = index if number < right[label] else (index + 1) % len(classes)
            probabilities = np.full(len(classes), (1 - confidence) / (len(classes) - 1))
            probabilities[predicted] = confidence
            name = f"{test}{label}-{number}"
            patient = f"{label}-{number // 2}"
            rows.append((name, f"{name}.png", patient, f"hash of {name}", label, classes[predicted], *probabilities))
    columns = ["id", "file", "patient", "sha256", "label", "prediction", *(PREFIX + name for name in classes)]
    return Predictions(pd.DataFrame(rows, columns=columns))


def write_evaluated(
    name: str,
    seed: int,
    auroc: float,
    right: int | dict[str, int],
    params: Params,
    test: str = "",
    kind: str = "",
) -> None:
    """Write a candidate to `outputs`, with `right` of every class's 30 test images predicted correctly."""
    if isinstance(right, int):
        right = dict.fromkeys(CLASSES, right)
    weights = write_candidate(MODELS / name, params, seed)
    config = candidate_config(
        params, kind=kind or name, validation={"auroc": auroc, "cross_entropy": 0.5}, weights_sha256=weights
    )
    if config.kind in ON_DIFFUSION_FEATURES:
        config = config.model_copy(update={"blocks": [1, 2]})
    config.save(MODELS / name / CONFIG)  # the weights are a sub-feature network's, whatever the kind
    made = predictions(right, test=test)
    metrics = evaluate_candidate(name, config, DATASET, made, params.evaluation)
    folder: Path = EVALUATION / name
    folder.mkdir(parents=True, exist_ok=True)
    made.save(folder / PREDICTIONS)
    confusion_figure(made).savefig(folder / "confusion.png", dpi=60)
    (folder / "model_card.md").write_text(f"# {name}")
    metrics.save(folder / METRICS_FILE)


def run_pipeline(params: Params, seed: int, right: int | dict[str, int], **options) -> RegisteredModel:
    """Register the result of a pipeline with one candidate, D-Cube."""
    write_evaluated("dcube", seed=seed, auroc=0.9, right=right, params=params, **options)
    register.main()
    return RegisteredModel.existing(NAME)


def run_candidates(
    params: Params, number: int, right: int, names: Sequence[str] = tuple(CANDIDATES)
) -> RegisteredModel:
    """Write params.yaml, and register the results of these candidates, each a little worse than the one before."""
    Path("params.yaml").write_text(params.to_yaml())
    for place, name in enumerate(names):
        kind = CANDIDATES[name]
        write_evaluated(name, 10 * number + place, 0.9 - place / 100, right - 2 * place, params, kind=kind)
    register.main()
    return RegisteredModel.existing(NAME)
