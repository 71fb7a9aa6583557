"""Realistic folders: what is used, what is left out and listed, and what is refused with a hint."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from typer.testing import CliRunner

from dcube.cli.data import app
from dcube.config.schema import Data
from dcube.data.adding import add_dataset
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.layouts import spreadsheets
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from dcube.inference.inputs import collect_images
from tests.support.medical_files import RAMP, dicom_dataset, dicom_file, nifti_file
from tests.support.raw_sets import class_folders, noise, save, write_metadata

PLAIN = Data(image_size=16, diffusion_image_size=16)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


pytestmark = pytest.mark.usefixtures("own_salt")


def opened(raw: Path):
    return read_raw_dataset(raw, PLAIN)


def used(raw: Path) -> dict[str, tuple[str, str]]:
    return {record.file: (record.label, record.split) for record in opened(raw).records}


def counts(raw: Path) -> dict[str, int]:
    return {why: len(files) for why, files in opened(raw).left_out.items()}


def refused(raw: Path) -> str:
    with pytest.raises(DcubeError) as error:
        opened(raw)
    return str(error.value)


@pytest.mark.parametrize(
    "names",
    [("Training", "Testing"), ("TRAIN", "Test"), ("train", "Valid", "test"), ("Train", "Validation", "Testing")],
)
def test_split_folders_of_any_spelling_are_splits_and_not_classes(tmp_path, names):
    for name in names:
        class_folders(tmp_path / name, ("glioma", "no_tumor"), images=1)
    found = set(used(tmp_path).values())
    assert {label for label, _ in found} == {"glioma", "no_tumor"}
    assert {split for _, split in found} <= {"train", "validation", "test"} and len(found) == 2 * len(names)


def test_training_folder_alone_is_a_split_and_splits_may_be_below_classes(tmp_path):
    class_folders(tmp_path / "a" / "Training", images=1)
    assert set(used(tmp_path / "a").values()) == {("ill", "train"), ("well", "train")}
    for split in ("train", "test"):
        class_folders(tmp_path / "b" / "x" / split, ("deep",), images=1)
        class_folders(tmp_path / "b" / "y" / split, ("deep",), images=1)
    assert set(used(tmp_path / "b").values()) == {(c, s) for c in "xy" for s in ("train", "test")}


def test_masks_beside_images_are_left_out_and_counted(tmp_path):
    """BUSI has `benign (1).png`, `benign (1)_mask.png` and `benign (1)_mask_1.png`."""
    for label in ("benign", "malignant"):
        for name in (f"{label} (1)", f"{label} (1)_mask", f"{label} (1)_mask_1", f"{label} (2)", f"{label} (2)_mask"):
            save(tmp_path / label / f"{name}.png", noise(len(name)))
    assert sorted(used(tmp_path)) == [f"{c}/{c} ({i}).png" for c in ("benign", "malignant") for i in (1, 2)]
    assert counts(tmp_path) == {"mask or thumbnail of an image": 6}


def test_image_with_few_grey_levels_is_reported_as_a_possible_label_map(tmp_path):
    raw = class_folders(tmp_path / "raw")
    save(raw / "ill" / "map.png", np.repeat(np.arange(4, dtype=np.uint8), 144).reshape(24, 24))
    assert any("1 of 21 images has few grey levels" in line for line in inspect_dataset(raw, PLAIN).warnings)


def test_localizers_dose_reports_and_secondary_captures_are_left_out(tmp_path):
    for label in ("ill", "well"):
        study = tmp_path / label / "study"
        for number in range(3):
            dicom_file(study / f"{number}.dcm", RAMP, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
        dicom_file(study / "scout.dcm", RAMP, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        dicom_file(study / "topogram.dcm", RAMP, SeriesDescription="Topogram  0.6  T20f")
        dicom_file(study / "dose.dcm", RAMP, SOPClassUID=SECONDARY_CAPTURE, SeriesDescription="Dose Report")
        dicom_file(study / "photo.dcm", RAMP, SOPClassUID=SECONDARY_CAPTURE)
    assert {Path(file).name for file in used(tmp_path)} == {"0.dcm", "1.dcm", "2.dcm"}
    wanted = {"localizer": 4, "dose report or screen picture": 2, "secondary capture": 2}
    assert counts(tmp_path) == wanted
    with collect_images([tmp_path]) as (images, left_out):
        assert len(images) == 6 and {why: len(files) for why, files in left_out.items()} == wanted
    with collect_images([tmp_path / "ill" / "study" / "scout.dcm"]) as (images, _):
        assert len(images) == 1


def test_set_of_only_secondary_captures_is_used(tmp_path):
    """The RSNA publishes its X-rays as secondary captures."""
    for label in ("ill", "well"):
        dicom_file(tmp_path / label / "1.dcm", RAMP, SOPClassUID=SECONDARY_CAPTURE, Modality="CR")
    assert len(used(tmp_path)) == 2


def test_files_of_operating_systems_and_archivers_are_left_out(tmp_path):
    raw = class_folders(tmp_path / "raw", images=1)
    for file in ("@eaDir/00.png/SYNOPHOTO_THUMB_M.png", "00_thumb.png", "thumbnails/00.png"):
        save(raw / "ill" / file, noise(1))
    for file in (
        "__MACOSX/ill/._00.png",
        "ill/Thumbs.db",
        "ill/.DS_Store",
        "ill/._00.png",
        "well/desktop.ini",
        "ill/Icon\r",
    ):
        (raw / file).parent.mkdir(parents=True, exist_ok=True)
        (raw / file).write_bytes(b"\0\x05\x16\x07")
    assert len(used(raw)) == 2
    assert counts(raw) == {
        "thumbnail": 3,
        "mask or thumbnail of an image": 1,
        "left by an operating system or an archiver": 3,
        "hidden file": 2,
    }


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (["0", "0.0"], r"'0' (10) and '0.0' (10) differ only in case, spaces or the format of a number: write one"),
        (["Benign", "benign"], "differ only in case"),
        (["Viral Pneumonia", "viral_pneumonia"], "differ only in case"),
        (["well", "nan"], "10 images have the label 'nan': if it is a class, call it by another name"),
        (["patient_1", "patient_2"], "look like patients"),
    ],
)
def test_ambiguous_labels_are_refused(tmp_path, labels, why):
    raw = class_folders(tmp_path / "raw", ("0", "1"))
    rows = [{"file": f"{c}/{i:02d}.png", "label": labels[int(c)]} for c in "01" for i in range(10)]
    assert why in refused(write_metadata(raw, rows))
    with pytest.raises(DcubeError, match="data check"):
        prepare(raw, PLAIN, tmp_path / "out")


def test_second_copy_of_the_set_beside_the_classes_is_refused(tmp_path):
    """Kaggle's brain MRI set has `yes/`, `no/`, `brain_tumor_dataset/yes/` and `brain_tumor_dataset/no/`."""
    for folder in (tmp_path, tmp_path / "brain_tumor_dataset"):
        class_folders(folder, ("yes", "no"), images=1)
    assert "brain_tumor_dataset is beside" in refused(tmp_path)


def test_patient_folders_are_refused_but_many_class_codes_are_accepted(tmp_path):
    raw = class_folders(tmp_path / "raw", tuple(f"{i:04d}" for i in range(20)), images=1)
    assert "look like patients" in refused(raw)
    rows = [{"file": f"{i:04d}/00.png", "label": f"C{30 + i}"} for i in range(20)]
    assert len(used(write_metadata(raw, rows))) == 20


def test_patient_ids_in_two_spellings_or_nan_are_refused(tmp_path):
    raw = class_folders(tmp_path / "raw", ("0", "1"), images=1)
    for ids, why in ((("7", "7.0"), "'7' (1) and '7.0' (1) differ"), (("7", "nan"), "the patient 'nan'")):
        rows = [{"file": f"{c}/00.png", "label": c, "patient_id": ids[int(c)]} for c in "01"]
        assert why in refused(write_metadata(raw, rows))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("file,label,label", "the column 'label' is there 2 times: keep one of them"),
        ("file,label,PatientID", "'PatientID' would not be used: call it 'patient_id'"),
        ("file,label,Split", "'Split' would not be used"),
    ],
)
def test_duplicate_or_misnamed_column_is_refused(tmp_path, header, why):
    raw = class_folders(tmp_path / "raw", images=1)
    (raw / "metadata.csv").write_text(f"{header}\nill/00.png,a,b\nwell/00.png,b,a\n")
    assert why in refused(raw)


def bare(file: Path, implicit: bool) -> Path:
    """Write a DICOM data set without preamble and file meta information."""
    dataset = dicom_dataset(RAMP, PatientID=file.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    del dataset.file_meta
    pydicom.dcmwrite(file, dataset, implicit_vr=implicit, little_endian=True)
    assert b"DICM" not in file.read_bytes()
    return file


def test_dicom_is_recognised_by_content_whatever_its_file_name(tmp_path):
    """`predict` recognises it too; the pixels are those that were written."""
    for label in ("ill", "well"):
        for name in ("a.dcm", "CT.1.2.826.0.1.3680043", "image.004", "IM0001", "I.txt"):
            dicom_file(tmp_path / label / name, RAMP)
        bare(tmp_path / label / "bare.explicit", implicit=False)
        bare(tmp_path / label / "1.2.3.4", implicit=True)
        (tmp_path / label / "README").write_text("A text of some length, " * 20)
    source = opened(tmp_path)
    assert len(source.records) == 14 and counts(tmp_path) == {"not an image": 2}
    for i in range(14):
        assert np.allclose(source.read(i).image, RAMP / 65535 * 255, atol=0.01)
    with collect_images([tmp_path]) as (images, left_out):
        assert len(images) == 14 and list(left_out) == ["not an image"]
        assert np.asarray(images[0].read(None).image).shape == RAMP.shape


def test_image_without_suffix_is_used_and_other_formats_are_left_out(tmp_path):
    raw = class_folders(tmp_path / "raw", images=1)
    shutil.copy(raw / "ill" / "00.png", raw / "ill" / "scan")
    for name, content in {
        "a.mha": b"ObjectType",
        "b.zip": b"PK\3\4",
        "c.004": b"",
        "d.nii.gz.backed_up": b"\x1f\x8b",
    }.items():
        (raw / "well" / name).write_bytes(content)
    assert "ill/scan" in used(raw)
    assert counts(raw) == {
        "compressed file: unpack it": 2,
        "empty file": 1,
        "format that is not read: convert it to PNG, DICOM or NIfTI": 1,
    }


@pytest.mark.parametrize(
    "name",
    [
        "x.png.part", "x.PNG.crdownload", "x.png.bak", "x.dcm.tmp", "x.png~", "~$x.png", "#x.png#", "x.png.old",
        "x.jpg.orig", "x.png.swp", "x.nii.gz.part", "x.nii.filepart", "Unconfirmed 12345.crdownload", "x.png.tmp.123",
    ],
)  # fmt: skip
def test_leftovers_of_downloads_and_editors_are_left_out(tmp_path, name):
    raw = class_folders(tmp_path / "raw", images=2)
    if "dcm" in name:
        dicom_file(raw / "ill" / name, RAMP)
    else:
        shutil.copy(raw / "ill" / "00.png", raw / "ill" / name)
    assert len(used(raw)) == 4
    assert counts(raw) == {"left by a download, an editor or a backup: rename it if it is an image": 1}
    with collect_images([raw]) as (images, left_out):
        assert len(images) == 4 and left_out == {next(iter(counts(raw))): [f"{raw}/ill/{name}"]}


def test_previews_of_medical_files_are_left_out_and_other_images_reported(tmp_path):
    """Exports and discs contain such previews. A preview that the table names is used."""
    for number, label in enumerate(("ill", "well")):
        folder = tmp_path / label
        for name in ("a.dcm", "CT.1.2.826", "b"):
            dicom_file(folder / name, RAMP, PatientID=label)
        nifti_file(folder / "v.nii.gz", noise(2, (16, 16, 2)), display=(0, 255))
        for name in ("a.jpg", "a.dcm.png", "CT.1.2.826.png", "b.jpg", "v.png", "IHE_PDI/logo.png"):
            save(folder / name, noise(10 * number + len(name)))
    assert counts(tmp_path) == {"preview of a DICOM or NIfTI file": 10} and len(used(tmp_path)) == 12
    with collect_images([tmp_path]) as (images, left_out):
        assert len(images) == 12 and list(left_out) == ["preview of a DICOM or NIfTI file"]
    warnings = inspect_dataset(tmp_path, PLAIN).warnings
    assert any(line.startswith("2 of 12 images are pictures among DICOM or NIfTI") for line in warnings)
    rows = [{"file": f"{label}/a.jpg", "label": label} for label in ("ill", "well")]
    others = [{"file": f"{label}", "label": label} for label in ("ill", "well")]
    assert len(used(write_metadata(tmp_path, rows + others))) == 14


def test_check_lists_files_that_are_left_out_by_reason(tmp_path):
    raw = class_folders(tmp_path / "raw")
    save(raw / "ill" / "03_mask.png", noise(3))
    (raw / "notes.txt").write_text("x")
    printed = CliRunner().invoke(app, ["check", str(raw), "--json"])
    left_out = json.loads(printed.stdout)["left_out"]
    assert left_out == {"mask or thumbnail of an image": ["ill/03_mask.png"], "not an image": ["notes.txt"]}
    assert "1 × mask or thumbnail of an image" in CliRunner().invoke(app, ["check", str(raw)]).stdout


def test_outer_folders_are_skipped_but_a_single_class_folder_is_kept(tmp_path):
    class_folders(tmp_path / "archive" / "Dataset" / "set", images=1)
    (tmp_path / "archive" / "README.md").write_text("x")
    assert set(used(tmp_path)) == {"ill/00.png", "well/00.png"}
    assert opened(tmp_path).left_out == {"beside the folder of the images": ("archive/README.md",)}
    class_folders(tmp_path / "one", ("only",), images=1)
    assert used(tmp_path / "one") == {"only/00.png": ("only", "")}


def test_archive_with_only_a_train_folder_is_refused(tmp_path):
    class_folders(tmp_path / "set" / "Train", images=4)
    packed = Path(shutil.make_archive(str(tmp_path / "part"), "zip", tmp_path / "set"))
    with pytest.raises(DcubeError, match="comes with splits, but without 'test'"):
        add_dataset(Data(name="part", image_size=16, diffusion_image_size=16), packed, tmp_path / "data" / "part")


@pytest.mark.parametrize("packed", [True, False])
def test_radiography_is_read_as_kaggle_packs_it(tmp_path, packed):
    """zip → outer folder → inner folder; masks are left out."""
    inner = tmp_path / "archive" / "COVID-19_Radiography_Dataset" / "COVID-19_Radiography_Dataset"
    for c, name in enumerate(("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")):
        for i in range(8):
            save(inner / name / "images" / f"{name}-{i}.png", noise(100 * c + i))
            save(inner / name / "masks" / f"{name}-{i}.png", noise(5000 + 100 * c + i))
        (inner / f"{name}.metadata.xlsx").write_bytes(b"PK")
    (inner.parent / "README.md.txt").write_text("x")
    given = tmp_path / "archive"
    if packed:
        given = Path(shutil.make_archive(str(tmp_path / "kaggle"), "zip", tmp_path / "archive"))
    report = add_dataset(Data(name="covid", image_size=16, diffusion_image_size=16), given, tmp_path / "data" / "covid")
    assert report.layout == "COVID-19 Radiography" and report.images == 32 and not report.problem
    assert len(report.left_out["mask or thumbnail of an image"]) == 32
    assert len(prepare(tmp_path / "data" / "covid", PLAIN, tmp_path / "out").manifest) == 32


def test_class_without_any_usable_image_is_refused(tmp_path):
    """A class of only GIF files or only localizers would vanish without a message."""
    raw = class_folders(tmp_path / "pictures", images=1)
    (raw / "other").mkdir()
    (raw / "other" / "a.gif").write_bytes(b"GIF89a")
    assert "other contains no images, but 1 × format that is not read" in refused(raw)
    for label in ("ill", "well", "scouts"):
        dicom_file(
            tmp_path / "ct" / label / "1.dcm", RAMP, SeriesDescription="Topogram" if label == "scouts" else "Thorax"
        )
    said = refused(tmp_path / "ct")
    assert "scouts contains no images, but 1 × localizer (scouts/1.dcm): fill or remove this class folder" in said


@pytest.mark.parametrize("name", ["Metadata.csv", "METADATA.CSV", "metadata.tsv"])
def test_table_with_nearly_the_right_name_is_refused(tmp_path, name):
    """Its patients and splits would be lost, although its labels are also the folder names."""
    raw = class_folders(tmp_path / "raw", images=3)
    rows = [{"file": f"{c}/{i:02d}.png", "label": c, "patient_id": str(i)} for c in ("ill", "well") for i in range(3)]
    written = write_metadata(raw, rows) / "metadata.csv"
    content = written.read_text()
    written.unlink()
    (raw / name).write_text(content.replace(",", "\t") if name.endswith("tsv") else content)
    assert f"{name} would not be read: save it as metadata.csv, or remove it" in refused(raw)


def test_table_in_utf16_or_with_an_endless_line_is_refused(tmp_path):
    raw = class_folders(tmp_path / "raw", images=1)
    text = "file,label\nill/00.png,a\nwell/00.png,b\n"
    (raw / "metadata.csv").write_bytes(text.encode("utf-16"))
    assert "metadata.csv is not a CSV in UTF-8" in refused(raw)
    with (raw / "metadata.csv").open("wb") as file:  # a sparse file: 20 GB of zeros
        file.write(b"file,label\n")
        file.truncate(20 * 2**30)
    assert "a line of 1,048,576 characters and more" in refused(raw)


def test_a_spreadsheet_that_unpacks_to_too_much_is_not_read(tmp_path, monkeypatch):
    raw = class_folders(tmp_path / "raw", images=2)
    names = [f"{c}/{i:02d}.png" for c in ("ill", "well") for i in (0, 1)]
    pd.DataFrame({"image": names}).to_excel(raw / "list.xlsx", index=False)
    assert list(opened(raw).left_out) == ["table that names images: only metadata.csv is read"]
    monkeypatch.setattr(spreadsheets, "LARGEST", 1000)
    assert list(opened(raw).left_out) == ["not an image"]


def test_too_deeply_nested_folders_are_refused(tmp_path):
    """The standard library's functions that walk and remove folders are recursive."""
    raw = class_folders(tmp_path / "raw", images=1)
    (raw / "ill" / "/".join("a" * 101)).mkdir(parents=True)
    assert "holds folders inside of 100 others: move the images up" in refused(raw)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a/" * 1500 + "x.png", b"")
    with pytest.raises(DcubeError, match="holds folders inside of 100 others"):
        add_dataset(PLAIN.model_copy(update={"name": "set"}), tmp_path / "set.zip", tmp_path / "data" / "set")


def test_backslashes_in_archive_members_are_read_as_folders(tmp_path):
    raw = class_folders(tmp_path / "raw")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in sorted(raw.rglob("*.png")):
            member = zipfile.ZipInfo("x")
            member.filename = str(file.relative_to(raw)).replace("/", "\\")
            archive.writestr(member, file.read_bytes())
    assert b"ill\\00.png" in (tmp_path / "set.zip").read_bytes()
    report = add_dataset(PLAIN.model_copy(update={"name": "set"}), tmp_path / "set.zip", tmp_path / "data" / "set")
    assert report.counts == {"": {"ill": 10, "well": 10}}


@pytest.mark.parametrize("name", ["Anonymous", "ANON", "anonymized", "De-Identified"])
def test_anonymised_patient_id_is_not_one_patient(tmp_path, name):
    """The series stands for the patient instead."""
    for c, label in enumerate(("ill", "well")):
        for i in range(10):
            pixels = np.roll(RAMP, 40 * i + 7 * c)
            dicom_file(tmp_path / label / f"{i}.dcm", pixels, PatientID=name, SeriesInstanceUID=f"1.2.{c}.{i // 2}")
    assert {record.patient for record in opened(tmp_path).records} == {f"1.2.{c}.{i}" for c in (0, 1) for i in range(5)}
    report = inspect_dataset(tmp_path, PLAIN)
    assert not report.problem
    assert any("20 of 20 images name no patient, and each DICOM series" in warning for warning in report.warnings)


def test_x_ray_called_scout_is_used_as_an_image(tmp_path):
    for label in ("ill", "well"):
        dicom_file(tmp_path / label / "1.dcm", RAMP, Modality="DX", SeriesDescription="SCOUT ABDOMEN")
    assert len(opened(tmp_path).records) == 2
