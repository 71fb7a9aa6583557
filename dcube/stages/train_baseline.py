"""Stage train_baseline: the method that `baseline.method` names, under the protocol of train_classifier."""

from dcube.classifier.recipe import BASELINE, method_recipe
from dcube.engine.launcher import launch
from dcube.stages import params, run
from dcube.stages.candidates import train


def main() -> None:
    launch(params().compute.processes, work, "dcube.stages.train_baseline")


def work() -> None:
    settings = params()
    train("train_baseline", BASELINE, method_recipe(settings.baseline), settings)


if __name__ == "__main__":
    run(main)
