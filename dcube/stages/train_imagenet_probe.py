"""Stage train_imagenet_probe: a linear probe on frozen ImageNet features, the first metrics of a run."""

from dcube.classifier.recipe import IMAGENET_PROBE, imagenet_probe_recipe
from dcube.stages import run
from dcube.stages.candidates import train_candidate


def main() -> None:
    train_candidate(
        "train_imagenet_probe", IMAGENET_PROBE, lambda settings: imagenet_probe_recipe(settings.baseline.seed)
    )


if __name__ == "__main__":
    run(main)
