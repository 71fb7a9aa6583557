"""Drift from training images to new ones: none for similar images, reported for different ones."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from dcube.artifacts.schemas.dataset import Extent, InputSpec, RawImages
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.inference.drift import PROPERTIES, as_markdown, image_drift, image_statistics, reference_of
from dcube.inference.prediction import decide

CLASSES = ["benign", "malignant"]
SPEC = InputSpec(
    channels=1, image_size=16, diffusion_image_size=16, fit="crop",
    raw=RawImages(modes={"L": 5}, width=Extent(smallest=60, median=64.0, largest=70)),
)  # fmt: skip


def sample(seed: int, count: int, gain: float = 1.0, odds: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Images and the probabilities of their classes."""
    generator = np.random.default_rng(seed)
    images = np.clip(
        generator.normal(90, 30, (count, 1, 16, 16)) * gain + generator.normal(0, 10, (count, 1, 1, 1)), 0, 255
    )
    chance = 1 / (1 + np.exp(-generator.normal(odds, 1, count)))
    return images.astype(np.uint8), np.stack([1 - chance, chance], axis=1)


def rows(seed: int, count: int, mode: str = "L", width: int = 64, **changes: float) -> pd.DataFrame:
    images, chances = sample(seed, count, **changes)
    return pd.concat([decide(chances, CLASSES, DecisionPolicy()), image_statistics(images)], axis=1).assign(
        problem="", mode=mode, modality="", width=width, height=width
    )


@pytest.fixture
def reference() -> dict:
    return reference_of(*sample(0, 400), CLASSES)


def drifted(table: pd.DataFrame, reference: dict) -> set[str]:
    return {one.what.split(" (")[0] for one in image_drift(table, reference, SPEC) if one.drifted}


@pytest.mark.parametrize("seed", range(1, 21))
def test_images_of_the_same_distribution_show_no_drift(reference, seed) -> None:
    assert drifted(rows(seed, 40 + 20 * seed), reference) == set()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gain": 1.4}, {"brightness", "contrast"}),
        ({"odds": 3.0}, {"predicted classes", "confidence of the prediction", "entropy of the prediction"}),
        ({"mode": "RGB"}, {"stored as"}),
        ({"width": 300}, {"width"}),
    ],
)
def test_each_kind_of_drift_is_named(reference, changes, named) -> None:
    found = drifted(rows(7, 200, **changes), reference)
    assert named <= found and ("gain" in changes or found == named)


def test_refused_images_are_reported_and_do_not_count_as_predictions(reference) -> None:
    table = pd.concat([rows(1, 90), rows(2, 10).assign(problem="too small", brightness=np.nan)], ignore_index=True)
    first, *others = image_drift(table, reference, SPEC)
    assert (first.what, first.new, first.drifted) == ("images refused", "10.0%", True)
    assert not any(one.drifted for one in others)


def test_drift_distance_equals_scipy_and_the_report_names_the_drift(reference) -> None:
    table = rows(3, 50, gain=1.2)
    found = {one.what: one for one in image_drift(table, reference, SPEC)}
    for name, what in PROPERTIES.items():
        assert found[what].distance == ks_2samp(table[name], reference.values[name]).statistic
    assert "**Drift: brightness" in as_markdown(list(found.values()))
    assert "**No drift is shown.**" in as_markdown(image_drift(rows(1, 60), reference, SPEC))
