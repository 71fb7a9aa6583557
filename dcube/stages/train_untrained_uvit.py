"""Stage train_untrained_uvit: train the control with D-Cube's head on features of an untrained U-ViT."""

from dcube.artifacts.candidates import UNTRAINED
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(UNTRAINED)
