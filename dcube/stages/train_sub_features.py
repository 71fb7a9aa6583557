"""Stage train_sub_features: the control that has D-Cube's sub-feature network alone."""

from dcube.artifacts.candidates import SUB_FEATURES
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(SUB_FEATURES)
