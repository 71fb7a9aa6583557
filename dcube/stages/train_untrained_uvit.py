"""Stage train_untrained_uvit: the control that has D-Cube's head on the features of an untrained U-ViT."""

from dcube.classifier.candidate import UNTRAINED
from dcube.classifier.recipe import head_recipe
from dcube.engine.launcher import launch
from dcube.stages import params, run
from dcube.stages.candidates import train


def main() -> None:
    launch(params().compute.processes, work, "dcube.stages.train_untrained_uvit")


def work() -> None:
    settings = params()
    train("train_untrained_uvit", UNTRAINED, head_recipe(UNTRAINED, settings.classifier), settings)


if __name__ == "__main__":
    run(main)
