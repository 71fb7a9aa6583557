"""Stage train_classifier: the D-Cube classifier on the frozen features of the trained U-ViT."""

from dcube.classifier.candidate import DCUBE
from dcube.classifier.recipe import head_recipe
from dcube.engine.launcher import launch
from dcube.stages import params, run
from dcube.stages.candidates import train


def main() -> None:
    launch(params().compute.processes, work, "dcube.stages.train_classifier")


def work() -> None:
    settings = params()
    train("train_classifier", DCUBE, head_recipe(DCUBE, settings.classifier), settings)


if __name__ == "__main__":
    run(main)
