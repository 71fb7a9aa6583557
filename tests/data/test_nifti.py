"""NIfTI slices are oriented like DICOM slices of the same patient, or the volume is refused with the reason."""

import itertools
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from dcube.data.readers import dicom
from dcube.data.readers.nifti import is_nifti, open_volume
from dcube.data.readers.raw_image import UnusableImageError
from dcube.data.readers.windows import Window
from tests.support.medical_files import dicom_file, nifti_file

WINDOW = Window(0, 2000)
VALUES = np.random.default_rng(0).integers(-1000, 1000, (12, 10, 9)).astype(np.int16)  # axes towards left, back, head
STORED = ["".join(codes) for axes in itertools.permutations(["LR", "AP", "IS"]) for codes in itertools.product(*axes)]
SHIPPED = [
    file for file in sorted((Path(nibabel.__file__).parent / "tests" / "data").iterdir()) if is_nifti(file)
]  # fmt: skip


def slices(path: Path, window: Window | None = WINDOW) -> np.ndarray:
    volume = open_volume(path)
    return np.stack([np.asarray(volume.slice(number, window).image) for number in range(volume.slices)])


def expected(values: np.ndarray) -> np.ndarray:
    return np.clip((values.transpose(2, 1, 0) + 1000.0) / 2000, 0, 1) * 255


@pytest.mark.parametrize("stored", STORED)
def test_slices_do_not_depend_on_the_stored_axes(tmp_path, stored):
    assert np.allclose(slices(nifti_file(tmp_path / "a.nii", VALUES, stored)), expected(VALUES), atol=1e-3)


@pytest.mark.parametrize("stored", ["LPS", "RAS", "PIR", "SRA"])
def test_slices_agree_with_simpleitk(tmp_path, stored):
    file = nifti_file(tmp_path / "a.nii.gz", VALUES, stored, degrees=7)
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(file)), "LPS")
    reference = SimpleITK.GetArrayFromImage(image).astype(float)
    assert np.allclose(slices(file), np.clip((reference + 1000) / 2000, 0, 1) * 255, atol=1e-3)


def test_nifti_slice_equals_the_dicom_slice(tmp_path):
    volume = open_volume(nifti_file(tmp_path / "a.nii", VALUES, "RAS"))
    for number in range(volume.slices):
        axial = np.ascontiguousarray(VALUES[:, :, number].T)
        file = dicom_file(tmp_path / "a.dcm", axial, BitsStored=16, RescaleSlope=1, RescaleIntercept=0)
        assert np.array_equal(
            np.asarray(volume.slice(number, WINDOW).image), np.asarray(dicom.read_frame(file, window=WINDOW).image)
        )


def test_slices_can_be_read_in_any_order(tmp_path):
    volume = open_volume(nifti_file(tmp_path / "a.nii.gz", VALUES))
    backwards = [np.asarray(volume.slice(number, WINDOW).image) for number in reversed(range(9))]
    assert np.array_equal(np.stack(backwards[::-1]), slices(volume.path))


def test_changed_file_is_read_again(tmp_path):
    file = nifti_file(tmp_path / "a.nii", VALUES)
    slices(file)
    assert np.allclose(slices(nifti_file(file, -VALUES)), expected(-VALUES), atol=1e-3)


def test_slices_do_not_depend_on_the_byte_order(tmp_path):
    little = nibabel.Nifti1Image.from_filename(nifti_file(tmp_path / "little.nii", VALUES))
    header = little.header.as_byteswapped(">")
    nibabel.save(nibabel.Nifti1Image(VALUES.astype(">i2"), little.affine, header), tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == (348).to_bytes(4, "big")
    assert np.array_equal(slices(tmp_path / "big.nii"), slices(tmp_path / "little.nii"))


def test_slope_and_intercept_are_applied(tmp_path):
    file = nifti_file(tmp_path / "a.nii", VALUES)
    content = bytearray(file.read_bytes())
    content[112:120] = struct.pack("<ff", 2.0, -1000.0)  # scl_slope, scl_inter
    file.write_bytes(content)
    assert np.allclose(slices(file), expected(VALUES * 2.0 - 1000), atol=1e-3)


def test_blank_slice_of_a_volume_is_read(tmp_path):
    values = VALUES.copy()
    values[:, :, 0] = -1000
    assert slices(nifti_file(tmp_path / "a.nii", values))[0].max() == 0


def test_nifti_2_is_read(tmp_path):
    image = nibabel.Nifti1Image.from_filename(nifti_file(tmp_path / "a.nii", VALUES))
    nibabel.save(
        nibabel.Nifti2Image(VALUES[::-1, ::-1], image.affine * [[-1], [-1], [1], [1]] * -1), tmp_path / "b.nii"
    )
    assert isinstance(nibabel.load(tmp_path / "b.nii"), nibabel.Nifti2Image)
    assert slices(tmp_path / "b.nii").shape == (9, 10, 12)


def test_voxels_that_are_not_square_are_resampled(tmp_path):
    volume = open_volume(nifti_file(tmp_path / "a.nii", VALUES, "PSR", spacing=(0.5, 1.0, 5.0)))
    assert np.allclose(volume.spacing, (0.5, 1.0, 5.0))
    assert volume.slices == 9 and volume.slice(0, WINDOW).image.size == (12, 20)


def test_display_range_of_the_file_is_used_if_no_window_is_given(tmp_path):
    file = nifti_file(tmp_path / "a.nii", VALUES, display=(-1000, 1000))
    assert np.allclose(slices(file, None), expected(VALUES), atol=1e-3)
    with pytest.raises(UnusableImageError, match=r"data\.window_center"):
        slices(nifti_file(tmp_path / "b.nii", VALUES), None)


def test_8bit_values_are_not_rescaled(tmp_path):
    file = nifti_file(tmp_path / "a.nii", (VALUES // 8 + 125).astype(np.uint8))
    assert np.allclose(slices(file, None), (VALUES // 8 + 125).transpose(2, 1, 0), atol=1e-3)


def _four_dimensions(file: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9, 2), np.int16), np.eye(4)), file)


def _colour(file: Path) -> None:
    rgb = np.zeros((9, 9, 9), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), file)


def _nan(file: Path) -> None:
    values = VALUES.astype(np.float32)
    values[3, 3, 0] = np.nan
    nifti_file(file, values)


def _nowhere(file: Path) -> None:
    image = nibabel.load(nifti_file(file, VALUES))
    image.header["sform_code"] = image.header["qform_code"] = 0
    image = nibabel.Nifti1Image(VALUES, None, image.header)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nibabel.save(image, file)


def _cut(file: Path) -> None:
    nifti_file(file, VALUES)
    file.write_bytes(file.read_bytes()[:1000])


def _huge(file: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 30_000))
    header["sform_code"], header["magic"], header["vox_offset"] = 1, b"n+1", 352
    file.write_bytes(header.binaryblock + b"\0" * 4)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda file: nifti_file(file, VALUES, degrees=30), "oblique by 30°"),
        (_four_dimensions, "three dimensions"),
        (_colour, "one value per voxel"),
        (_nan, "NaN"),
        (_nowhere, "how the patient is oriented"),
        (_cut, "cut off"),
        (_huge, "more than DCUBE_MAX_VOLUME_MIB=1024"),
        (lambda file: nifti_file(file, VALUES[:4]), "smaller than 8"),
        (lambda file: nifti_file(file, np.zeros((9, 9, 1), np.int16)), "constant"),
        (lambda file: nifti_file(file, VALUES, spacing=(1, 1e-5, 1)), "larger than"),
        (lambda file: file.write_bytes(b""), "not a readable NIfTI"),
        (lambda file: file.write_bytes(b"text" * 200), "not a readable NIfTI"),
    ],
)
def test_unusable_volume_is_refused_with_the_reason(tmp_path, make, why):
    make(tmp_path / "a.nii")
    with pytest.raises(UnusableImageError, match=why):
        open_volume(tmp_path / "a.nii").slice(0, WINDOW)


def test_truncated_gzip_volume_is_refused(tmp_path):
    file = nifti_file(tmp_path / "a.nii.gz", VALUES)
    file.write_bytes(file.read_bytes()[:800])
    with pytest.raises(UnusableImageError, match="not a readable NIfTI"):
        open_volume(file).slice(0, WINDOW)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_nibabel_sample_volume_agrees_with_simpleitk_or_is_refused(file):
    window = Window(500, 3000)
    try:
        ours = slices(file, window)
    except UnusableImageError as error:
        assert any(why in str(error) for why in ("three dimensions", "smaller than 8", "NaN")), error
        return
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(file)), "LPS")
    reference = SimpleITK.GetArrayFromImage(image).astype(float)
    assert np.allclose(ours, np.clip((reference + 1000) / 3000, 0, 1) * 255, atol=1e-2)
