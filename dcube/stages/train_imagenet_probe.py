"""Stage train_imagenet_probe: a linear probe on frozen ImageNet features, the first metrics of a run."""

from dcube.artifacts.candidates import IMAGENET_PROBE
from dcube.stages.candidates import run_training_stage


def main() -> None:
    run_training_stage(IMAGENET_PROBE)
