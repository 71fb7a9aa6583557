"""Small imitations of well-known public data sets: the paths of their images, and their tables."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.medical_files import RAMP, dicom_file, nifti_file
from tests.support.raw_sets import noise

SUFFIXES = (".dcm", ".dicom")


def build(folder: Path, files: list[str], tables: dict[str, str]) -> Path:
    """Write a different image to every path, and the tables beside them."""
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
