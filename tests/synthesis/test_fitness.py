"""Each fitness check, with synthetic images that fail it and images that pass it."""

import numpy as np
import pandas as pd
import pytest

from dcube.artifacts.schemas.audit import Audit
from dcube.synthesis.fitness import border_reason, fid_reason, probe_reason

RNG = np.random.default_rng(0)
PATCH = 4


def smooth_images(n: int) -> np.ndarray:
    return np.cumsum(RNG.integers(-3, 4, (n, 1, 16, 16)), axis=3).clip(-100, 100).astype(np.int16) + 120


def features(n: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    return RNG.normal(size=(n, 8)) + gap * labels[:, None], labels


@pytest.mark.parametrize(
    ("fid", "noise", "said"),
    [
        ([90, 50, 40], [0.2, 0.1, 0.1], "FID was still falling when the training ended, by 20%"),
        ([90, 50, 49.5], [0.2, 0.1, 0.1], ""),
        ([90, 50, 60], [0.2, 0.1, 0.1], ""),
        ([3601, 4053, 4304, 4141], [0.5, 0.4, 0.3, 0.2], "FID never fell below its first measurement"),  # pure noise
        ([90, 50, 60], [0.2, 0.1, 0.09], "the error of the predicted noise was still falling"),
        ([50.0], [0.2], "less than twice"),
        ([], [], "less than twice"),
    ],
)
def test_unsettled_fid_is_reported(fid, noise, said):
    reason = fid_reason(pd.DataFrame({"fid": fid, "noise_mse": noise}))
    assert reason.startswith(said) if said != "less than twice" else said in reason
    assert bool(reason) == bool(said)


def test_visible_patch_borders_are_reported():
    real = smooth_images(20)
    seams = real + 40 * (np.arange(16) // PATCH % 2).astype(np.int16)
    as_pixels = (images.clip(0, 255).astype(np.uint8) for images in (real, seams))
    natural, with_seams = as_pixels
    assert border_reason(natural[:10], natural[10:], PATCH) == ""
    said = border_reason(with_seams, natural, PATCH)
    assert said.startswith("patch borders can be seen") and f"in the {len(with_seams)} images made for training" in said


def test_images_that_mislead_a_probe_are_reported():
    training, validation, good = features(200, 1.0), features(100, 1.0), features(60, 1.0)
    wrong = good[0], 1 - good[1]
    assert probe_reason(training, good, validation) == ""
    many_wrong = np.repeat(wrong[0], 5, axis=0), np.repeat(wrong[1], 5)
    assert "repeated real images" in probe_reason(training, many_wrong, validation)


def test_fitness_is_summarised_in_one_sentence():
    audit = Audit(
        n_synthetic=10, n_held_out=5, exact_copies=0, share_nearer_than_threshold=0.0, threshold=0.1,
        threshold_quantile_of_held_out=0.01, median_distance=0.5, median_distance_of_held_out=0.5, nearest=[],
    )  # fmt: skip
    assert audit.fitness == "No check found the synthetic images unfit for training."
    unfit = audit.model_copy(update={"unfit": ["a", "b"]})
    assert unfit.fitness == "The synthetic images are not fit for training: a; b."
