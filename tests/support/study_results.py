"""Results of a study's trials without a training, and the table over them."""

from pathlib import Path

import numpy as np
import pandas as pd

from dcube.artifacts.layout import FID_REPORT, METRICS_FILE
from dcube.artifacts.schemas.fid import Blockiness, Distances, FidDefinition, FidReport
from dcube.config.loading import load_preset
from dcube.evaluation.predictions import Predictions
from dcube.studies.results import Result
from dcube.studies.runner import StudyResults
from dcube.studies.study import Study
from dcube.studies.table import StudyTable, make_table
from dcube.studies.trials import settings_to_choose_from, variants
from tests.support.metrics import made_metrics

METRICS = ["accuracy", "macro_f1", "auroc"]
DEFINITION = FidDefinition(
    extractor="lite0", weights_sha256="", resize=32, n_real=9, n_generated=9, sampling_steps=4, seed=0
)


def predicted(folder: Path, skill: float, seed: int, n: int = 90, shift: str = "") -> Result:
    """A result with two images a patient; the larger `skill`, the more often it is right."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    chance = 1 / (1 + np.exp(-(skill * (2 * labels - 1) + generator.normal(size=n))))
    table = pd.DataFrame(
        {
            "id": [f"{i}{shift}" for i in range(n)], "file": "", "patient": [f"p{i // 4}" for i in range(n)],
            "sha256": [f"{i:064d}" for i in range(n)], "label": np.where(labels == 1, "ill", "well"),
            "prediction": np.where(chance > 0.5, "ill", "well"), "probability_ill": chance,
            "probability_well": 1 - chance,
        }
    )  # fmt: skip
    folder.mkdir(parents=True)
    Predictions(table[table.columns]).save(folder / "predictions.csv")
    loaded = Predictions.load(folder / "predictions.csv")
    test = {
        name: float(value)
        for name, value in zip(
            METRICS, (np.mean((chance > 0.5) == labels), np.mean((chance > 0.5) == labels), skill), strict=True
        )
    }
    validation = {"auroc": 0.5 + skill / 10}
    made_metrics(test=test, validation=validation, test_fingerprint=loaded.fingerprint).save(folder / METRICS_FILE)
    (folder / "roc.png").write_bytes(b"")
    return Result.load(folder)


def distance(folder: Path, values: list[float]) -> list[Result]:
    results = []
    for number, value in enumerate(values):
        variant = folder / str(number)
        variant.mkdir(parents=True)
        FidReport(
            overall=Distances(fid=value, kid=value / 100, kid_std=0.0), definition=DEFINITION,
            classes={"ill": Distances(fid=value + 1, kid=value / 50, kid_std=0.0)},
            blockiness=Blockiness(generated=1.0, real=1.0),
        ).save(variant / FID_REPORT)  # fmt: skip
        results.append(Result.load(variant))
    return results


def table_of(folder: Path, study: Study, skills: dict[str, float], data: str = "phantom") -> StudyTable:
    results = StudyResults({}, {}, {})
    for variant in variants(study):
        seeds = range(study.repeats)
        results.by_variant[variant] = [
            predicted(folder / f"{variant.title}{s}", skills[variant.row.name], s) for s in seeds
        ]
        results.chosen[variant] = next(settings_to_choose_from(study, data, variant.row))
    return make_table("mine", study, load_preset(data), results)
