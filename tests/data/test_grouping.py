"""`data.group_by`: groups in place of unknown patients, and what `dcube data check` reports about them."""

import itertools
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcube.artifacts.layout import DATASET, MANIFEST
from dcube.config.schema import Data
from dcube.data.group_checks import check_groups, describe_leak, propose_groups
from dcube.data.grouping import group_images, groups_of
from dcube.data.grouping_errors import GroupingError
from dcube.data.inspection import inspect_dataset
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.preparing import prepare
from dcube.data.splits import plan_splits
from dcube.errors import DcubeError
from dcube.evaluation.data_warnings import data_warnings
from tests.support.raw_sets import class_folders, medmnist_file, noise, save, with_metadata
from tests.support.split_tables import data_params

SMALL = {"image_size": 24, "diffusion_image_size": 16}
PREFIX = r"pattern:^(.+?)(?:_[0-9]+)?\.\w+$"


def neighbouring_slices(folder: Path, patients: int = 12, slices: int = 5) -> Path:
    """Slices that resemble only those of the same patient; nothing in them depends on the class."""
    for label in ("ill", "well"):
        for patient in range(patients):
            anatomy = noise(100 * patient + len(label)).astype(int)
            for i in range(slices):
                pixels = anatomy * 0.6 + noise(patient * 1000 + i * 10 + len(label)) * 0.4
                save(folder / label / f"case{patient}_{i}.png", pixels.astype(np.uint8))
    return folder


@settings(max_examples=60)
@given(
    images=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 99)), min_size=1, unique=True),
    group_by=st.sampled_from(["folder:1", "folder:2", "run:7", PREFIX]),
)
def test_group_of_an_image_does_not_depend_on_other_images(images, group_by):
    files = [f"class{label}/patient{patient}/scan_{number}.png" for label, patient, number in images]
    groups = groups_of(files, group_by)
    assert len(groups) == len(files) and all(groups)
    assert groups == [groups_of([file], group_by)[0] for file in files]


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 9), min_size=6, max_size=30), seed=st.integers(0, 9), length=st.integers(1, 12))
def test_no_group_is_in_two_splits(sizes, seed, length):
    files = [(name, f"{name}/{p}/x_{i}.png") for name in "ab" for p, n in enumerate(sizes) for i in range(n)]
    for group_by in ("folder:2", f"run:{length}", PREFIX):
        records = [ImageRecord(file, label) for label, file in files]
        table = group_images(RawDataset("test", records, lambda i: None), group_by).table()  # type: ignore[arg-type, return-value]
        table = table.assign(sha256=table["file"], picture=range(len(table)))
        plan = plan_splits(table, data_params(seed=seed, group_by=group_by))
        assert plan.table.groupby("patient")["split"].nunique().eq(1).all()
        assert len(plan.table) == len(files) and plan.table["split"].ne("").all()


@pytest.mark.parametrize(
    ("group_by", "file", "group"),
    [
        ("folder:2", "ill/P7/series/3.png", "P7"),
        ("folder:2", "ill/3.png", ""),
        ("run:10", "ill/scan_19.png", "ill/scan_10"),
        ("run:10", "ill/scan_0020b.png", "ill/scan_20"),
        ("run:10", "ill/scan.png", ""),
        ("pattern:P[0-9]+", "ill/P7_P8.png", "P7"),
        ("pattern:(P[0-9]+)_([0-9]+)", "ill/P7_81_2.png", "P7/81"),
        (PREFIX, "ill/a_b_12.png", "ill/a_b"),
        (PREFIX, "ill/12.png", "ill/12"),
        (PREFIX, "krank/Müller ж_12.png", "krank/Müller ж"),
        ("folder:2", "krank/Пациент 7/3.png", "Пациент 7"),
        ("run:10", "krank/Schnitt größer 19.png", "krank/Schnitt größer 10"),
        ("run:10", "ill/scan_٣.png", ""),  # only ASCII digits count as a number
    ],
)
def test_group_is_derived_from_the_path(group_by, file, group):
    assert groups_of([file], group_by) == [group]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)(.*)(.*)(.*)(.*)(.*)(.*)x", "(?:a?){1000}" * 15])
def test_expensive_patterns_do_not_hang(pattern):
    start = time.monotonic()
    try:
        groups_of(["a" * 250 + "!"] * 1000, data_params(group_by=f"pattern:{pattern}").group_by)
    except GroupingError as error:
        assert "simplify the pattern" in str(error)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    "group_by", ["folder:0", "run:", "pattern:(", "pattern:(?=a)", "pattern:" + "a" * 200, "name", "run:5\n"]
)
def test_invalid_group_by_is_refused(group_by):
    with pytest.raises(DcubeError, match=r"^test: data\.group_by: [^\n]*$"):
        data_params(group_by=group_by)


def test_json_schema_describes_group_by():
    schema = Data.model_json_schema()["properties"]["group_by"]
    assert schema["anyOf"][0]["maxLength"] == 200 and "folder:2" in schema["description"]


def test_groups_act_as_patients_in_prepare(tmp_path):
    raw = neighbouring_slices(tmp_path / "raw")
    by_image, by_group, by_folder = (
        prepare(raw, Data(**SMALL, group_by=group_by), tmp_path / f"out{i}")
        for i, group_by in enumerate((None, PREFIX, "run:5"))
    )
    assert (by_image.info.grouping, by_image.patients, by_image.info.patients) == ("none", None, 0)
    assert (by_group.info.grouping, by_group.info.group_by, by_group.info.patients) == ("group_by", PREFIX, 24)
    assert by_group.manifest.groupby("patient")["split"].nunique().eq(1).all()
    assert by_group.manifest.groupby("patient").size().eq(5).all()
    assert len({one.fingerprint for one in (by_image, by_group, by_folder)}) == 3
    guessed = prepare(raw, Data(**SMALL, group_by=f"guessed:{PREFIX}"), tmp_path / "guessed")
    assert (guessed.info.grouping, guessed.fingerprint) == ("guessed", by_group.fingerprint)
    assert guessed.manifest["split"].equals(by_group.manifest["split"])
    written = "".join((tmp_path / "out1" / name).read_text() for name in (MANIFEST, DATASET))
    assert "case1" not in written  # groups are pseudonyms, as patients are


@pytest.mark.parametrize("group_by", ["folder:3", "pattern:nowhere", "pattern:case1[0-9]"])
def test_group_by_that_does_not_match_most_paths_is_refused(tmp_path, group_by):
    with pytest.raises(DcubeError, match=r"data\.group_by .* finds no group for (100|120) of 120 images") as error:
        prepare(neighbouring_slices(tmp_path / "raw"), Data(**SMALL, group_by=group_by), tmp_path / "out")
    assert "case" not in str(error.value).replace(group_by, "") and not (tmp_path / "out").exists()


def test_single_group_for_all_images_is_refused(tmp_path):
    raw = neighbouring_slices(tmp_path / "raw")
    few = r"all labelled images are of 1 group \('[0-9a-f]+'\).* choose a data\.group_by that makes at least three"
    with pytest.raises(DcubeError, match=few) as error:
        prepare(raw, Data(**SMALL, group_by="pattern:case"), tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_check_proposes_groups_even_if_group_by_does_not_match(tmp_path):
    raw = neighbouring_slices(tmp_path / "raw")
    report = inspect_dataset(raw, Data(**SMALL, group_by="folder:2"))
    assert report.problem.startswith("data.group_by folder:2 finds no group for 120 of 120 images: ")
    assert "ill/case0_0.png" in report.problem and not report.planned
    assert PREFIX in {check.by for check in report.group_checks}


STRAY = "ill/überweisung.png"


def test_image_whose_name_does_not_fit_is_a_group_of_its_own(tmp_path):
    raw = neighbouring_slices(tmp_path / "raw")
    save(raw / STRAY, noise(1))
    report = inspect_dataset(raw, Data(**SMALL))
    proposed = next(check for check in report.group_checks if "case" in check.by)
    assert (proposed.groups, proposed.strays) == (13, (STRAY,))
    assert any("a split by image leaks" in line for line in report.warnings)
    chosen = inspect_dataset(raw, Data(**SMALL, group_by=proposed.by))
    assert not chosen.problem and chosen.grouping == "group_by" and chosen.group_checks[1].strays == (STRAY,)
    assert "1 of 121 images belongs to no group: images of one person may be in several splits" in chosen.warnings
    assert f"data.group_by finds no group for {STRAY}: each is split on its own" in chosen.warnings
    info = prepare(raw, Data(**SMALL, group_by=proposed.by), tmp_path / "out").info
    assert (info.grouping, info.without_patient) == ("group_by", 1)


def test_group_by_is_refused_if_patients_are_known(tmp_path):
    with pytest.raises(DcubeError, match=r"20 of 20 name theirs: set data\.group_by to null"):
        prepare(with_metadata(tmp_path / "raw"), Data(**SMALL, group_by="run:5"), tmp_path / "out")


def test_official_split_that_divides_a_group_is_refused(tmp_path):
    images = itertools.product(("ill", "well"), ("train", "val", "test"), range(4))
    for number, (label, split, patient) in enumerate(images):
        save(tmp_path / "raw" / split / label / f"p{patient}_{split}.png", noise(number))
    with pytest.raises(DcubeError, match=r"group '[0-9a-f]{16}' is in train and validation and test"):
        prepare(tmp_path / "raw", Data(**SMALL, group_by="pattern:(p[0-9]+)_"), tmp_path / "out")


def test_the_check_proposes_groups_and_measures_the_leak(tmp_path):
    raw = neighbouring_slices(tmp_path / "raw")
    report = inspect_dataset(raw, Data(**SMALL))
    by = {check.by: check for check in report.group_checks}
    assert report.grouping == "none" and any("120 of 120 images name no patient" in line for line in report.warnings)
    assert (by[PREFIX].groups, by[PREFIX].smallest, by[PREFIX].largest) == (24, 5, 5)
    assert any("a split by image leaks" in line for line in report.warnings) and by[PREFIX].fall > 0.2
    assert by["image"].accuracy > 0.95 and by[PREFIX].own_group == 1 and not by["image"].fall
    assert by[PREFIX].accuracy < 0.75  # only the patient predicts the class
    read_raw_dataset(raw, Data(group_by=PREFIX))  # a proposal is a valid value
    chosen = inspect_dataset(raw, Data(**SMALL, group_by=PREFIX))
    assert chosen.grouping == "group_by" and [check.by for check in chosen.group_checks] == ["image", PREFIX]
    assert not any("no patient" in line for line in chosen.warnings)
    assert json.dumps(report.as_dict())


def numbered_images(seed: int, images: int, per_patient: int) -> tuple[pd.DataFrame, list[bytes]]:
    """Images numbered along the patients of a class; thumbnails depend on the patient and a little on the class."""
    rng = np.random.default_rng(seed)
    labels, numbers = np.repeat(["ill", "well"], images // 2), np.tile(np.arange(images // 2), 2)
    anatomy = rng.normal(0, 1, (images // per_patient, 16)).repeat(per_patient, axis=0)
    values = anatomy + rng.normal(0, 0.3, anatomy.shape) + np.where(labels == "ill", 0.4, -0.4)[:, None]
    files = [f"{label}/scan_{number:04d}.png" for label, number in zip(labels, numbers, strict=True)]
    pixels = (128 + 30 * values).clip(0, 255).astype(np.uint8)
    table = pd.DataFrame(
        {"file": files, "label": labels, "patient": "", "split": "", "sha256": files, "picture": files}
    )
    return table, [row.tobytes() for row in pixels]


@pytest.mark.parametrize("images", [120, 300])
def test_leak_is_reported_only_where_there_is_one(images):
    def leaks(seed, per_patient):
        table, thumbnails = numbered_images(seed, images, per_patient)
        return bool(describe_leak(check_groups(table, thumbnails, propose_groups(table))))

    assert sum(leaks(seed, per_patient=1) for seed in range(10)) <= 1
    assert all(leaks(seed, per_patient=6) for seed in range(5))


@pytest.mark.parametrize(
    ("names", "group_by", "groups"),
    [
        ([f"patient{n:03d}_{i}" for n in range(12) for i in range(2)], r"pattern:(?i)(patient[_ -]?[0-9]+)", 12),
        ([f"Proband-{n}_{i}" for n in range(12) for i in range(2)], r"pattern:(?i)(proband[_ -]?[0-9]+)", 12),
        (
            [f"{word}{n}_{i}" for word in ("PAT", "sub-") for n in range(6) for i in range(2)],
            r"pattern:(?i)((?:pat|sub)[_ -]?[0-9]+)",
            12,
        ),
        ([f"{n:04d}-{side}-CC" for side in "LR" for n in range(12)], r"pattern:([^/0-9]*[0-9]+)[^/]*$", 12),
        ([f"{name} {view}" for view in ("ap", "lat") for name in ("Meier", "Huber", "Sørli", "Li")],
         r"pattern:(?:^|/)([^/0-9 _.-]+)[ _.-][^/]*$", 4),
    ],
)  # fmt: skip
def test_patients_in_file_names_are_proposed_across_class_folders(names, group_by, groups):
    half = len(names) // 2
    table = named_images([f"{'ill' if row < half else 'well'}/{name}.png" for row, name in enumerate(names)])
    assert propose_groups(table)[group_by].nunique() == groups


def test_numbers_that_begin_again_in_each_class_folder_are_no_patients():
    table = named_images([f"{label}/{number:03d}.png" for label in ("ill", "well") for number in range(40)])
    assert not [group_by for group_by in propose_groups(table) if group_by.startswith("pattern:")]


BEGIN_AGAIN = "begin again in each class: equal ones may be different patients. If they are, set data.group_by to "


@pytest.mark.parametrize(
    ("name", "apart"),
    [
        ("case{0:03d}", "pattern:(?i)^(.*?case[_ -]?[0-9]+)"),
        ("patient_{0}_{1}", "pattern:(?i)^(.*?patient[_ -]?[0-9]+)"),
        ("Patient {0}/{1}", "pattern:(?i)^(.*?patient[_ -]?[0-9]+)"),
        ("{0}/{1}", "pattern:^((?:[^/]+/){2})"),
    ],
)
def test_check_says_that_numbers_begin_again_in_each_class_and_how_to_keep_them_apart(tmp_path, name, apart):
    for c, label in enumerate(("ill", "well")):
        for patient, i in itertools.product(range(1, 10 + c), range(2)):
            save(tmp_path / label / f"{name.format(patient, i)}.png", noise(1000 * c + 10 * patient + i))
    report = inspect_dataset(tmp_path, Data(**SMALL))
    (said,) = [warning for warning in report.warnings if BEGIN_AGAIN in warning]
    chosen = said.partition(BEGIN_AGAIN)[2]
    assert chosen == apart
    confirmed = inspect_dataset(tmp_path, Data(**SMALL, group_by=chosen))
    assert not confirmed.problem and (confirmed.patients, confirmed.grouping) == (19, "group_by")
    assert not any(BEGIN_AGAIN in warning for warning in confirmed.warnings)


@pytest.mark.parametrize(
    "numbers", [([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]), ([3, 9, 14, 20, 31], [3, 9, 14, 31, 40])]
)
def test_numbers_that_go_on_or_have_gaps_do_not_begin_again(tmp_path, numbers):
    for label, patients in zip(("ill", "well"), numbers, strict=True):
        for patient, i in itertools.product(patients, range(2)):
            save(tmp_path / label / f"patient{patient}_{i}.png", noise(len(label) + 10 * patient + i))
    assert not any(BEGIN_AGAIN in warning for warning in inspect_dataset(tmp_path, Data(**SMALL)).warnings)


@pytest.mark.parametrize("names", [[f"scan{n}" for n in range(0, 400, 7)], ["Ada", "Bo", "Cy", "Di", "Ed"]])
def test_names_that_are_in_two_classes_are_proposed_as_groups(names):
    table = named_images([f"{label}/{name}.png" for label in ("ill", "well") for name in names])
    shared = propose_groups(table)[r"pattern:([^/]+)\.\w+$"]
    assert shared.nunique() == len(names) and shared[0] == names[0]


def test_names_of_views_that_are_in_every_folder_are_no_patients():
    table = named_images([f"{'ill' if n % 2 else 'well'}/{n}/{view}.png" for n in range(9) for view in "abcdef"])
    assert r"pattern:([^/]+)\.\w+$" not in propose_groups(table)


@pytest.mark.parametrize(
    ("file", "known_by"),
    [
        ("{label}/p{patient}/{i}.png", "If each folder is a patient"),
        ("{label}/patient{patient}_{i}.png", "By the names"),
    ],
)
def test_class_of_one_patient_is_reported_and_stays_beside_the_metrics(tmp_path, file, known_by):
    for patient, i in itertools.product(range(6), range(4)):
        label = "well" if patient == 5 else "ill"
        save(tmp_path / "raw" / file.format(label=label, patient=patient, i=i), noise(10 * patient + i))
    said = "the class 'well' has 1 patient, and a split by patient needs 3: the class cannot be judged by patient"
    assert any(said in line for line in inspect_dataset(tmp_path / "raw", Data(**SMALL)).warnings)
    info = prepare(tmp_path / "raw", Data(**SMALL), tmp_path / "out").info
    assert any(warning.startswith(known_by) and said in warning for warning in data_warnings(info))


def named_images(files: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"file": files, "label": [file.split("/")[0] for file in files], "patient": "", "split": ""})


def test_copies_are_not_reported_as_a_leak():
    """Copies stay together in every split; random groups that separated them would show a false fall in accuracy."""
    table, thumbnails = numbered_images(0, images=240, per_patient=2)
    table["picture"] = [f"{label}{row // 2}" for row, label in enumerate(table["label"])]
    assert not describe_leak(check_groups(table, thumbnails, propose_groups(table)))


def test_no_groups_are_proposed_for_an_npz_archive(tmp_path):
    medmnist_file(tmp_path / "set.npz", images=30)
    report = inspect_dataset(tmp_path / "set.npz", Data(**SMALL))
    assert report.grouping == "none" and [check.by for check in report.group_checks] == ["image"]


@pytest.mark.parametrize(("label", "grouping", "without"), [("", "patients", 0), ("ill", "none", 1)])
def test_only_labelled_images_without_patient_change_the_grouping(tmp_path, label, grouping, without):
    raw = with_metadata(tmp_path / "raw")
    save(raw / "new.png", noise(5000))
    with (raw / "metadata.csv").open("a") as file:
        file.write(f"new.png,{label},,50\n")
    info = prepare(raw, Data(**SMALL), tmp_path / "out").info
    assert (info.grouping, info.without_patient) == (grouping, without)
    warnings = inspect_dataset(raw, Data(**SMALL)).warnings
    assert "1 of 21 images names no patient: images of one person may be in several splits" in warnings
    assert "patient_id in metadata.csv is empty for new.png: fill it" in warnings


def test_check_measures_the_leak_for_known_patients(tmp_path):
    report = inspect_dataset(with_metadata(tmp_path / "raw"), Data(**SMALL))
    assert report.grouping == "patients" and [check.by for check in report.group_checks] == ["image", "patient"]


def test_refused_set_still_shows_its_groups_and_all_reasons_at_once(tmp_path):
    raw = neighbouring_slices(tmp_path / "raw")
    (raw / "ill" / "case3_1.png").write_bytes(b"")
    for number in (1, 2):
        shutil.copy(raw / "ill" / f"case{number}_0.png", raw / "well" / f"case{number}_9.png")
    report = inspect_dataset(raw, Data(**SMALL))
    assert "1 of 122 images cannot be used: ill/case3_1.png" in report.problem
    assert "each of 2 images has several labels: ill/case1_0.png (ill) = well/case1_9.png (well)" in report.problem
    assert len(report.group_checks) > 1 and any("a split by image leaks" in line for line in report.warnings)


def test_proposals_are_mentioned_only_if_there_are_some(tmp_path):
    said = inspect_dataset(neighbouring_slices(tmp_path / "a"), Data(**SMALL)).warnings
    assert "give patients: data.group_by (see the proposals), or patient_id in metadata.csv" in said
    said = inspect_dataset(class_folders(tmp_path / "b", images=4), Data(**SMALL)).warnings
    assert "the file names suggest no groups: give patients in metadata.csv (column patient_id)" in said


def test_set_with_one_usable_image_is_reported_without_traceback(tmp_path):
    class_folders(tmp_path, images=1)
    (damaged,) = (tmp_path / "well").iterdir()
    damaged.write_bytes(b"\x89PNG damaged")
    assert "cannot be used" in inspect_dataset(tmp_path, Data(name="one")).problem
