"""Stage train_baseline: the method that `baseline.method` names, under the protocol of train_classifier."""

from dcube.artifacts.candidates import BASELINE
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(BASELINE)
