"""Stage train_sub_features: the control that has D-Cube's sub-feature network alone."""

from dcube.classifier.candidate import SUB_FEATURES
from dcube.classifier.recipe import sub_features_recipe
from dcube.engine.launcher import launch
from dcube.stages import params, run
from dcube.stages.candidates import train


def main() -> None:
    launch(params().compute.processes, work, "dcube.stages.train_sub_features")


def work() -> None:
    settings = params()
    train("train_sub_features", SUB_FEATURES, sub_features_recipe(settings.classifier), settings)


if __name__ == "__main__":
    run(main)
