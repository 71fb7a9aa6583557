"""The same invented patients in every layout, and the specifics of the paper's three data sets."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dcube.config.loading import load_preset
from dcube.config.schema import Data
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.layouts.breast_mri import NO_SERIES
from dcube.data.layouts.phantom import SIDE
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.preparing import prepare
from dcube.data.preprocessing import crop
from dcube.errors import DcubeError
from tests.support import phantom_layouts as layouts
from tests.support.phantom_layouts import SLICES, WINDOW, Invented
from tests.support.raw_sets import save

PEOPLE = layouts.patients()
PLAIN = Data(image_size=SIDE, diffusion_image_size=SIDE // 2)
MEDICAL = Data(image_size=SIDE, diffusion_image_size=SIDE // 2, **WINDOW)
ROUTES = {
    "pictures": (layouts.pictures, PLAIN),
    "dicom": (layouts.dicom, MEDICAL),
    "nifti": (layouts.nifti, MEDICAL),
    "medmnist": (layouts.medmnist, PLAIN),
    "radiography": (layouts.radiography, PLAIN),
    "breast": (layouts.breast, MEDICAL),
    "pancreas": (layouts.pancreas, MEDICAL),
}


@pytest.fixture(autouse=True)
def salt(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "salt"))


def images(source: RawDataset, side: int | None = None) -> list[np.ndarray]:
    cropped = [crop(source.read(i), side).image for i in range(len(source.records))]
    return [np.rint(np.asarray(image)).astype(np.uint8) for image in cropped]


def expected() -> list[tuple[bytes, str]]:
    return sorted((pixels.tobytes(), one.kind) for one in PEOPLE for pixels in one.slices)


@pytest.mark.parametrize("route", ROUTES)
def test_every_layout_gives_the_same_arrays_for_the_same_patients(route: str, tmp_path: Path) -> None:
    write, data = ROUTES[route]
    dataset = prepare(write(tmp_path / "raw", PEOPLE), data, tmp_path / "prepared")
    labels = [dataset.classes[label] if route != "medmnist" else layouts.KINDS[label] for label in dataset.labels]
    large, small = dataset.images(SIDE), dataset.images(SIDE // 2)
    order = sorted(range(len(large)), key=lambda i: large[i].tobytes())
    assert [(large[i].tobytes(), labels[i]) for i in order] == expected()
    plain = prepare(layouts.pictures(tmp_path / "16 bit", PEOPLE, deep=True), PLAIN, tmp_path / "plain")
    reference = np.argsort([pixels.tobytes() for pixels in plain.images(SIDE)])
    difference = np.abs(small[order].astype(int) - plain.images(SIDE // 2)[reference])
    if data == PLAIN:
        assert difference.max() <= 2  # pictures of 8 bits are rounded twice, after rows and after columns
    else:
        assert difference.max() == 0
        groups = {p: set(rows["label"]) for p, rows in dataset.manifest.groupby("patient")}
        assert len(groups) == len(PEOPLE) and all(len(kinds) == 1 for kinds in groups.values())


@pytest.mark.parametrize(("name", "share"), [("pancreas", 0.3), ("covid_radiography", 0.2), ("breast", 27 / 127)])
def test_presets_have_the_test_fraction_of_the_paper(name: str, share: float) -> None:
    assert load_preset(name).data.test_fraction == pytest.approx(share, abs=5e-4)


def test_radiography_has_four_classes_and_notes_missing_patients(tmp_path: Path) -> None:
    raw = layouts.radiography(tmp_path / "raw", PEOPLE)
    shutil.copytree(raw / "normal", raw / "Viral Pneumonia")
    for i, file in enumerate(sorted((raw / "Viral Pneumonia" / "images").iterdir())):
        save(file, np.random.default_rng(i).integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
    source = read_raw_dataset(raw, PLAIN)
    assert source.layout == "COVID-19 Radiography"
    assert {record.label for record in source.records} == {"benign", "malignant", "normal", "Viral Pneumonia"}
    assert not any(record.patient or "masks" in record.file for record in source.records)
    assert len(source.left_out["mask or thumbnail of an image"]) == 16 * SLICES
    assert sorted(source.ignored) == ["README.md.txt", *(f"{kind}.metadata.xlsx" for kind in layouts.KINDS)]
    dataset = prepare(raw, PLAIN, tmp_path / "prepared")
    written = json.loads((dataset.folder / "dataset.json").read_text())
    assert written["patients"] == 0
    assert "names no patients" in written["notes"][0] and f"{16 * SLICES} lung masks" in written["notes"][1]
    shutil.rmtree(raw / "normal" / "images")
    (raw / "normal" / "images").mkdir()
    with pytest.raises(DcubeError, match="normal/images contains no images"):
        read_raw_dataset(raw, PLAIN)


def test_breast_slices_are_those_of_the_box_in_the_first_series_after_contrast(tmp_path: Path) -> None:
    raw = layouts.breast(tmp_path / "raw", PEOPLE, labels=False)
    source = read_raw_dataset(raw, MEDICAL)
    by_patient = {}
    for record, image in zip(source.records, images(source), strict=True):
        by_patient.setdefault(record.patient, []).append(image)
    assert all((np.stack(by_patient[f"Breast_MRI_{one.number:03d}"]) == one.slices).all() for one in PEOPLE)
    labels = {record.patient: record.label for record in source.records}
    assert labels == {
        f"Breast_MRI_{one.number:03d}": "no_suspicious_nodes" if one.kind == "normal" else "suspicious_nodes"
        for one in PEOPLE
    }


def test_labels_table_overrides_breast_labels_and_may_define_splits(tmp_path: Path) -> None:
    raw = layouts.breast(tmp_path / "raw", PEOPLE, labels=False)
    rows = ["Breast_MRI_001,lymphadenopathy,train", "Breast_MRI_002,suspicious,test", "Breast_MRI_003,suspicious,train"]
    (raw / "labels.csv").write_text("\n".join(["patient_id,label,split", *rows]))
    found = {record.patient: (record.label, record.split) for record in read_raw_dataset(raw, MEDICAL).records}
    assert found["Breast_MRI_001"] == ("lymphadenopathy", "train")
    assert found["Breast_MRI_002"] == ("suspicious", "test")
    assert found["Breast_MRI_004"] == ("", "")
    (raw / "labels.csv").write_text("patient_id,label\nBreast_MRI_999,x\n")
    with pytest.raises(DcubeError, match=r"labels.csv line 2: there are no images of 'Breast_MRI_999'"):
        read_raw_dataset(raw, MEDICAL)


def test_incomplete_breast_data_is_reported_by_name(tmp_path: Path) -> None:
    people = PEOPLE[:3]
    raw = layouts.breast(tmp_path / "raw", people)
    study = next(raw.rglob("Breast_MRI_002")) / "01-01-1990-NA-MRI BREAST BILATERAL WWO-97538"
    (study / "27.0-ax dyn 1st pass-2" / "1-04.dcm").unlink()
    with pytest.raises(DcubeError, match="Breast_MRI_002 lacks slice 4 of its annotation box: fetch them again"):
        read_raw_dataset(raw, MEDICAL)
    (study / "27.0-ax dyn 1st pass-2").rename(study / "27.0-something-2")
    source = read_raw_dataset(raw, MEDICAL)
    assert {record.patient for record in source.records} == {"Breast_MRI_001", "Breast_MRI_003"}
    assert source.left_out[NO_SERIES] == ("manifest-1/Duke-Breast-Cancer-MRI/Breast_MRI_002",)
    shutil.rmtree(study.parent)
    (raw / "labels.csv").unlink()
    assert {record.patient for record in read_raw_dataset(raw, MEDICAL).records} == {"Breast_MRI_001", "Breast_MRI_003"}
    (raw / "Annotation_Boxes.xlsx").write_bytes(b"no spreadsheet")
    with pytest.raises(DcubeError, match=r"Annotation_Boxes.xlsx is not a readable spreadsheet"):
        read_raw_dataset(raw, MEDICAL)


def test_the_pancreas_crop_follows_the_pancreas_of_each_slice(tmp_path: Path) -> None:
    """The expected centre is computed from the mask here, for TCIA's rotated label maps and the Decathlon's."""
    side = 40
    raw = layouts.pancreas(tmp_path / "raw", PEOPLE)
    source = read_raw_dataset(raw, MEDICAL)
    found = sorted(image.tobytes() for image in images(source, side))
    wanted = []
    for one in PEOPLE:
        for pixels, mask in zip(one.slices, one.pancreas, strict=True):
            rows, columns = np.nonzero(mask)
            top, left = (round(min(max(at.mean() + 0.5 - side / 2, 0), SIDE - side)) for at in (rows, columns))
            wanted.append(pixels[top : top + side, left : left + side].tobytes())
    assert found == sorted(wanted)


def test_pancreas_mass_without_diagnosis_is_labelled_tumour(tmp_path: Path) -> None:
    raw = layouts.pancreas(tmp_path / "raw", PEOPLE, diagnoses=False)
    source = read_raw_dataset(raw, MEDICAL)
    assert {record.label for record in source.records} == {"normal", "tumour"}
    assert "neither all benign nor all malignant" in source.notes[1]
    (raw / "diagnoses.csv").write_text("patient_id,label\npancreas_001,benign\n")
    labels = {record.patient: record.label for record in read_raw_dataset(raw, MEDICAL).records}
    assert (labels["pancreas_001"], labels["pancreas_002"], labels["PANCREAS_0003"]) == ("benign", "", "normal")


def test_slices_of_a_tumour_patient_without_tumour_are_unlabelled(tmp_path: Path) -> None:
    raw, one = tmp_path / "raw", PEOPLE[0]
    task, axes = raw / "Task07_Pancreas", ("R", "A", "S")
    labels = one.pancreas.astype(np.uint8)
    labels[2][one.pancreas[2]] = 2
    layouts.write_volume(task / "imagesTr" / "pancreas_001.nii.gz", one.slices.astype(np.int16), axes)
    layouts.write_volume(task / "labelsTr" / "pancreas_001.nii.gz", labels, axes)
    records = read_raw_dataset(raw, MEDICAL).records
    assert [record.label for record in records] == ["", "", "tumour", ""]
    assert [record.file[-2:] for record in records] == ["#0", "#1", "#2", "#3"]


def test_label_maps_that_do_not_fit_their_images_are_refused(tmp_path: Path) -> None:
    raw = layouts.pancreas(tmp_path / "raw", PEOPLE[:3])
    tcia = next(raw.rglob("label0003.nii.gz"))
    series = next(raw.rglob("1-099.dcm")).parent
    removed = (series / "1-099.dcm").rename(tmp_path / "aside.dcm")
    with pytest.raises(DcubeError, match="has 96 × 96 × 6 voxels, and the series of PANCREAS_0003 96 × 96 × 5"):
        read_raw_dataset(raw, MEDICAL)
    removed.rename(series / "1-099.dcm")
    for file in series.iterdir():
        whole = file.read_bytes()
        file.write_bytes(whole[:-500])
    with pytest.raises(DcubeError, match=r"1-0\d\d.dcm cannot be used"):
        read_raw_dataset(raw, MEDICAL)
    for file in series.iterdir():
        file.write_bytes(file.read_bytes() + bytes(500))
    air = np.zeros((SLICES + 2, SIDE, SIDE), np.uint8)
    air[2, :6, :6] = 1
    layouts.write_tcia_labels(tcia, air)
    with pytest.raises(DcubeError, match="which is not pancreas: the label map is not aligned with the images"):
        read_raw_dataset(raw, MEDICAL)
    tcia.write_bytes(b"no volume")
    with pytest.raises(DcubeError, match="label map of PANCREAS_0003 cannot be used"):
        read_raw_dataset(raw, MEDICAL)
    (raw / "Task07_Pancreas" / "imagesTr" / "pancreas_001.nii.gz").unlink()
    with pytest.raises(DcubeError, match=r"imagesTr/pancreas_001.nii.gz is missing"):
        read_raw_dataset(raw, MEDICAL)


def test_label_map_without_images_is_ignored(tmp_path: Path) -> None:
    """TCIA withdrew two patients' images and kept their label maps."""
    raw = layouts.pancreas(tmp_path / "raw", PEOPLE)
    shutil.rmtree(raw / "Pancreas-CT" / "PANCREAS_0003")
    source = read_raw_dataset(raw, MEDICAL)
    assert "PANCREAS_0003" not in {record.patient for record in source.records}
    assert source.ignored == ("TCIA_pancreas_labels-02-05-2017/label0003.nii.gz",)


@pytest.mark.parametrize(
    "homes",
    [
        {"Task07_Pancreas": "MSD/Task07_Pancreas", "Pancreas-CT": "TCIA/manifest-1599750808610/Pancreas-CT"},
        {"TCIA_pancreas_labels-02-05-2017": "."},
        {"TCIA_pancreas_labels-02-05-2017": "Pancreas-CT/labels", "Task07_Pancreas": "."},
    ],
)
def test_pancreas_images_and_labels_are_found_below_any_folder(homes: dict[str, str], tmp_path: Path) -> None:
    """Also with macOS files from the Decathlon's tar, DICOM files without a suffix, and an unpacked volume."""
    packed, raw = layouts.pancreas(tmp_path / "packed", PEOPLE, diagnoses=False), tmp_path / "archive" / "raw"
    for folder in [entry for entry in packed.iterdir() if entry.is_dir()]:
        shutil.copytree(folder, raw / homes.get(folder.name, folder.name), dirs_exist_ok=True)
    for file in list(raw.rglob("pancreas_*.nii.gz")):
        (file.parent / f"._{file.name}").write_bytes(b"\0\5\x16\7")
    for file in list(raw.rglob("*.dcm")):
        file.rename(file.with_name(f"1.2.826.0.1.{file.stem}"))
    unpacked = next(raw.rglob("imagesTr/pancreas_*"))
    unpacked.with_suffix("").write_bytes(gzip.decompress(unpacked.read_bytes()))
    unpacked.unlink()
    (raw / "Pancreas-CT-part" / "PANCREAS_0099" / "a").mkdir(parents=True)
    shutil.copy(next(raw.rglob("1.2.826*")), raw / "Pancreas-CT-part" / "PANCREAS_0099" / "a" / "1-001.dcm")
    source = read_raw_dataset(raw.parent, MEDICAL)
    assert source.layout == "pancreas CT" and len(source.records) == len(PEOPLE) * SLICES
    assert {record.patient for record in source.records} == {
        f"PANCREAS_{one.number:04d}" if one.kind == "normal" else f"pancreas_{one.number:03d}" for one in PEOPLE
    }
    normal = sum(one.kind == "normal" for one in PEOPLE)
    assert {why: len(files) for why, files in source.left_out.items()} == {
        "hidden file": 2 * (len(PEOPLE) - normal),
        "slice without pancreas": 2 * normal,
        "series without a label map": 1,
    }


def test_two_copies_of_a_pancreas_label_map_are_refused(tmp_path: Path) -> None:
    raw = layouts.pancreas(tmp_path / "raw", PEOPLE[:1])
    shutil.copytree(raw / "Task07_Pancreas", raw / "copy" / "Task07_Pancreas")
    with pytest.raises(DcubeError, match="pancreas_001 have several label maps each: keep one copy"):
        read_raw_dataset(raw, MEDICAL)


def test_invented_patients_differ_and_have_a_pancreas_in_every_slice(tmp_path: Path) -> None:
    assert len({one.slices.tobytes() for one in PEOPLE}) == len(PEOPLE)
    assert all(isinstance(one, Invented) and one.pancreas.any(axis=(1, 2)).all() for one in PEOPLE)
