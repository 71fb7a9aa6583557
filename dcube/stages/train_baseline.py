"""Stage train_baseline: train the method of `baseline.method` with the same protocol as train_classifier."""

from dcube.artifacts.candidates import BASELINE
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(BASELINE)
