"""Published results on the official test splits of public data sets."""

from dataclasses import dataclass

from dcube.artifacts.schemas.metrics import Metrics

COLUMNS = ("published", "accuracy", "AUROC")
MEDMNIST = "MedMNIST v2 (Yang et al. 2023)"


@dataclass(frozen=True)
class Published:
    """Published results on one test split.

    Attributes:
        test_images: number of test images of the official split; another number means another test.
        source: who published the metrics.
        results: rows of method, accuracy and AUROC.
    """

    test_images: int
    source: str
    results: tuple[tuple[str, float, float], ...]

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        return [(method, f"{accuracy:.3f}", f"{auroc:.3f}") for method, accuracy, auroc in self.results]

    @property
    def note(self) -> str:
        return f"From {self.source}. Their input sizes and training differ from ours."


PUBLISHED = {
    "breastmnist": Published(
        156,
        f"{MEDMNIST}, the last row from MedMNIST+",
        (
            ("ResNet-18, 28 px", 0.863, 0.901),
            ("ResNet-18, 224 px", 0.833, 0.891),
            ("ResNet-50, 28 px", 0.812, 0.857),
            ("ResNet-50, 224 px", 0.842, 0.866),
            ("auto-sklearn", 0.803, 0.836),
            ("AutoKeras", 0.831, 0.871),
            ("Google AutoML Vision", 0.861, 0.919),
            ("DINO ViT-B/16 probe, 28 px", 0.833, 0.868),
        ),
    ),
    "pneumoniamnist": Published(
        624,
        f"{MEDMNIST}, the last row from MedMNIST+",
        (
            ("ResNet-18, 28 px", 0.854, 0.944),
            ("ResNet-18, 224 px", 0.864, 0.956),
            ("ResNet-50, 28 px", 0.854, 0.948),
            ("ResNet-50, 224 px", 0.884, 0.962),
            ("auto-sklearn", 0.855, 0.942),
            ("AutoKeras", 0.878, 0.947),
            ("Google AutoML Vision", 0.946, 0.991),
            ("DINO ViT-B/16 probe, 28 px", 0.866, 0.973),
        ),
    ),
    "covid_ct": Published(
        203,
        "Zhao et al. 2020",
        (
            ("DenseNet-169, ImageNet weights", 0.847, 0.919),
            ("DenseNet-169, self-supervised", 0.86, 0.94),
            ("DenseNet-169, self-supervised, lesion masks", 0.89, 0.98),
        ),
    ),
}


def published_on(metrics: Metrics) -> Published | None:
    """Return the published results on the same test split, or None."""
    found = PUBLISHED.get(metrics.dataset)
    same = found and metrics.split_origin == "official" and metrics.test_images == found.test_images
    return found if same else None
