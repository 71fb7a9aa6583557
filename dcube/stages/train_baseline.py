"""Stage train_baseline: the method that `baseline.method` names, under the protocol of train_classifier."""

from dcube.artifacts.candidates import BASELINE
from dcube.classifier.recipe import method_recipe
from dcube.stages.candidates import train_candidate


def main() -> None:
    train_candidate(BASELINE, lambda settings: method_recipe(settings.baseline))
