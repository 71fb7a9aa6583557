"""DICOM and NIfTI in class folders, split folders, and folders with a table."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import BasicTextSRStorage, SegmentationStorage

from dcube.config.loading import params_from
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.preparing import prepare
from dcube.data.preprocessing import crop
from dcube.errors import DcubeError
from tests.support.medical_files import dicom_dataset, dicom_file, nifti_file, save_dicom
from tests.support.raw_sets import class_folders, noise, save, write_metadata

WINDOW = {"window_center": 2047.5, "window_width": 4095.0}  # maps 12 bits to 0 … 255


pytestmark = pytest.mark.usefixtures("own_salt")


def data_params(**values):
    return params_from({"data": {"image_size": 24, "diffusion_image_size": 16, **WINDOW, **values}}, "test").data


def slice_of(number: int, side: int = 24) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 4096, (side, side), dtype=np.uint16)


def series(folder: Path, patient: int, slices: int = 3, **tags) -> Path:
    for number in range(slices):
        pixels = slice_of(100 * patient + number)
        dicom_file(folder / f"{number}.dcm", pixels, BitsStored=12, PatientID=f"P{patient}", **tags)
    return folder


def opened(raw: Path, **values) -> RawDataset:
    return read_raw_dataset(raw, data_params(**values))


def labels(source: RawDataset) -> dict[str, str]:
    return {record.file: record.label for record in source.records}


def test_class_folders_of_dicom_series_are_prepared(tmp_path):
    for patient in range(20):
        series(tmp_path / "raw" / ("ill" if patient % 2 else "well") / f"study {patient}", patient)
    dataset = prepare(tmp_path / "raw", data_params(), tmp_path / "out")
    assert len(dataset.manifest) == 60 and dataset.info.patients == 20
    assert (dataset.manifest.groupby("patient")["split"].nunique() == 1).all()
    assert dataset.info.input.raw.modalities == {"CT": 60}
    shown = {image.tobytes() for image in np.asarray(dataset.images(24)[:, 0])}
    assert shown == {np.rint(slice_of(100 * p + n) / 4095 * 255).astype(np.uint8).tobytes()
                     for p in range(20) for n in range(3)}  # fmt: skip


def test_split_folders_of_dicom_series_are_the_official_split(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        for c, name in enumerate(("ill", "well")):
            series(tmp_path / "raw" / split / name / "series", 10 * number + c)
    dataset = prepare(tmp_path / "raw", data_params(), tmp_path / "out")
    assert dataset.info.split_origin == "official"
    assert dataset.info.counts["test"] == {"ill": 3, "well": 3}


def test_a_table_names_files_series_frames_and_volumes(tmp_path):
    raw = tmp_path / "raw"
    dicom_file(raw / "single.dcm", slice_of(1), BitsStored=12)
    series(raw / "patient 2" / "series", 2)
    dicom_file(raw / "film.dcm", np.stack([slice_of(3), slice_of(4), slice_of(5)]), BitsStored=12, NumberOfFrames=3)
    nifti_file(raw / "volume.nii.gz", np.stack([slice_of(6), slice_of(7)], axis=2).astype(np.int16))
    nifti_file(raw / "part.nii", np.stack([slice_of(8), slice_of(9)], axis=2).astype(np.int16))
    save(raw / "plain.png", noise(1))
    rows = [
        ("single.dcm", "ill"), ("patient 2/", "well"), ("film.dcm#0", "ill"), ("film.dcm#2", "well"),
        ("volume.nii.gz", "ill"), ("part.nii#1", "well"), ("plain.png", ""),
    ]  # fmt: skip
    write_metadata(raw, [{"file": file, "label": label, "patient_id": ""} for file, label in rows])
    assert labels(opened(raw)) == {
        "single.dcm": "ill", "film.dcm#0": "ill", "film.dcm#2": "well", "part.nii#1": "well", "plain.png": "",
        "volume.nii.gz#0": "ill", "volume.nii.gz#1": "ill",
        **{f"patient 2/series/{number}.dcm": "well" for number in range(3)},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("film.dcm#7", "line 3: there is no image 'film.dcm#7'"),
        ("film.dcm", "'film.dcm#0' is listed twice"),
        ("elsewhere", "there is no image 'elsewhere'"),
        (".", "there is no image"),
    ],
)
def test_table_with_unknown_or_duplicate_images_is_refused(tmp_path, row, why):
    dicom_file(tmp_path / "raw" / "film.dcm", np.stack([slice_of(3), slice_of(4)]), NumberOfFrames=2)
    write_metadata(tmp_path / "raw", [{"file": "film.dcm#0", "label": "ill"}, {"file": row, "label": "well"}])
    with pytest.raises(DcubeError, match=why):
        opened(tmp_path / "raw")


def test_patient_of_the_table_overrides_patient_of_the_file(tmp_path):
    series(tmp_path / "raw" / "a", 1)
    series(tmp_path / "raw" / "b", 2)
    rows = [{"file": "a", "label": "ill", "patient_id": "known"}, {"file": "b", "label": "well", "patient_id": ""}]
    write_metadata(tmp_path / "raw", rows)
    assert {record.patient for record in opened(tmp_path / "raw").records} == {"known", "P2"}


def test_series_or_file_stands_for_a_missing_patient_id(tmp_path):
    raw = tmp_path / "raw"
    for number in range(2):
        dicom_file(raw / "ill" / f"{number}.dcm", slice_of(number), SeriesInstanceUID="1.2.3")
    dicom_file(raw / "ill" / "film.dcm", np.stack([slice_of(3), slice_of(4)]), NumberOfFrames=2)
    nifti_file(raw / "well" / "v.nii", np.stack([slice_of(6), slice_of(7)], axis=2).astype(np.int16))
    patients = {record.file: record.patient for record in opened(raw).records}
    assert patients == {
        "ill/0.dcm": "1.2.3", "ill/1.dcm": "1.2.3", "ill/film.dcm#0": "ill/film.dcm", "ill/film.dcm#1": "ill/film.dcm",
        "well/v.nii#0": "well/v.nii", "well/v.nii#1": "well/v.nii",
    }  # fmt: skip


def scans(raw: Path, patient: str, series: str, study: str = "", instance: str = "", slices: int = 3) -> None:
    """Write series of both classes; each format text is filled with the class c, the scan k and the slice j."""
    for c, name in enumerate(("ill", "well")):
        for k in range(4):
            for j in range(slices):
                numbers = {"c": c, "k": k, "j": j}
                tags = {"PatientID": patient, "SeriesInstanceUID": series, "StudyInstanceUID": study}
                tags |= {"SOPInstanceUID": instance} if instance else {}
                filled = {keyword: text.format(**numbers) for keyword, text in tags.items()}
                dicom_file(raw / name / f"{k}_{j}.dcm", slice_of(100 * c + 10 * k + j), BitsStored=12, **filled)


@pytest.mark.parametrize(
    ("tags", "keyword"),
    [
        ({"patient": "{c}{k}-{j}", "series": "1.2.{c}.{k}"}, "SeriesInstanceUID"),
        ({"patient": "{c}{k}-{j}", "series": "1.2.{c}.{k}.{j}", "instance": "1.2.{c}.{k}"}, "SOPInstanceUID"),
    ],
)
def test_series_or_copies_under_several_patients_are_refused(tmp_path, tags, keyword):
    """Some programs write a new PatientID into each file."""
    scans(tmp_path, **tags)
    with pytest.raises(DcubeError, match=f"images with one {keyword} name several patients") as refusal:
        opened(tmp_path)
    assert "ill/0_0.dcm, ill/0_1.dcm, ill/0_2.dcm" in str(refusal.value) and "give patient_id" in str(refusal.value)


def test_table_of_patients_mends_series_under_several_patients(tmp_path):
    scans(tmp_path, "{c}{k}-{j}", "1.2.{c}.{k}")
    files = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.dcm"))
    rows = [{"file": file, "label": file.partition("/")[0], "patient_id": file[:-6]} for file in files]
    assert not opened(write_metadata(tmp_path, rows)).divided_people


@pytest.mark.parametrize(
    "tags",
    [
        {"patient": "{c}{k}", "series": "1.2.{c}.{k}", "study": "1.{c}.{k}"},
        {"patient": "{c}{k}", "series": "1.2.{c}.{k}.{j}", "study": "1.{c}.{k}"},
        {"patient": "{c}{k}-{j}", "series": "1.2.3", "study": "1.2", "instance": "1.2.3.4"},
        {"patient": "{c}{k}", "series": "", "study": ""},
        {"patient": "", "series": "1.2.{c}.{k}", "study": "1.{c}.{k}"},
        {"patient": "", "series": "1.2.{c}.{k}.{j}", "study": "1.{c}.{k}"},
    ],
    ids=["one series", "a series a slice", "constant UIDs", "no UIDs", "no patients", "no patients, several series"],
)
def test_patients_that_agree_with_the_headers_cause_no_warning(tmp_path, tags):
    scans(tmp_path, **tags)
    assert not opened(tmp_path).divided_people


def test_study_under_several_patients_causes_a_warning_without_names(tmp_path):
    scans(tmp_path / "raw", "{c}{k}-{j}", "1.2.{c}.{k}.{j}", "1.77.{c}.{k}")
    report = inspect_dataset(tmp_path / "raw", data_params())
    (warning,) = [line for line in report.warnings if "several splits" in line]
    assert warning.startswith("8 DICOM studies have images of several patients, but each is of one person")
    assert not report.problem
    info = prepare(tmp_path / "raw", data_params(), tmp_path / "out").info
    assert warning in info.warnings and "1.77" not in info.model_dump_json()


def test_table_that_divides_a_patient_of_the_headers_causes_a_warning(tmp_path):
    scans(tmp_path, "{c}{k}", "")
    files = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.dcm"))
    rows = [{"file": file, "label": file.partition("/")[0], "patient_id": file} for file in files]
    (warning,) = opened(write_metadata(tmp_path, rows)).divided_people
    assert warning.startswith("8 patients of the DICOM headers (PatientID) are several patients in metadata.csv")
    joined = [row | {"patient_id": row["file"].partition("_")[0]} for row in rows]
    assert not opened(write_metadata(tmp_path, joined)).divided_people


def test_dicom_documents_beside_images_are_left_out(tmp_path):
    raw = tmp_path / "raw"
    series(raw / "ill", 1)
    series(raw / "well", 2)
    report = dicom_dataset(slice_of(1), SOPClassUID=BasicTextSRStorage, Modality="SR")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    save_dicom(raw / "ill" / "report.dcm", report)
    dicom_file(raw / "ill" / "outline.dcm", slice_of(2), SOPClassUID=SegmentationStorage)
    save_dicom(raw / "DICOMDIR", report)
    source = opened(raw)
    assert len(source.records) == 6
    assert source.left_out == {
        "DICOM without an image: report, plan, segmentation or map": ("ill/outline.dcm", "ill/report.dcm"),
        "index of a DICOM medium": ("DICOMDIR",),
    }


def test_blank_slices_are_left_out_and_counted(tmp_path):
    for number in range(8):
        values = np.stack([slice_of(10 * number), np.zeros((24, 24)), slice_of(10 * number + 1)], axis=2)
        nifti_file(tmp_path / "raw" / ("ill" if number % 2 else "well") / f"{number}.nii", values.astype(np.int16))
    dataset = prepare(tmp_path / "raw", data_params(), tmp_path / "out")
    assert dataset.info.blank_slices == 8 and len(dataset.manifest) == 16
    assert len(dataset.images(24)) == 16 and dataset.images(24).reshape(16, -1).std(axis=1).min() > 0


def test_damaged_medical_files_are_listed_as_images(tmp_path):
    raw = class_folders(tmp_path / "raw")
    (raw / "ill" / "cut.dcm").write_bytes(dicom_file(tmp_path / "a.dcm", slice_of(1)).read_bytes()[:600])
    (raw / "ill" / "cut.nii").write_bytes(b"text")
    source = read_raw_dataset(raw, data_params())
    assert {"ill/cut.dcm", "ill/cut.nii"} <= set(labels(source))


def test_the_crop_is_taken_from_the_middle_before_resizing(tmp_path):
    pixels = slice_of(1, side=64)
    dicom_file(tmp_path / "raw" / "ill" / "a.dcm", pixels)
    dicom_file(tmp_path / "raw" / "well" / "b.dcm", slice_of(2, side=64))
    raw = opened(tmp_path / "raw").read(0)
    whole, middle = (np.asarray(crop(raw, side).image) for side in (None, 32))
    assert np.array_equal(middle, whole[16:48, 16:48])
    prepared = prepare(class_folders(tmp_path / "plain"), no_window(crop=16), tmp_path / "out")
    assert prepared.images(24).shape[-1] == 24 and prepared.info.input.raw.width.largest == 16


def no_window(**values):
    return data_params(window_center=None, window_width=None, **values)


def test_an_image_smaller_than_the_crop_is_refused(tmp_path):
    with pytest.raises(DcubeError, match="smaller than the crop of 32"):
        prepare(class_folders(tmp_path / "raw"), no_window(crop=32), tmp_path / "out")


def test_a_window_for_plain_images_is_refused(tmp_path):
    with pytest.raises(DcubeError, match="holds plain images"):
        opened(class_folders(tmp_path / "raw"))


def test_window_center_without_width_is_refused():
    with pytest.raises(DcubeError, match="window_center and window_width together"):
        params_from({"data": {"window_center": 40}}, "test")
