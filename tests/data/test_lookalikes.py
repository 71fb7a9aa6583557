"""Copies of training images are found by stored hashes; other patients' images are not."""

import pytest
from PIL import Image

from dcube.data.checks.lookalikes import find_lookalikes, perceptual_hash
from dcube.data.preprocessing import to_square
from tests.support.altered_copies import COPIES, CROPPED
from tests.support.phantom_layouts import patients

OURS = [Image.fromarray(one.slices[0]) for one in patients(each=20)]


def hashes(images: list[Image.Image], channels: int = 1) -> list[str]:
    return [perceptual_hash(to_square(image, 64, channels, "stretch")) for image in images]


@pytest.mark.parametrize("change", [name for name in COPIES if name != CROPPED])
def test_copies_are_found_in_grey_and_colour(change: str) -> None:
    copies = [COPIES[change](image) for image in OURS]
    assert find_lookalikes(hashes(copies, channels=3), hashes(OURS)) == list(range(len(OURS)))


def test_images_of_other_patients_are_not_taken_for_copies() -> None:
    half = len(OURS) // 2
    assert find_lookalikes(hashes(OURS[:half]), hashes(OURS[half:])) == []
