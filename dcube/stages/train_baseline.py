"""Stage train_baseline: a control or a timm network, under the protocol of train_classifier."""

from dcube.stages import run
from dcube.stages.train_classifier import train


def main(kind: str) -> None:
    train(f"train_baseline@{kind}", kind)


if __name__ == "__main__":
    run(main)
