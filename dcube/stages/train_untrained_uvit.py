"""Stage train_untrained_uvit: the control that has D-Cube's head on the features of an untrained U-ViT."""

from dcube.artifacts.candidates import UNTRAINED
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(UNTRAINED)
