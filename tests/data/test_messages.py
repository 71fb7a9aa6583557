"""Messages of `data check`: they agree in number, name each reason once, and show names as they are on disk."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcube.config.schema import Data
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.errors import DcubeError
from tests.support.medical_files import nifti_file
from tests.support.raw_sets import class_folders, noise, save, with_metadata

PLAIN = Data(image_size=16, diffusion_image_size=16)

pytestmark = pytest.mark.usefixtures("own_salt")


def refused(folder: Path) -> str:
    with pytest.raises(DcubeError) as error:
        read_raw_dataset(folder, PLAIN)
    return str(error.value)


def test_reason_of_all_images_is_given_once_and_nothing_else(tmp_path):
    for label in ("AD", "CN"):
        nifti_file(tmp_path / label / "a.nii.gz", np.arange(324, dtype=np.int16).reshape(9, 9, 4))
    assert inspect_dataset(tmp_path, PLAIN).problem == (
        "none of the 8 images can be used: AD/a.nii.gz#0, AD/a.nii.gz#1, AD/a.nii.gz#2 and 5 more "
        "(no display range: set data.window_center and data.window_width)"
    )


def test_reasons_of_some_images_are_given_once_each(tmp_path):
    raw = class_folders(tmp_path)
    for name in ("x", "y"):
        (raw / "ill" / f"{name}.png").write_bytes(b"")
    save(raw / "well" / "z.png", noise(0, (4, 4)))
    assert inspect_dataset(raw, PLAIN).problem == (
        "3 of 23 images cannot be used: ill/x.png, ill/y.png (empty file: fetch it again), "
        "well/z.png (4 × 4 pixels, smaller than 8 a side): repair or remove them"
    )


@pytest.mark.parametrize(("photos", "said"), [(1, "1 of 21 images is in colour"), (2, "2 of 22 images are in colour")])
def test_few_photos_among_grey_images_are_named(photos, said, tmp_path):
    raw = class_folders(tmp_path)
    for number in range(photos):
        Image.fromarray(np.dstack([noise(10 * number + i) for i in range(3)])).save(raw / "ill" / f"photo{number}.png")
    assert any(
        warning.startswith(f"{said}, and the others are grey (ill/photo0.png")
        for warning in inspect_dataset(raw, PLAIN).warnings
    )


def test_grey_images_stored_in_colour_are_no_photos(tmp_path):
    raw = class_folders(tmp_path)
    Image.fromarray(np.dstack([noise(1)] * 3)).save(raw / "ill" / "x.jpg")
    assert not any("in colour" in warning for warning in inspect_dataset(raw, PLAIN).warnings)


def test_a_grey_image_among_photos_is_named(tmp_path):
    for number in range(20):
        photo = np.dstack([noise(10 * number + i) for i in range(3)])
        save(tmp_path / ("ill", "well")[number % 2] / f"{number:02}.png", photo)
    save(tmp_path / "ill" / "scan.png", noise(999))
    assert any(
        warning.startswith("1 of 21 images is grey, and the others are in colour (ill/scan.png)")
        for warning in inspect_dataset(tmp_path, PLAIN).warnings
    )


def test_one_image_agrees_in_number(tmp_path):
    raw = class_folders(tmp_path)
    shutil.copytree(raw / "ill", raw / "nan")
    for file in list((raw / "nan").iterdir())[1:]:
        file.unlink()
    assert "1 image has the label 'nan'" in refused(raw)


def test_backslash_is_shown_as_it_is_in_the_table(tmp_path):
    raw = with_metadata(tmp_path)
    table = raw / "metadata.csv"
    table.write_text(table.read_text().replace("1_0.png", "im\\1_0.png"))
    assert r"there is no image 'im\1_0.png' below" in refused(raw) and "write / in the place of \\" in refused(raw)
