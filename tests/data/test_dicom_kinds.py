"""DICOM files are left out by SOP class, modality and series description; damaged files are reported."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, MRImageStorage, RLELossless

from dcube.config.schema import Data
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.inference.inputs import collect_images
from tests.support.medical_files import RAMP, dicom_dataset, dicom_file, save_dicom

PLAIN = Data(image_size=16, diffusion_image_size=16)
DOCUMENT = "DICOM without an image: report, plan, segmentation or map"
CT_SERIES = {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
MR_SERIES = {**CT_SERIES, "Modality": "MR", "SOPClassUID": MRImageStorage}


@pytest.fixture(autouse=True)
def _salt(tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))


def patients(folder: Path, slices: int = 4, **tags) -> Path:
    for number in range(8):
        for i in range(slices):
            file = folder / ("ill" if number % 2 else "well") / f"P{number}" / f"{i}.dcm"
            dicom_file(file, np.roll(RAMP, 16 * number + i), PatientID=f"P{number}", **{**CT_SERIES, **tags})
    return folder


def left_out(folder: Path) -> dict[str, tuple[str, ...]]:
    return dict(read_raw_dataset(folder, PLAIN).left_out)


@pytest.mark.parametrize("size", [200, 330, 450, 600])
def test_truncated_dicom_is_reported_as_unusable_and_not_left_out(tmp_path, size):
    raw = patients(tmp_path / "raw")
    cut = raw / "ill" / "P1" / "0.dcm"
    cut.write_bytes(cut.read_bytes()[:size])
    report = inspect_dataset(raw, PLAIN)
    assert not report.left_out and list(report.unusable) == ["ill/P1/0.dcm"]
    assert "1 of 32 images cannot be used" in report.problem
    with collect_images([raw]) as (images, _):
        assert len(images) == 32


@pytest.mark.parametrize("pixels", [None, b""])
def test_dicom_header_without_pixels_is_reported(tmp_path, pixels):
    raw = patients(tmp_path / "raw")
    dataset = dicom_dataset(np.zeros((64, 64), np.uint16))
    del dataset.PixelData
    if pixels is not None:
        dataset.PixelData = pixels
    save_dicom(raw / "ill" / "P1" / "0.dcm", dataset)
    assert inspect_dataset(raw, PLAIN).unusable["ill/P1/0.dcm"].startswith("no pixels: it is cut off, or its header")


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_truncated_compressed_dicom_is_reported_as_damaged(tmp_path, syntax):
    raw = patients(tmp_path / "raw")
    dataset = dicom_dataset(np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16), BitsStored=12)
    dataset.compress(syntax, generate_instance_uid=False)
    file = save_dicom(raw / "ill" / "P1" / "0.dcm", dataset)
    file.write_bytes(file.read_bytes()[:-300])
    assert "damaged, perhaps cut off" in inspect_dataset(raw, PLAIN).unusable["ill/P1/0.dcm"]


@pytest.mark.parametrize(
    "tags",
    [
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.7", "Modality": "SEG"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "Modality": "SEG"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.30", "Modality": "MR"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.1", "Modality": "RTIMAGE"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2", "Modality": "RTDOSE"},
        {"Modality": "SEG"},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "SR"},
    ],
)
def test_segmentations_maps_and_plans_with_pixels_are_left_out(tmp_path, tags):
    raw = patients(tmp_path)
    dicom_file(raw / "ill" / "P1" / "extra.dcm", RAMP, PatientID="P1", **tags)
    assert left_out(raw) == {DOCUMENT: ("ill/P1/extra.dcm",)}


def test_private_sop_class_without_pixels_is_left_out(tmp_path):
    """Siemens stores its 'CSA Non-Image Storage' beside the slices of a scan."""
    raw = patients(tmp_path)
    private = dicom_dataset(RAMP, SOPClassUID="1.3.12.2.1107.5.9.1", Modality="MR")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(private, keyword)
    save_dicom(raw / "ill" / "P1" / "extra.dcm", private)
    assert left_out(raw) == {DOCUMENT: ("ill/P1/extra.dcm",)}


@pytest.mark.parametrize(
    ("description", "why"),
    [
        *dict.fromkeys(
            [
                "AAHScout", "AAHead_Scout", "Scout1", "Scout view", "3-plane loc", "3 Plane Localizer", "LOC", "loc_bh",
                "PLAN LOC", "Survey", "SURVEY_HR", "Scanogram", "Localisateur", "LOKALIZER", "tplocalizer", "Topogramm",
                "Topogram  0.6  T20f",
            ],
            "localizer",
        ).items(),
        *dict.fromkeys(
            ["Radiation Dose", "Dose Info", "Dose", "Summary", "Patient Protocol", "screensave"],
            "dose report or screen picture",
        ).items(),
        *dict.fromkeys(["SmartPrep", "Bolus tracking", "PreMonitoring"], "timing or calibration").items(),
    ],
)  # fmt: skip
def test_localizers_and_dose_reports_are_recognised_by_series_description(tmp_path, description, why):
    raw = patients(tmp_path, **MR_SERIES)
    dicom_file(raw / "ill" / "P1" / "s.dcm", RAMP, PatientID="P1", **{**MR_SERIES, "SeriesDescription": description})
    assert left_out(raw) == {why: ("ill/P1/s.dcm",)}


@pytest.mark.parametrize(
    "description", ["SKELETAL SURVEY", "t1_mpr_sag", "Ax LOCALIZED SHIM", "Lung low dose", "Allocated", "dose 2 Gy"]
)
def test_similar_series_descriptions_do_not_exclude_an_image(tmp_path, description):
    raw = patients(tmp_path, **MR_SERIES)
    dicom_file(raw / "ill" / "P1" / "s.dcm", RAMP, PatientID="P1", **{**MR_SERIES, "SeriesDescription": description})
    assert left_out(raw) == {}


def test_reformatted_slices_are_left_out_if_the_patient_has_originals(tmp_path):
    raw = patients(tmp_path)
    for kind in ("MPR", "PROJECTION IMAGE", "REFORMATTED"):
        derived = {**CT_SERIES, "ImageType": ["DERIVED", "SECONDARY", kind]}
        dicom_file(raw / "ill" / "P1" / f"{kind}.dcm", RAMP, PatientID="P1", **derived)
        dicom_file(raw / "ill" / "alone" / f"{kind}.dcm", RAMP, PatientID="alone", **derived)
    assert left_out(raw) == {
        "reformatted from the slices": tuple(
            f"ill/P1/{kind}.dcm" for kind in ("MPR", "PROJECTION IMAGE", "REFORMATTED")
        )
    }


def test_few_slices_in_another_plane_are_reported(tmp_path):
    """One sagittal slice among axial slices is probably a localizer; eight sagittal slices are a series."""
    axial, sagittal = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]
    raw = patients(tmp_path, 8, **MR_SERIES, ImageOrientationPatient=axial)
    dicom_file(raw / "ill" / "P1" / "s.dcm", RAMP, PatientID="P1", **MR_SERIES, ImageOrientationPatient=sagittal)
    for i in range(8):
        dicom_file(
            raw / "ill" / "P3" / f"s{i}.dcm", RAMP, PatientID="P3", **MR_SERIES, ImageOrientationPatient=sagittal
        )
    (found,) = (line for line in inspect_dataset(raw, PLAIN).warnings if "another plane" in line)
    assert found.startswith("1 of 73 images is in another plane") and "(ill/P1/s.dcm)" in found
