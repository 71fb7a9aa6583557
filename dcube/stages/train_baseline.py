"""Stage train_baseline: a control or a timm network, under the protocol of train_classifier."""

from functools import partial

from dcube.engine.launcher import in_processes
from dcube.stages import params, run
from dcube.stages.train_classifier import train


def main(kind: str) -> None:
    work = partial(train, f"train_baseline@{kind}", kind)
    in_processes(params().compute, work, "dcube.stages.train_baseline", kind)


if __name__ == "__main__":
    run(main)
