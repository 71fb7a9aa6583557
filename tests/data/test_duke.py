"""Duke Breast Cancer MRI: its real series names and tables, and the paper's patients."""

import csv
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from zipfile import ZipFile

import openpyxl
import pytest

from dcube.config.schema import Data
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.layouts import breast_mri
from dcube.data.layouts.breast_mri_series import first_after_contrast
from dcube.data.layouts.raw_dataset import RawDataset
from dcube.data.layouts.spreadsheets import read_spreadsheet
from dcube.errors import DcubeError
from tests.support import phantom_layouts as layouts
from tests.support.raw_sets import LARGER_SETS

DUKE = LARGER_SETS / "duke"
STUDY = "01-01-1990-NA-MRI BREAST BILATERAL WWO-97538"
needs_duke = pytest.mark.skipif(not DUKE.exists(), reason=f"{DUKE} is absent")


def opened(raw: Path, **values) -> RawDataset:
    return read_raw_dataset(raw, Data(name="breast", **values))


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["5-ax 3d pre", "6-1st ax dyn", "7-2nd ax dyn", "8-3rd ax dyn", "904-AX IDEAL Breast"], "6-1st ax dyn"),
        (["8-ax dyn pre", "9-ax dyn 1st pas", "12-ax dyn 2nd pass"], "9-ax dyn 1st pas"),
        (["600-ax dynamic", "601-Ph1ax dynamic", "602-Ph2ax dynamic", "610-Ph10ax dynamic"], "601-Ph1ax dynamic"),
        (["3-ax t1", "600-ax dynamic", "700-ax dynamic", "702-Ph2ax dynamic"], "700-ax dynamic"),
        (["5-ax t1", "13-ax dyn", "7-ax dyn", "8-ax dyn", "11-ax dyn"], "8-ax dyn"),
        (["3-ax t1", "6-ax dyn pre", "8-ax dyn", "7-ax dyn", "11-ax dyn"], "7-ax dyn"),
        (["4-t1_dynVIEWS_spair_ pre", "5-t1_dynVIEWS_spair 1st pass", "6-t1_dynVIEWS_spair_2nd pass"],
         "5-t1_dynVIEWS_spair 1st pass"),
        (["2-ax t1", "5-ax dyn pre", "9-ax dyn 2nd pass", "12-ax dyn 3rd pass"], None),
        (["5-ax dyn 1st pass", "6-ax dyn 1st pass"], None),
        (["2-ax t1", "600-ax dyn"], None),
        (["2-whatever"], "2-whatever"),
    ],
)  # fmt: skip
def test_first_series_after_contrast_is_found_by_series_names(names, first):
    assert first_after_contrast([f"{name}-59893" for name in names]) == (first and f"{first}-59893")


def with_segmentations(folder: Path, *numbers: int) -> Path:
    raw = layouts.breast(folder, layouts.patients(2), labels=False)
    for number in numbers:
        segmentation = next(raw.rglob(f"Breast_MRI_{number:03d}")) / STUDY / "300.0-Segmentation-98" / "1-1.dcm"
        segmentation.parent.mkdir()
        segmentation.write_bytes(b"DICM")
    return raw


def test_patients_without_segmentation_are_left_out_by_name(tmp_path):
    raw = with_segmentations(tmp_path / "raw", 2, 3, 5)
    source = opened(raw, patients="segmented")
    assert {record.patient for record in source.records} == {f"Breast_MRI_00{number}" for number in (2, 3, 5)}
    assert len(source.left_out[breast_mri.NOT_SEGMENTED]) == 3
    assert len(source.left_out[breast_mri.OTHER_SERIES]) == 3 * (8 + 1) and breast_mri.NO_SERIES not in source.left_out
    assert len(source.left_out[breast_mri.OUTSIDE]) == 3 * 4
    assert len({record.patient for record in opened(raw).records}) == 6
    shutil.rmtree(raw / "manifest-1")
    with_none = with_segmentations(tmp_path / "none")
    with pytest.raises(DcubeError, match="no patient can be used: 6 × patient without a segmentation"):
        opened(with_none, patients="segmented")
    (raw / "Annotation_Boxes.xlsx").unlink()
    with pytest.raises(DcubeError, match="patients: segmented is for Duke Breast Cancer MRI"):
        opened(raw, patients="segmented")


def test_published_patient_lists_define_the_split(tmp_path):
    raw = layouts.breast(tmp_path / "raw", layouts.patients(2), labels=False)
    (raw / "train_ids.csv").write_text("patient_id\nBreast_MRI_001\nBreast_MRI_002\n")
    (raw / "test_ids.csv").write_text("0,Breast_MRI_003\n1,Breast_MRI_004\n")
    source = opened(raw)
    assert {(record.patient[-1], record.split) for record in source.records} == {
        ("1", "train"), ("2", "train"), ("3", "test"), ("4", "test"),
    }  # fmt: skip
    assert len(source.left_out[breast_mri.NOT_LISTED]) == 2
    (raw / "test_ids.csv").write_text("Breast_MRI_001\n")
    with pytest.raises(DcubeError, match=r"test_ids.csv: Breast_MRI_001 are in the other list too"):
        opened(raw)


def test_all_incomplete_patients_are_named_in_one_error(tmp_path):
    raw = layouts.breast(tmp_path / "raw", layouts.patients(1))
    for file in raw.rglob("*1st pass*/1-04.dcm"):
        file.unlink()
    with pytest.raises(DcubeError, match=r"001 lacks slice 4 .*, Breast_MRI_002 lacks .*, Breast_MRI_003 lacks"):
        opened(raw)


def test_spreadsheet_with_a_huge_declared_extent_is_read(tmp_path):
    """A reader that trusts the declared extent fills in all of its cells."""
    small, large = tmp_path / "small.xlsx", tmp_path / "large.xlsx"
    book = openpyxl.Workbook()
    for row in (["Patient ID", "Start Slice"], ["Breast_MRI_001", 3.0], ["Breast_MRI_002", 0]):
        book.worksheets[0].append(row)
    book.worksheets[0].cell(1_048_576, 3).value = " "
    book.save(small)
    with ZipFile(small) as old, ZipFile(large, "w") as new:
        for name in old.namelist():
            new.writestr(
                name, old.read(name).replace(b'<dimension ref="A1:C1048576"', b'<dimension ref="A1:XFD1048576"')
            )
    assert b"XFD1048576" in ZipFile(large).read("xl/worksheets/sheet1.xml")
    rows = read_spreadsheet(large, ("Patient ID", "Start Slice"))
    assert [list(row.values())[:2] for row in rows[1:]] == [["Breast_MRI_001", "3"], ["Breast_MRI_002", "0"]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The real tables and series names of 922 patients, with empty files for the slices of the annotation boxes."""
    raw = tmp_path_factory.mktemp("duke")
    for name in (breast_mri.BOXES, breast_mri.CLINICAL):
        shutil.copyfile(DUKE / name, raw / name)
    boxes = {row["Patient ID"]: row for row in read_spreadsheet(raw / breast_mri.BOXES, ("Patient ID",))}
    with (DUKE / "series.csv").open() as file:
        for row in csv.DictReader(file):
            name = f"{row['series_number']}00000-{row['series_description'].replace('/', '')}-12345"
            folder = raw / "manifest-1" / "Duke-Breast-Cancer-MRI" / row["patient_id"] / STUDY / name
            folder.mkdir(parents=True)
            box = boxes[row["patient_id"]]
            slices = range(int(box["Start Slice"]), int(box["End Slice"]) + 1) if row["modality"] == "MR" else [1]
            for number in slices:
                (folder / f"1-{number:03d}.dcm").touch()
    return raw


@needs_duke
@pytest.mark.slow
def test_all_patients_of_the_real_archive_are_used_or_named(archive):
    source = opened(archive)
    assert len({record.patient for record in source.records}) == 921
    assert [Path(folder).name for folder in source.left_out[breast_mri.NO_SERIES]] == ["Breast_MRI_700"]


@needs_duke
@pytest.mark.slow
def test_segmented_patients_and_slices_are_those_of_the_paper(archive):
    source = opened(archive, patients="segmented")
    slices: dict[str, set[str]] = defaultdict(set)
    for record in source.records:
        slices[record.patient].add(record.label)
    with (DUKE / "paper_127_patients.csv").open() as file:
        paper = {row["patient_id"]: {row["label"]} for row in csv.DictReader(file)}
    assert slices == paper and len(paper) == 127
    counts = Counter(record.label for record in source.records)
    assert counts == {"no_suspicious_nodes": 1840, "suspicious_nodes": 1344} and counts.total() == 3184
