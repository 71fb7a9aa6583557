"""Well-known public sets, rebuilt in small from their documentation, as people who unpack them find them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcube.config.schema import Data
from dcube.data.adding import add_dataset
from dcube.data.checks.inspection import inspect_dataset
from dcube.data.layouts.detection import read_raw_dataset
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from tests.support.medical_files import RAMP, dicom_file, nifti_file
from tests.support.raw_sets import noise, write_metadata

SUFFIXES = (".dcm", ".dicom")
PLAIN = Data(name="public", image_size=16, diffusion_image_size=16)


def build(folder: Path, files: list[str], tables: dict[str, str]) -> Path:
    """Images that differ, by their paths, and the tables beside them."""
    for number, file in enumerate(files):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in SUFFIXES:
            dicom_file(path, np.roll(RAMP, number * 7), PatientID=path.parts[-2], Modality="CR")
        elif path.suffix == ".nii":
            nifti_file(path, np.random.default_rng(number).integers(0, 255, (9, 9, 2)).astype(np.int16))
        else:
            Image.fromarray(noise(number)).save(path)
    for file, text in tables.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


def numbered(pattern: str, count: int = 6, start: int = 1) -> list[str]:
    return [pattern.format(i) for i in range(start, start + count)]


SETS: dict[str, tuple[list[str], dict[str, str]]] = {
    "HAM10000": (
        numbered("HAM10000_images_part_1/ISIC_002{:04d}.jpg") + numbered("HAM10000_images_part_2/ISIC_003{:04d}.jpg"),
        {
            "HAM10000_metadata.csv": "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
            + "".join(
                f"HAM_{i % 5},ISIC_00{p}{i:04d},{('bkl', 'nv', 'mel')[i % 3]},histo,80.0,male,scalp\n"
                for p in (2, 3)
                for i in range(1, 7)
            )
        },
    ),
    "ISIC 2018 task 3": (
        numbered("ISIC2018_Task3_Training_Input/ISIC_002{:04d}.jpg")
        + numbered("ISIC2018_Task3_Test_Input/ISIC_003{:04d}.jpg"),
        {
            "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv": "image,MEL,NV\n"
            + "".join(f"ISIC_002{i:04d},0.0,1.0\n" for i in range(1, 7))
        },
    ),
    "NIH ChestX-ray14": (
        [f"images_{part:03d}/images/0000{part:04d}_{i:03d}.png" for part in (1, 2, 3) for i in range(4)],
        {
            "Data_Entry_2017.csv": "Image Index,Finding Labels,Follow-up #,Patient ID\n"
            + "".join(f"0000{p:04d}_{i:03d}.png,No Finding,{i},{p}\n" for p in (1, 2, 3) for i in range(4)),
            "train_val_list.txt": "00000001_000.png\n",
            "test_list.txt": "00000002_000.png\n",
        },
    ),
    "CheXpert": (
        numbered("train/patient{:05d}/study1/view1_frontal.jpg", 12)
        + numbered("valid/patient{:05d}/study1/view1_frontal.jpg", 4, 64541),
        {
            "train.csv": "Path,Sex,Age,No Finding\n"
            + "".join(
                f"CheXpert-v1.0-small/train/patient{i:05d}/study1/view1_frontal.jpg,Female,68,1.0\n"
                for i in range(1, 13)
            )
        },
    ),
    "MIMIC-CXR-JPG": (
        [f"files/p{p}/p{p}00003{i}/s5041{i:04d}/{p}aa{i:04d}-bbbb.jpg" for p in (10, 11, 12) for i in range(4)],
        {
            "mimic-cxr-2.0.0-split.csv": "dicom_id,study_id,subject_id,split\n"
            + "".join(f"{p}aa{i:04d}-bbbb,5041{i:04d},{p}00003{i},train\n" for p in (10, 11, 12) for i in range(4))
        },
    ),
    "RSNA pneumonia": (
        numbered("stage_2_train_images/0004cfab-14fd-4e49-80ba-{:04d}.dcm")
        + numbered("stage_2_test_images/000e3a7d-c0ca-4349-bb26-{:04d}.dcm"),
        {
            "stage_2_train_labels.csv": "patientId,x,y,width,height,Target\n"
            + "".join(f"0004cfab-14fd-4e49-80ba-{i:04d},,,,,{i % 2}\n" for i in range(1, 7))
        },
    ),
    "MURA": (
        [
            f"{split}/XR_{part}/patient{p:05d}/study1_{'positive' if p % 2 else 'negative'}/image1.png"
            for s, split in enumerate(("train", "valid"))
            for b, part in enumerate(("ELBOW", "WRIST"))
            for p in range(1 + 100 * s + 10 * b, 7 + 100 * s + 10 * b)
        ],
        {
            "train_labeled_studies.csv": "".join(
                f"MURA-v1.1/train/XR_{part}/patient{p:05d}/study1_{'positive' if p % 2 else 'negative'}/,{p % 2}\n"
                for b, part in enumerate(("ELBOW", "WRIST"))
                for p in range(1 + 10 * b, 7 + 10 * b)
            )
        },
    ),
    "APTOS 2019": (
        numbered("train_images/000c1434d8{:02d}.png") + numbered("test_images/0005cfc8af{:02d}.png"),
        {"train.csv": "id_code,diagnosis\n" + "".join(f"000c1434d8{i:02d},{i % 5}\n" for i in range(1, 7))},
    ),
    "Messidor": (
        [f"Base{b}/2005{b}_{i:05d}_0100_PP.tif" for b in (11, 12, 13) for i in range(4)],
        {f"Base{b}/Annotation_Base{b}.xls": "Image name\tRetinopathy grade\n" for b in (11, 12, 13)},
    ),
    "BreakHis": (
        [
            f"BreaKHis_v1/histology_slides/breast/{kind}/SOB/{sub}/SOB_{k}_{p}/40X/SOB_{k}-{p}-40-{i:03d}.png"
            for kind, sub, k in (("benign", "adenosis", "B_A"), ("malignant", "ductal_carcinoma", "M_DC"))
            for p in ("14-22549AB", "14-29960CD", "14-11031")
            for i in (1, 2)
        ],
        {"BreaKHis_v1/README.txt": "x"},
    ),
    "LIDC-IDRI": (
        [
            f"LIDC-IDRI/LIDC-IDRI-{p:04d}/01-01-2000-NA-NA-30178/3000566.000000-NA-03192/1-{i:03d}.dcm"
            for p in range(1, 7)
            for i in (1, 2)
        ],
        {
            "LIDC-IDRI_MetaData.csv": "Collection,Patient Id,Modality\n"
            + "".join(f"LIDC-IDRI,LIDC-IDRI-{p:04d},CT\n" for p in range(1, 7))
        },
    ),
    "CBIS-DDSM": (
        [
            f"CBIS-DDSM/{kind}-Training_P_{p:05d}_{side}_CC/08-07-2016-DDSM-NA-96009/1.0-full images-63992/1-1.dcm"
            for kind in ("Calc", "Mass")
            for p in (1, 2, 3)
            for side in ("LEFT", "RIGHT")
        ],
        {
            "mass_case_description_train_set.csv": "patient_id,pathology,image file path\n"
            + "".join(
                f"P_{p:05d},MALIGNANT,Mass-Training_P_{p:05d}_LEFT_CC/1.3.6.1.4/1.3.6.1.5/000000.dcm\n"
                for p in (1, 2, 3)
            )
        },
    ),
    "PatchCamelyon (Kaggle)": (
        numbered("train/f38a6374c348f90b587e046aac60799{:05d}.tif")
        + numbered("test/00006537328c33e284c973d7b39d340{:05d}.tif"),
        {
            "train_labels.csv": "id,label\n"
            + "".join(f"f38a6374c348f90b587e046aac60799{i:05d},{i % 2}\n" for i in range(1, 7))
        },
    ),
    "OCT2017": (
        [
            f"OCT2017 /{split}/{kind}/{kind}-{1000 + 10 * s + i}-{i}.jpeg"
            for s, split in enumerate(("train", "test"))
            for kind in ("CNV", "DME", "NORMAL")
            for i in range(6)
        ],
        {"OCT2017 /.DS_Store": "x"},
    ),
    "VinDr-CXR": (
        numbered("train/0108949daa13dc94634a7d650a05{:04d}.dicom")
        + numbered("test/2108949daa13dc94634a7d650a05{:04d}.dicom"),
        {
            "annotations/image_labels_train.csv": "image_id,rad_id,Pneumonia\n"
            + "".join(f"0108949daa13dc94634a7d650a05{i:04d},R1,0\n" for i in range(1, 7))
        },
    ),
    "ADNI": (
        [f"ADNI/{p:03d}_S_{p:04d}/MPRAGE/2006-04-18_08_20_30.0/I{p}/ADNI_{p:03d}_S_{p:04d}.nii" for p in range(2, 9)],
        {
            "ADNI1_Complete_1Yr_1.5T.csv": '"Image Data ID","Subject","Group"\n'
            + "".join(f'"I{p}","{p:03d}_S_{p:04d}","{("AD", "CN")[p % 2]}"\n' for p in range(2, 9))
        },
    ),
    "Kvasir v2": (
        [
            f"kvasir-dataset-v2/{kind}/{kind[:3]}-{i}.jpg"
            for kind in ("polyps", "normal-cecum", "normal-z-line")
            for i in range(6)
        ],
        {},
    ),
    "PAD-UFES-20": (
        [f"images/imgs_part_{part}/PAT_{i}_{part}_10.png" for part in (1, 2, 3) for i in range(4)],
        {
            "metadata.csv": "patient_id,lesion_id,diagnostic,img_id\n"
            + "".join(f"PAT_{i},1,NEV,PAT_{i}_{part}_10.png\n" for part in (1, 2, 3) for i in range(4))
        },
    ),
    "Chest X-Ray Pneumonia": (
        [
            f"chest_xray/{outer}{split}/{kind}/{'person' if kind[0] == 'P' else 'IM-'}{100 * s + i}.jpeg"
            for outer in ("", "chest_xray/")
            for s, split in enumerate(("train", "val", "test"))
            for kind in ("NORMAL", "PNEUMONIA")
            for i in range(3)
        ],
        {"chest_xray/__MACOSX/._train": "x"},
    ),
}

PARTS, OTHER_LABELS = "look like patients or parts of an archive", "names the images with other ones"
REFUSED = {  # how, and the column to make a metadata.csv from
    "HAM10000": (PARTS, "HAM10000_metadata.csv, whose column 'image_id'"),
    "ISIC 2018 task 3": (PARTS, "ISIC2018_Task3_Training_GroundTruth.csv, whose column 'image'"),
    "NIH ChestX-ray14": (PARTS, "Data_Entry_2017.csv, whose column 'Image Index'"),
    "CheXpert": (PARTS, "train.csv, whose column 'Path'"),
    "MIMIC-CXR-JPG": (PARTS, "mimic-cxr-2.0.0-split.csv, whose column 'dicom_id'"),
    "RSNA pneumonia": (PARTS, "stage_2_train_labels.csv, whose column 'patientId'"),
    "MURA": (OTHER_LABELS, "train_labeled_studies.csv, whose column '1'"),
    "APTOS 2019": (PARTS, "train.csv, whose column 'id_code'"),
    "Messidor": (PARTS, "write a metadata.csv"),
    "LIDC-IDRI": (OTHER_LABELS, "LIDC-IDRI_MetaData.csv, whose column 'Patient Id'"),
    "CBIS-DDSM": (OTHER_LABELS, "mass_case_description_train_set.csv, whose column 'image file path'"),
    "PatchCamelyon (Kaggle)": ("is neither in train/CLASS/", "train_labels.csv, whose column 'id'"),
    "VinDr-CXR": ("is neither in train/CLASS/", "annotations/image_labels_train.csv, whose column 'image_id'"),
    "ADNI": (OTHER_LABELS, "ADNI1_Complete_1Yr_1.5T.csv, whose column 'Image Data ID'"),
    "PAD-UFES-20": ("the column 'file' is missing", "its column 'img_id' names the images"),
    "Chest X-Ray Pneumonia": ("holds splits: remove it if it is another copy", "chest_xray/chest_xray"),
}
USED = {
    "BreakHis": {"benign", "malignant"},
    "OCT2017": {"CNV", "DME", "NORMAL"},
    "Kvasir v2": {"normal-cecum", "normal-z-line", "polyps"},
}


@pytest.fixture(autouse=True)
def _salt(tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "secrets" / "salt"))


@pytest.mark.parametrize("name", REFUSED)
def test_a_public_set_whose_folders_are_no_classes_is_refused_with_its_mend(name, tmp_path):
    """By `check`, `add` and `prepare` alike, before anything is stored."""
    raw = build(tmp_path / "set", *SETS[name])
    with pytest.raises(DcubeError) as refusal:
        inspect_dataset(raw, PLAIN)
    assert all(text in str(refusal.value) for text in REFUSED[name])
    with pytest.raises(DcubeError) as again:
        add_dataset(PLAIN, raw, tmp_path / "data" / "public")
    assert str(again.value) == str(refusal.value) and not any((tmp_path / "data").iterdir())
    with pytest.raises(DcubeError, match="data check"):
        prepare(raw, PLAIN, tmp_path / "prepared")


@pytest.mark.parametrize("name", USED)
def test_a_public_set_whose_folders_are_classes_is_used(name, tmp_path):
    raw = build(tmp_path / "set", *SETS[name])
    report = add_dataset(PLAIN, raw, tmp_path / "data" / "public")
    assert set().union(*report.counts.values()) == USED[name] and not report.problem
    assert set(prepare(tmp_path / "data" / "public", PLAIN, tmp_path / "prepared").classes) == USED[name]


def test_a_public_table_becomes_the_metadata_that_the_refusal_asks_for(tmp_path):
    """As docs/how-to/data.md shows it."""
    raw = build(tmp_path / "set", *SETS["HAM10000"])
    files = {file.stem: file.relative_to(raw).as_posix() for file in raw.rglob("*.jpg")}
    with (raw / "HAM10000_metadata.csv").open() as table:
        rows = [
            {"file": files[r["image_id"]], "label": r["dx"], "patient_id": r["lesion_id"]}
            for r in csv.DictReader(table)
        ]
    source = read_raw_dataset(write_metadata(raw, rows), PLAIN)
    assert {record.label for record in source.records} == {"bkl", "mel", "nv"} and len(source.records) == 12
    assert source.left_out == {"table that names images: only metadata.csv is read": ("HAM10000_metadata.csv",)}


@pytest.mark.parametrize(
    "names",
    [
        ("covid", "non-covid"), ("CT_COVID", "CT_NonCOVID"), ("grade 1", "grade 2"), ("0", "1"), ("-1", "1"),
        ("HER2+", "HER2-"), ("Test positive", "Test negative"),
        ("img_normal", "img_abnormal"), ("40X", "100X", "400X"), ("良性", "恶性"), ("p1", "p2"),
    ],
)  # fmt: skip
def test_unusual_names_of_classes_stay(names, tmp_path):
    raw = build(tmp_path, [f"{name}/{i}.png" for name in names for i in range(2)], {})
    assert {record.label for record in read_raw_dataset(raw, PLAIN).records} == set(names)


@pytest.mark.parametrize(
    "names", [("fold1", "fold2"), ("LIDC-IDRI-0001", "LIDC-IDRI-0002"), ("images", "ill"), ("001", "002")]
)
def test_names_that_say_no_classes_are_refused(names, tmp_path):
    with pytest.raises(DcubeError, match=PARTS):
        read_raw_dataset(build(tmp_path, [f"{name}/x/{i}.png" for name in names for i in range(2)], {}), PLAIN)


def test_a_table_that_agrees_with_the_folders_is_named_and_one_of_a_single_class_too(tmp_path):
    files = [f"{kind}/{kind}{i:04d}.png" for kind in ("ill", "well") for i in range(3)]
    agreeing = "image,diagnosis\n" + "".join(
        f"{file[-12:].rpartition('/')[2]},{file.partition('/')[0]}\n" for file in files
    )
    raw = build(tmp_path, files, {"all.csv": agreeing, "one.csv": "name,age\nill0000.png,3\nill0001.png,4\n"})
    source = read_raw_dataset(raw, PLAIN)
    assert len(source.records) == 6
    assert source.left_out == {"table that names images: only metadata.csv is read": ("all.csv", "one.csv")}
