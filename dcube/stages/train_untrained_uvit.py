"""Stage train_untrained_uvit: the control that has D-Cube's head on the features of an untrained U-ViT."""

from dcube.artifacts.candidates import UNTRAINED
from dcube.classifier.recipe import head_recipe
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(UNTRAINED, lambda settings: head_recipe(UNTRAINED, settings.classifier))
