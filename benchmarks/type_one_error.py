"""`python -m benchmarks.type_one_error`: how often a study sees a difference between two equal methods.

Both have the same skill, but each seed shifts it. Every simulated study has five repeats on the same 160 test images of
80 patients, two classes. A test at a level of 0.05 should reject at most once in twenty.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.special import expit

from dcube.artifacts.layout import PREDICTIONS
from dcube.config.schema import Evaluation
from dcube.evaluation.conclusions import SIGNIFICANT
from dcube.evaluation.predictions import PREFIX, Predictions
from dcube.studies.results import Result
from dcube.studies.statistics import differences

SPREADS = (0.0, 0.2, 0.5, 1.0)  # standard deviation of the skill over seeds, in logits
METRICS = ["accuracy", "macro_f1", "auroc"]
STUDIES, REPEATS, IMAGES, PER_PATIENT, SKILL = 200, 5, 160, 2, 1.0
EVALUATION = Evaluation(bootstrap_samples=400)


def main() -> None:
    print(f"Share of {STUDIES} studies of equal methods with p < {SIGNIFICANT}\n")
    print("| spread of the seeds | " + " | ".join(METRICS) + " |\n| --- |" + " --- |" * len(METRICS))
    for spread in SPREADS:
        rejected = np.mean([[p < SIGNIFICANT for p in p_values] for p_values in _studies(spread)], axis=0)
        print(f"| {spread} | " + " | ".join(f"{share:.3f}" for share in rejected) + " |", flush=True)


def _studies(spread: float) -> Iterator[list[float]]:
    """The p-values of every simulated study."""
    for study in range(STUDIES):
        generator = np.random.default_rng([study, int(spread * 10)])
        labels = np.arange(IMAGES) // PER_PATIENT % 2
        patients = np.repeat(generator.normal(size=IMAGES // PER_PATIENT), PER_PATIENT)  # easy and hard ones
        with TemporaryDirectory() as folder:
            first, second = (
                [
                    _result(Path(folder, f"{side}-{repeat}"), labels, patients, spread, generator)
                    for repeat in range(REPEATS)
                ]
                for side in range(2)
            )
            yield [one.p for one in differences(first, second, METRICS, EVALUATION).values()]


def _result(
    folder: Path, labels: np.ndarray, patients: np.ndarray, spread: float, generator: np.random.Generator
) -> Result:
    signal = (SKILL + spread * generator.normal()) * (2 * labels - 1)
    ill = expit(signal + patients + 0.5 * generator.normal(size=IMAGES))
    names = np.where(labels == 1, "ill", "well")
    table = pd.DataFrame(
        {"id": np.arange(IMAGES).astype(str), "patient": (np.arange(IMAGES) // PER_PATIENT).astype(str)}
    )
    table = table.assign(file="", sha256=table["id"], label=names, prediction=np.where(ill > 0.5, "ill", "well"))
    folder.mkdir()
    Predictions(table.assign(**{f"{PREFIX}ill": ill, f"{PREFIX}well": 1 - ill})).save(folder / PREDICTIONS)
    return Result.load(folder)


if __name__ == "__main__":
    main()
