"""Measured values without a window: images that are normalised each by itself are reported."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dcube.config.schema import Data
from dcube.data import file_cache
from dcube.data.inspection import inspect_dataset
from dcube.data.readers.dicom import read_frame
from tests.support.medical_files import dicom_file
from tests.support.raw_sets import noise

PLAIN = Data(name="set", image_size=16, diffusion_image_size=16)


def pet(raw: Path, **changes) -> Path:
    """Two series of slices with activities from 1 to 17, each stored with the slope of its own maximum."""
    for label in ("ill", "well"):
        for i in range(5):
            activity = noise(i + 10 * len(label), (16, 16)).astype(float) * (1 + 4 * i)
            slope = float(np.float32(activity.max() / 32767))
            tags = {"Modality": "PT", "PatientID": f"{label}-{i}", "RescaleSlope": f"{slope:.8g}", **changes}
            dicom_file(raw / label / f"{i}.dcm", (activity / slope).astype(np.int16), RescaleIntercept=0, **tags)
    return raw


def range_warnings(raw: Path, data: Data = PLAIN) -> list[str]:
    report = inspect_dataset(raw, data)
    assert report.images == 10 and not report.unusable
    return [warning for warning in report.warnings if "different ranges of values" in warning]


@pytest.fixture(autouse=True)
def _salt(tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))
    monkeypatch.setenv("DCUBE_SCAN_CACHE", str(tmp_path / "cache" / "scans.sqlite"))
    monkeypatch.setattr(file_cache, "UNSETTLED_SECONDS", 0)  # files that were just written count as old


def test_slices_with_a_rescale_slope_each_are_reported(tmp_path):
    """True means 17 times apart are shown alike; pydicom's values are the reference."""
    raw = pet(tmp_path / "raw")
    files = [raw / "ill" / f"{i}.dcm" for i in (0, 4)]
    true = [pydicom.dcmread(file).pixel_array.mean() * float(pydicom.dcmread(file).RescaleSlope) for file in files]
    shown = [np.asarray(read_frame(file).image).mean() for file in files]
    assert true[1] > 10 * true[0] and shown[1] < 1.5 * shown[0]
    (warning,) = range_warnings(raw)
    assert warning.startswith("without a window, black to white are ") and warning.endswith(
        "equal values are not equally bright: set data.window_center and data.window_width"
    )
    assert "0.dcm and " in warning and "4.dcm)" in warning
    assert range_warnings(raw) == [warning], "the second check takes it from the cache"
    assert not range_warnings(raw, PLAIN.model_copy(update={"window_center": 1000.0, "window_width": 2000.0}))


def test_images_with_their_own_window_or_one_range_are_not_reported(tmp_path):
    assert not range_warnings(pet(tmp_path / "a", WindowCenter=100, WindowWidth=200))
    assert not range_warnings(pet(tmp_path / "b", RescaleSlope=2))
    for label in ("ill", "well"):  # radiographs: their values have no unit
        for i in range(5):
            pixels = noise(i + 10 * len(label), (16, 16)).astype(np.uint16)
            dicom_file(tmp_path / "c" / label / f"{i}.dcm", pixels << 4, Modality="DX", BitsStored=12 + i % 2)
    assert not range_warnings(tmp_path / "c")


def test_frames_and_files_of_another_number_format_are_reported(tmp_path):
    for label in ("ill", "well"):
        for i in range(5):
            pixels = noise(i + 10 * len(label), (16, 16)).astype(np.uint16) << 4
            tags = {"BitsStored": 12, "RescaleIntercept": -1024} if i else {"BitsStored": 16, "RescaleIntercept": 0}
            dicom_file(tmp_path / "a" / label / f"{i}.dcm", pixels, PatientID=f"{label}-{i}", RescaleSlope=1, **tags)
        slopes = [Dataset(), Dataset(), Dataset(), Dataset(), Dataset()]
        for number, slope in enumerate(slopes):
            slope.PixelValueTransformationSequence = [Dataset()]
            slope.PixelValueTransformationSequence[0].RescaleSlope = 1 + number
            slope.PixelValueTransformationSequence[0].RescaleIntercept = 0
        frames = np.stack([noise(i + 10 * len(label), (16, 16)) for i in range(5)])
        dicom_file(
            tmp_path / "b" / label / "a.dcm", frames, Modality="MR", NumberOfFrames=5, PatientID=label,
            PerFrameFunctionalGroupsSequence=slopes,
        )  # fmt: skip
    assert "2 different ranges" in range_warnings(tmp_path / "a")[0]
    assert "5 different ranges of values (0…255 in ill/a.dcm#0 and 0…1275 in " in range_warnings(tmp_path / "b")[0]
