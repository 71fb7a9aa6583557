"""Numbers of images per class: shares of a total, and the images missing for a required class ratio."""

import math
from collections.abc import Mapping

from dcube.errors import DcubeError


def apportion(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Divide `total` into whole numbers in the ratio of `weights`, by largest remainders."""
    whole = math.fsum(weights.values())
    if whole == 0:
        return dict.fromkeys(weights, 0)
    exact = {name: total * weight / whole for name, weight in weights.items()}
    counts = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(weights, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def synthetic_counts(real: Mapping[str, int], ratio: Mapping[str, float], maximum: int) -> dict[str, int]:
    """Return the images to generate per class for a required ratio of real and synthetic images (paper Table III).

    No real image is removed: the class that is most frequent relative to its share stays unchanged, and the others are
    filled up.

    Args:
        real: number of real training images of each class.
        ratio: required ratio of the same classes; empty for all classes as frequent as the largest one.
        maximum: largest total number; if more images are missing, it is divided in proportion to them.

    Raises:
        DcubeError: if `ratio` names an unknown class or leaves one out.
    """
    ratio = ratio or dict.fromkeys(real, 1.0)
    if set(ratio) != set(real):
        strange, missing = sorted(set(ratio) - set(real)), sorted(set(real) - set(ratio))
        wrong = f"names {', '.join(strange)}" if strange else f"leaves out {', '.join(missing)}"
        raise DcubeError(f"synthesis.ratio {wrong}: give one number for each of {', '.join(real)}")
    images_a_share = max(count / ratio[name] for name, count in real.items())
    missing_images = {name: round(images_a_share * ratio[name]) - count for name, count in real.items()}
    if sum(missing_images.values()) > maximum:
        return apportion(maximum, missing_images)
    return missing_images
