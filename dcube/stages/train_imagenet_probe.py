"""Stage train_imagenet_probe: fit a linear probe on frozen ImageNet features. It gives the first metrics of a run."""

from dcube.artifacts.candidates import IMAGENET_PROBE
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(IMAGENET_PROBE)
