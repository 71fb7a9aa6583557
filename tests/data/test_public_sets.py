"""Small copies of well-known public sets, built from their documentation, as they look after unpacking."""

import csv
import io
import itertools
import json

import numpy as np
import openpyxl
import pytest

from dcube.config.schema import Data
from dcube.data.adding import add_dataset
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from tests.support.medical_files import RAMP, dicom_file, nifti_file
from tests.support.public_sets import SETS, build
from tests.support.raw_sets import write_metadata

PLAIN = Data(name="public", image_size=16, diffusion_image_size=16)
PARTS, OTHER_LABELS = "look like patients or parts of an archive", "names the images with other ones"
REFUSED = {  # the reason, and the column to make a metadata.csv from
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


pytestmark = pytest.mark.usefixtures("own_salt")


@pytest.mark.parametrize("name", REFUSED)
def test_public_set_without_class_folders_is_refused_with_a_hint(name, tmp_path):
    """`check`, `add` and `prepare` all refuse it, before anything is stored."""
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
def test_public_set_with_class_folders_is_used(name, tmp_path):
    raw = build(tmp_path / "set", *SETS[name])
    report = add_dataset(PLAIN, raw, tmp_path / "data" / "public")
    assert set().union(*report.counts.values()) == USED[name] and not report.problem
    assert set(prepare(tmp_path / "data" / "public", PLAIN, tmp_path / "prepared").classes) == USED[name]


def test_public_table_can_be_converted_to_metadata_csv(tmp_path):
    """The conversion is the one that docs/how-to/data.md shows."""
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
def test_unusual_class_names_are_kept(names, tmp_path):
    raw = build(tmp_path, [f"{name}/{i}.png" for name in names for i in range(2)], {})
    assert {record.label for record in read_raw_dataset(raw, PLAIN).records} == set(names)


@pytest.mark.parametrize(
    "names", [("fold1", "fold2"), ("LIDC-IDRI-0001", "LIDC-IDRI-0002"), ("images", "ill"), ("001", "002")]
)
def test_folder_names_that_are_not_classes_are_refused(names, tmp_path):
    with pytest.raises(DcubeError, match=PARTS):
        read_raw_dataset(build(tmp_path, [f"{name}/x/{i}.png" for name in names for i in range(2)], {}), PLAIN)


def test_tables_that_do_not_contradict_the_folders_are_left_out(tmp_path):
    files = [f"{kind}/{kind}{i:04d}.png" for kind in ("ill", "well") for i in range(3)]
    agreeing = "image,diagnosis\n" + "".join(
        f"{file[-12:].rpartition('/')[2]},{file.partition('/')[0]}\n" for file in files
    )
    raw = build(tmp_path, files, {"all.csv": agreeing, "one.csv": "name,age\nill0000.png,3\nill0001.png,4\n"})
    source = read_raw_dataset(raw, PLAIN)
    assert len(source.records) == 6
    assert source.left_out == {"table that names images: only metadata.csv is read": ("all.csv", "one.csv")}


@pytest.mark.parametrize(
    "above",
    [
        ("trainset", "testset"), ("trn", "tst"), ("PrivateTest", "PublicTest"), ("Entrenamiento", "Prueba"),
        ("cv0", "cv1"), ("original", "augmented"), ("hospital1", "hospital2"), ("internal", "external"),
        ("40X", "100X"), ("train", "val", "dev"), ("2019", "2020"),
    ],
)  # fmt: skip
def test_folders_that_all_contain_the_classes_are_refused_as_classes(above, tmp_path):
    files = [f"{folder}/{kind}/{i}.png" for folder in above for kind in ("ill", "well") for i in range(2)]
    with pytest.raises(DcubeError) as refusal:
        read_raw_dataset(build(tmp_path, files, {}), PLAIN)
    assert any(
        text in str(refusal.value) for text in ("all hold the folders ill, well", PARTS, "is neither in train/CLASS/")
    ) and "one folder for each class" in str(refusal.value)


TOO_DEEP = {  # the folders that would be the classes, and what is below them
    "LC25000": (
        "colon_image_sets/{colon_aca,colon_n} lung_image_sets/{lung_aca,lung_n,lung_scc}",
        "hold folders with images",
    ),
    "Multi Cancer": (
        "ALL/{all_benign,all_early,all_pre} Brain_Cancer/{brain_glioma,brain_menin} Oral_Cancer/{oral_normal,oral_scc}",
        "hold folders with images",
    ),
    "HyperKvasir": (
        "lower-gi-tract/anatomical-landmarks/{cecum,ileum} lower-gi-tract/pathological-findings/{polyps,hemorrhoids} "
        "upper-gi-tract/anatomical-landmarks/{pylorus,z-line} upper-gi-tract/pathological-findings/{barretts,grade-a}",
        "all hold the folders anatomical-landmarks, pathological-findings",
    ),
    "HyperKvasir in part": (
        "lower-gi-tract/anatomical-landmarks/{cecum,ileum} upper-gi-tract/pathological-findings/{barretts,grade-a}",
        "hold folders with images (barretts, cecum, grade-a and 1 more)",
    ),
    "grades among findings": ("lower/{bbps-0-1,bbps-2-3,stool} upper/{barretts,z-line}", "hold folders with images"),
    "a group with a single class": ("colon/{cancer,polyp} lung/nodule", "hold folders with images"),
    "RIM-ONE DL": (
        "partitioned_by_hospital/{training,test}_set/{glaucoma,normal} "
        "partitioned_randomly/{training,test}_set/{glaucoma,normal}",
        "all hold the folders glaucoma, normal",
    ),
    "hospitals above splits": ("hospital{A,B}/{train,test}/{ill,well}", "all hold the folders ill, well"),
    "hospitals above sets": ("hospital{A,B}/{train_set,test_set}/{ill,well}", "all hold the folders ill, well"),
    "hospitals above images": ("hospital{A,B}/images/{ill,well}", "all hold the folders ill, well"),
    "a hospital without a class": ("SiteA/{normal,tumor} SiteB/{normal}", "hold folders with images"),
    "a view without a class": ("CC/{benign,malignant} MLO/{malignant}", "hold folders with images"),
    "splits above organs": (
        "{train,test}/brain/{glioma,clear} {train,test}/lung/{adeno,mass}",
        "hold folders with images",
    ),
}
CLASSES_ABOVE = {
    "kinds of two outcomes": "benign/{adenosis,fibroadenoma} malignant/{ductal_carcinoma,papillary}",
    "kinds of a finding and none": "no_tumor/{adult,child} tumor/{glioma,meningioma}",
    "one class without kinds": "AD CN/{early,late}",
    "patients by codes": "AD/{AB12,CD34} CN/{EF56,GH78}",
    "patients by numbers": "AD/{002_S_0295,002_S_0413} CN/{011_S_0002,011_S_0021}",
    "many initials": "AD/{aa,ab,ac,ad,ae,af,ag,ah,ai,aj,ak,al,am} CN/{ba,bb,bc,bd,be,bf,bg,bh,bi,bj,bk,bl,bm}",
    "studies by dates": "AD/{2019-01-02,2020-03-04} CN/{2018-05-06,2021-07-08}",
    "series of some": "AD/{axial,sagittal} CN/{coronal,axial_post}",
    "series by UID": "AD/{1.2.840.1,1.2.840.2} CN/{1.2.840.3,1.2.840.4}",
    "folders that say nothing": "AD/{images,data} CN/{img,pictures}",
    "parts": "AD/{part1,part2} CN/{part1,part2}",
    "splits below": "AD/{train,test} CN/{train,test}",
    "a folder of the same name": "im_Dyskeratotic/im_Dyskeratotic im_Koilocytotic/im_Koilocytotic",
    "patients below splits below": "AD/{train,test}/{P1,P2} CN/{train,test}/{P3,P4}",
    "hospitals below": "normal/{Berlin,Lyon,Oslo} tumor/{Berlin,Lyon,Oslo}",
    "sites below": "benign/{site1,site2} malignant/{site1,site2}",
    "views of each": "acl_tear/{axial,sagittal} intact/{axial,sagittal}",
    "sides of each": "glaucoma/{OD,OS} myopia/{OD,OS}",
    "times of each": "MS/{pre,post} HC/{pre,post}",
    "BreakHis": "benign/SOB/{adenosis,tubular} malignant/SOB/{ductal,lobular}",
}


def expanded(pattern):
    """Return the folders of a pattern as shells write it: `a/{b,c}` is `a/b` and `a/c`."""
    before, brace, after = pattern.partition("{")
    if not brace:
        return [pattern]
    inside, _, behind = after.partition("}")
    return [folder for one in inside.split(",") for folder in expanded(before + one + behind)]


def files_of(patterns):
    return [f"{folder}/{i}.png" for pattern in patterns.split() for folder in expanded(pattern) for i in range(2)]


@pytest.mark.parametrize("name", TOO_DEEP)
def test_folders_above_the_classes_are_refused(name, tmp_path):
    patterns, said = TOO_DEEP[name]
    with pytest.raises(DcubeError, match="nothing tells which of these are the classes") as refusal:
        read_raw_dataset(build(tmp_path, files_of(patterns), {}), PLAIN)
    assert said in str(refusal.value) and "put the images into one folder for each class" in str(refusal.value)


@pytest.mark.parametrize(
    "patterns",
    [
        "train/XR_{WRIST,HAND}/patient00001/study1_{positive,negative} valid/XR_HAND/patient00002/study1_negative",
        "train/XR_WRIST/patient0000{1,2,3}/study1_{positive,negative}",
        "wrist/P{1,3}/{benign,malignant} hand/P{2,4}/benign",
        "hand/p{1,2}_normal hand/p3_abnormal wrist/p4_abnormal",
    ],
    ids=["MURA", "MURA, one part", "patients above", "patients and outcomes in one name"],
)
def test_folders_above_outcomes_are_refused(patterns, tmp_path):
    raw = build(tmp_path / "set", files_of(patterns), {})
    for read in (lambda: inspect_dataset(raw, PLAIN), lambda: add_dataset(PLAIN, raw, tmp_path / "data" / "public")):
        with pytest.raises(DcubeError, match=r"the names below these say \w+, \w+: .* write a metadata.csv"):
            read()


def test_outcomes_in_file_names_are_no_classes_unless_the_folders_are_called_otherwise(tmp_path):
    files = [f"{part}/{i}_{kind}.png" for part in ("hand", "wrist") for i, kind in enumerate(("positive", "negative"))]
    with pytest.raises(DcubeError, match="the names below these say negative, positive"):
        read_raw_dataset(build(tmp_path / "a", files, {}), PLAIN)
    files = [f"{label}/{i}_{kind}.png" for label in ("benign", "malignant") for i, kind in enumerate(("normal", "ill"))]
    assert len(read_raw_dataset(build(tmp_path / "b", files, {}), PLAIN).records) == 4


@pytest.mark.parametrize("name", CLASSES_ABOVE)
def test_folders_inside_of_classes_are_accepted(name, tmp_path):
    source = read_raw_dataset(build(tmp_path, files_of(CLASSES_ABOVE[name]), {}), PLAIN)
    assert {record.label for record in source.records} == {
        file.partition("/")[0] for file in files_of(CLASSES_ABOVE[name])
    }


@pytest.mark.parametrize("above", [("siteA", "siteB"), ("discovery", "replication")])
@pytest.mark.parametrize("kind", ["dcm", "nii.gz"])
def test_sites_above_medical_classes_are_refused_whatever_patients_they_name(above, kind, tmp_path):
    for number, (site, label, _) in enumerate(itertools.product(above, ("AD", "CN"), range(3))):
        if kind == "dcm":
            dicom_file(tmp_path / site / label / f"{number}.dcm", RAMP, PatientID=f"A{number}")
        else:
            nifti_file(tmp_path / site / label / f"{number}.nii.gz", np.zeros((8, 8, 3)) + number)
    with pytest.raises(DcubeError, match=f"the folders {', '.join(above)} all hold the folders AD, CN"):
        read_raw_dataset(tmp_path, PLAIN)


def test_series_folders_below_classes_are_used_if_they_agree_with_the_patients(tmp_path):
    for number, (label, series, patient) in enumerate(itertools.product(("AD", "CN"), ("pre", "post"), range(3))):
        dicom_file(tmp_path / label / series / f"{number}.dcm", RAMP, PatientID=f"{label}{patient}")
    assert {record.label for record in read_raw_dataset(tmp_path, PLAIN).records} == {"AD", "CN"}


def test_splits_with_other_class_names_are_refused_with_these_names(tmp_path):
    """Kaggle's Chest CT-Scan images have the stage in the names of the classes of train and valid alone."""
    files = [f"{split}/{kind}/{i}.png" for split in ("train", "valid") for kind in ("adeno_T2", "normal") for i in "ab"]
    raw = build(tmp_path, files + [f"test/{kind}/{i}.png" for kind in ("adeno", "normal") for i in "ab"], {})
    said = (
        "the splits have classes of other names (train has 'adeno_T2'; validation has 'adeno_T2'; test has 'adeno'): "
        "call each class the same in all splits"
    )
    assert inspect_dataset(raw, PLAIN).problem == said
    with pytest.raises(DcubeError) as refusal:
        add_dataset(PLAIN, raw, tmp_path / "data" / "public")
    assert said in str(refusal.value)


def test_hospital_folders_below_a_split_are_refused_as_classes(tmp_path):
    files = [f"{s}/h{n}/{kind}/{i}.png" for s in ("train", "test") for n in (1, 2) for kind in "ab" for i in range(2)]
    with pytest.raises(DcubeError, match="the folders h1, h2 all hold the folders a, b"):
        read_raw_dataset(build(tmp_path, files, {}), PLAIN)


@pytest.mark.parametrize(
    "below",
    [
        ("P0", "P1"), ("patient_1", "patient_2"), ("0001", "0002"), ("LIDC-0001", "LIDC-0002"), ("images",),
        ("part1", "part2"),
        tuple(f"case{i}" for i in range(25)), tuple(map(str, range(1, 13))),
    ],
)  # fmt: skip
def test_equal_subfolder_names_in_every_class_are_accepted(below, tmp_path):
    files = [f"{kind}/{folder}/{i}.png" for kind in ("ill", "well") for folder in below for i in range(2)]
    source = read_raw_dataset(build(tmp_path, files, {}), PLAIN)
    assert {record.label for record in source.records} == {"ill", "well"}


def test_site_folders_below_classes_are_used_if_every_image_names_its_patient(tmp_path):
    rng = np.random.default_rng(0)
    for number, (kind, site) in enumerate(itertools.product(("ill", "well"), ("siteA", "siteB"))):
        file = tmp_path / kind / site / "0.dcm"
        file.parent.mkdir(parents=True)
        dicom_file(file, rng.integers(0, 255, (16, 16)).astype(np.uint8), PatientID=f"{number}")
    assert {record.label for record in read_raw_dataset(tmp_path, PLAIN).records} == {"ill", "well"}


NAMES = [f"{folder}{i}.png" for folder in ("batchA", "siteB") for i in range(4)]
LABELS = {name: ("ill", "well")[i % 2] for i, name in enumerate(NAMES)}


def spreadsheet() -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row in [("image", "diagnosis"), *LABELS.items()]:
        book.active.append(row)
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("table", "content", "column"),
    [
        ("labels.xlsx", spreadsheet(), "'image'"),
        ("labels.json", json.dumps(LABELS).encode(), "'1'"),
        ("labels.json", json.dumps([{"file_name": n, "cls": c} for n, c in LABELS.items()]).encode(), "'file_name'"),
        ("labels.json", json.dumps({"images": [{"id": n, "y": c} for n, c in LABELS.items()]}).encode(), "'id'"),
        ("labels.json", json.dumps({c: [n for n in NAMES if LABELS[n] == c] for c in ("ill", "well")}).encode(), "'2'"),
        ("labels.txt", "".join(f"{n} {c}\n" for n, c in LABELS.items()).encode(), "'1'"),
        ("labels.csv", "".join(f"{n};{c}\n" for n, c in [("image", "y"), *LABELS.items()]).encode(), "'image'"),
        ("labels.csv", "".join(f"{n},{c}\n" for n, c in [("image", "y"), *LABELS.items()]).encode("utf-16"), "'image'"),
    ],
    ids=["xlsx", "mapping", "records", "nested", "by-class", "txt", "semicolon", "utf-16"],
)  # fmt: skip
def test_labels_in_a_table_of_any_format_are_found(table, content, column, tmp_path):
    raw = build(tmp_path, [f"{name[:6].rstrip('0123')}/{name}" for name in NAMES], {})
    (raw / table).write_bytes(content)
    with pytest.raises(DcubeError) as refusal:
        read_raw_dataset(raw, PLAIN)
    said = str(refusal.value)
    assert OTHER_LABELS in said and f"{table}, whose column {column} names the images" in said


def test_table_of_other_labels_is_found_where_file_names_have_a_number_sign(tmp_path):
    files = [f"{site}/case#{i}{site}.png" for site in ("north", "south") for i in range(4)]
    table = "image,diagnosis\n" + "".join(f"{f.split('/')[1]},{'abc'[i % 3]}\n" for i, f in enumerate(files))
    with pytest.raises(DcubeError, match=OTHER_LABELS):
        read_raw_dataset(build(tmp_path, files, {"labels.csv": table}), PLAIN)


@pytest.mark.parametrize("name", ["broken.json", "broken.xlsx", "README.txt", "a0.txt", "list.json"])
def test_texts_and_damaged_tables_are_not_read_as_labels(name, tmp_path):
    raw = build(tmp_path, [f"{kind}/{kind}{i}.png" for kind in "ab" for i in range(3)], {})
    (raw / name).write_text("a0.png and b0.png are\nexamples, as is a1.png\n")
    assert len(read_raw_dataset(raw, PLAIN).records) == 6
