"""Stage train_classifier: train the D-Cube classifier on frozen features of the trained U-ViT."""

from dcube.artifacts.candidates import DCUBE
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(DCUBE)
