"""Stage train_sub_features: train the control that consists only of D-Cube's sub-feature network."""

from dcube.artifacts.candidates import SUB_FEATURES
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(SUB_FEATURES)
