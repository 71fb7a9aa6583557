"""Masks, label maps and thumbnails among images: left out if certain, refused or reported if not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcube.config.schema import Data
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.preparing import prepare
from dcube.data.unnamed_masks import has_few_levels
from dcube.errors import DcubeError
from tests.support.medical_files import nifti_file
from tests.support.raw_sets import class_folders, noise, save, write_metadata

PLAIN = Data(image_size=16, diffusion_image_size=16)


@pytest.fixture(autouse=True)
def _salt(tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))


def opened(raw: Path):
    return read_raw_dataset(raw, PLAIN)


def used(raw: Path) -> dict[str, tuple[str, str]]:
    return {record.file: (record.label, record.split) for record in opened(raw).records}


def left_out(raw: Path) -> dict[str, tuple[str, ...]]:
    return dict(opened(raw).left_out)


def refused(raw: Path) -> str:
    with pytest.raises(DcubeError) as error:
        opened(raw)
    return str(error.value)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a/images/1.png", "a/masks/1.png"),
        ("a/ISIC_7.jpg", "a/ISIC_7_segmentation.png"),
        ("a/case 1/t1.nii.gz", "a/case 1/seg.nii.gz"),
        ("a/BraTS_001_t1.nii.gz", "a/BraTS_001_seg.nii.gz"),
        ("a/img_3.png", "a/mask_3.png"),
        ("a/Original/4.png", "a/Ground Truth/4.png"),
        ("a/CXR/5.png", "a/leftMask/5.png"),
        ("a/7.jpg", "a/7_ground_truth.jpg"),
        ("a/7.jpg", "a/7-ground-truth.jpg"),
        ("a/7.jpg", "a/7_groundtruth.jpg"),
        ("a/07.png", "a/07Mask.png"),
        ("a/07.png", "a/07(mask).png"),
        ("a/scan (1).png", "a/scan (1)_mask.png"),
        ("a/07.png", "a/07_mask_left.png"),
        ("a/07.png", "a/07_leftmask.png"),
        ("a/07.png", "a/07_L_mask.png"),
        ("a/07.png", "a/07_seg_v2.png"),
        ("a/07.png", "a/07_lungmask.png"),
        ("a/07.png", "a/07_tumor_segmentation_2.png"),
        *(
            ("a/images/7.png", f"a/{folder}/7.png")
            for folder in (
                "ground_truth", "segs", "seg_masks", "mask1", "PNGMask", "maskImages", "SegmentationClass",
                "masks_instances", "lung masks left", "masks_png_8bit", "labels_png", "groundTruth", "thumbs",
            )
        ),
        ("a/imagesTr/spleen_1_0000.nii", "a/labelsTr/spleen_1.nii"),
    ],
)  # fmt: skip
def test_masks_of_public_sets_are_recognised_by_name(tmp_path, image, mask):
    for file in (image, mask, "other/9.png"):
        if ".nii" in file:
            nifti_file(tmp_path / file, np.ones((9, 9, 1), np.int16))
        else:
            save(tmp_path / file, noise(1))
    assert {file.partition("#")[0] for file in used(tmp_path)} == {image, "other/9.png"}
    assert opened(tmp_path).left_out["mask or thumbnail of an image"] == (mask,)


def test_images_with_names_similar_to_masks_are_used(tmp_path):
    """Only whole words without a negation count; `x_masked` is an image with a hidden part."""
    files = (
        "with_mask/1.png", "without_mask/1.png", "a/second_label.png", "no_mask/2.png", "b/7.png", "b/7_masked.png",
        "b/7_segment.png", "b/7_ground_glass.png", "b/7_unmask.png", "b/7_groin.png", "label1/8.png", "label2/8.png",
        "Normal/3.png",
    )  # fmt: skip
    for number, file in enumerate(files):
        save(tmp_path / file, noise(number))
    assert len(used(tmp_path)) == len(files) and left_out(tmp_path) == {}


@pytest.mark.parametrize("name", ["thumb", "thumbs", "roi", "contour", "mask", "Ground Truth", "gt_5mm"])
@pytest.mark.parametrize("above", [".", "train"])
def test_class_named_like_masks_is_refused_unless_a_table_lists_it(tmp_path, name, above):
    """Each of its images has the name of an image in another class, as masks have."""
    classes = (name, "finger", "wrist")
    for split in {above, above.replace("train", "test")}:
        class_folders(tmp_path / split, classes, images=2)
    said = refused(tmp_path)
    assert f"{name} may be a class, or hold masks or thumbnails of the images in other folders" in said
    assert "rename it if it is a class (or write a metadata.csv), else remove it" in said
    files = [file.relative_to(tmp_path) for file in sorted(tmp_path.rglob("*.png"))]
    rows = [{"file": file.as_posix(), "label": file.parts[-2]} for file in files]
    assert {label for label, _ in used(write_metadata(tmp_path, rows)).values()} == set(classes)


def test_mask_without_an_image_is_refused_unless_a_table_lists_it(tmp_path):
    save(tmp_path / "a" / "1_mask.png", noise(1))
    save(tmp_path / "b" / "2.png", noise(2))
    assert "1_mask.png is called a mask" in refused(tmp_path) and "remove the masks, or rename" in refused(tmp_path)
    rows = [{"file": "a/1_mask.png", "label": "ill"}, {"file": "b/2.png", "label": "well"}]
    assert len(used(write_metadata(tmp_path, rows))) == 2


def ellipse(number: int, size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size]
    (a, b), (c, d) = rng.uniform(6, 22, 2), rng.uniform(20, 44, 2)
    return (((y - c) / a) ** 2 + ((x - d) / b) ** 2 < 1).astype(np.uint8) * 255


@pytest.mark.parametrize("name", ["{0}/{1}_tumor.png", "{0}/{1}_tumor.jpg", "{0}/targets/{1}.png", "outlines/{1}.jpg"])
def test_masks_with_ordinary_names_are_refused_by_content(tmp_path, name):
    for label in ("ill", "well"):
        for i in range(8):
            stem = f"{label}{i:03}"
            save(tmp_path / "raw" / label / f"{stem}.png", noise(i + 100 * len(label), (64, 64)))
            save(tmp_path / "raw" / name.format(label, stem), ellipse(i + 50 * len(label)))
    problem = inspect_dataset(tmp_path / "raw", PLAIN).problem
    assert problem.startswith("16 images have few grey levels, and the names and sizes of other images, as masks have")
    assert "remove them, or give them other names if they are images" in problem
    with pytest.raises(DcubeError, match="16 images have few grey levels"):
        prepare(tmp_path / "raw", PLAIN, tmp_path / "out")


def test_two_level_images_without_a_matching_image_only_cause_a_warning(tmp_path):
    """Drawings among photographs; the numbers in their names also occur in the other class."""
    raw = class_folders(tmp_path / "raw")
    for i in range(10):
        save(raw / "ill" / f"{i:02}.png", noise(i, (64, 64)))
        save(raw / "well" / f"{i:02}.png", noise(50 + i, (64, 64)) if i % 2 else ellipse(i))
    save(raw / "well" / "+.png", noise(99))  # a name without words
    report = inspect_dataset(raw, PLAIN)
    assert not report.problem and any("5 of 21 images have few grey levels" in line for line in report.warnings)


def test_images_that_all_have_few_levels_are_asked_about(tmp_path):
    raw = class_folders(tmp_path / "raw")
    for number, file in enumerate(sorted(raw.rglob("*.png"))):
        save(file, ellipse(number))
    said = "all 20 images have few grey levels or colours, as masks and label maps have: are these the masks"
    assert any(line.startswith(said) for line in inspect_dataset(raw, PLAIN).warnings)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_colour_images_are_judged_by_their_colours(tmp_path, suffix):
    """Two hues of one brightness have few grey levels, but a third channel with structure is no mask."""
    shape, texture = ellipse(1), noise(2, (64, 64))
    mask = np.stack([shape, np.zeros_like(shape), np.zeros_like(shape)], axis=2)
    structured = np.stack([shape, 255 - shape, texture], axis=2)
    for pixels, expected in ((mask, True), (structured, False)):
        file = tmp_path / f"a.{suffix}"
        Image.fromarray(pixels).save(file, quality=95, subsampling=0)
        assert has_few_levels(Image.open(file)) is expected


@pytest.mark.parametrize("low", [0, 100])
def test_dim_images_and_black_backgrounds_do_not_count_as_masks(low):
    dim = (noise(1, (64, 64)) // 10 + low).astype(np.uint8)
    background = np.where(ellipse(3) > 0, noise(2, (64, 64)), 0).astype(np.uint8)
    assert not has_few_levels(Image.fromarray(dim)) and not has_few_levels(Image.fromarray(background))


def test_label_volumes_with_ordinary_names_are_refused_by_content(tmp_path):
    """Slices are counted one by one. A volume with other, many-valued slices is not a label map."""
    for label in ("ill", "well"):
        for i in range(4):
            number = i + 10 * len(label)
            values = np.stack([noise(number + 100 * k, (64, 64)) for k in range(3)], axis=2).astype(np.int16)
            shape = np.stack([ellipse(number + 100 * k) // 255 for k in range(3)], axis=2).astype(np.int16)
            nifti_file(tmp_path / label / f"case{number}.nii.gz", values, display=(0, 255))
            nifti_file(tmp_path / label / f"case{number}_tumor.nii.gz", shape, display=(0, 1))
    assert inspect_dataset(tmp_path, PLAIN).problem.startswith("24 images have few grey levels, and the names")
    for file in tmp_path.rglob("*_tumor.nii.gz"):
        file.unlink()
    assert not any("grey levels" in line for line in inspect_dataset(tmp_path, PLAIN).warnings)
