"""Stage train_baseline: a control or the method to compare with, under the protocol of train_classifier."""

from functools import partial

from dcube.classifier.candidate import BASELINE
from dcube.engine.launcher import launch
from dcube.stages import params, run
from dcube.stages.train_classifier import train


def main(name: str) -> None:
    settings = params()
    kind = settings.baseline.method if name == BASELINE else name
    work = partial(train, f"train_baseline@{name}", name, kind)
    launch(settings.compute.processes, work, "dcube.stages.train_baseline", name)


if __name__ == "__main__":
    run(main)
