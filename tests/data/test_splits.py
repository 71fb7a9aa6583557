"""Properties of splits that hold for every data set."""

import re
from time import process_time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcube.artifacts.schemas.dataset import SPLITS
from dcube.data.splits import plan_splits, verify_splits
from dcube.errors import DcubeError
from tests.support.split_tables import data_params, raw_tables, table


@settings(max_examples=30)
@given(raw=raw_tables(), seed=st.integers(0, 9), validation=st.floats(0.05, 0.4), test=st.floats(0.05, 0.4))
def test_generated_split_keeps_patients_together_and_has_every_class(raw, seed, validation, test):
    data = data_params(seed=seed, validation_fraction=validation, test_fraction=test)
    plan = plan_splits(raw, data)
    assert plan.origin == "generated" and plan.dropped == []
    assert plan.table["file"].tolist() == raw["file"].tolist()
    assert set(plan.table["split"]) <= set(SPLITS)
    for column in ("patient", "sha256"):
        known = plan.table[plan.table[column] != ""]
        assert (known.groupby(column)["split"].nunique() == 1).all()
    labelled = plan.table[plan.table["label"] != ""]
    assert (labelled.groupby("label")["split"].nunique() == 3).all()
    pd.testing.assert_frame_equal(plan.table, plan_splits(raw, data).table)


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 8), min_size=3, max_size=60), seed=st.integers(0, 9),
    validation=st.floats(0.05, 0.4), test=st.floats(0.05, 0.4),
)  # fmt: skip
def test_no_split_exceeds_its_share_by_more_than_one_patient(sizes, seed, validation, test):
    rows = [(name, f"{name}{p}", "", f"{name}{p}{i}") for name in "ab" for p, n in enumerate(sizes) for i in range(n)]
    plan = plan_splits(table(rows), data_params(seed=seed, validation_fraction=validation, test_fraction=test))
    counts = plan.table.groupby(["label", "split"]).size()
    for name in "ab":
        assert counts[name]["validation"] <= validation * sum(sizes) + max(sizes)
        assert counts[name]["test"] <= test * sum(sizes) + max(sizes)


@settings(max_examples=40)
@given(raw=raw_tables(), seed=st.integers(0, 9), came_with=st.booleans())
@pytest.mark.slow
def test_every_labelled_image_is_tested_in_exactly_one_fold(raw, seed, came_with):
    """This holds whatever split the data set came with. Patients without any label are always in training."""
    raw = raw.assign(split="train") if came_with else raw
    plans = [plan_splits(raw, data_params(folds=3, fold=fold, seed=seed)) for fold in range(3)]
    assert all(plan.origin == "generated" for plan in plans)
    splits = pd.concat([plan.table["split"] for plan in plans], axis=1)
    roles = splits.apply(lambda row: tuple(sorted(row)), axis=1)
    assert set(roles) <= {("test", "train", "validation"), ("train",) * 3}
    assert (roles[raw["label"] != ""] == ("test", "train", "validation")).all()
    for plan in plans:
        labelled = plan.table[plan.table["label"] != ""]
        assert (labelled.groupby("label")["split"].nunique() == 3).all()


def test_more_folds_than_patients_of_a_class_are_refused():
    rows = [*(("a", "", "", f"a{i}") for i in range(9)), *(("b", f"b{i // 2}", "", f"b{i}") for i in range(8))]
    assert len(plan_splits(table(rows), data_params(folds=4, fold=3)).table) == 17
    with pytest.raises(
        DcubeError, match=r"^class 'b' has images of 4 patients or groups, fewer than data.folds \(5\): "
    ):
        plan_splits(table(rows), data_params(folds=5))
    with pytest.raises(DcubeError, match=r"fold must be less than folds \(3\)"):
        data_params(folds=3, fold=3)


def test_seed_changes_the_split_but_not_its_sizes():
    rows = [(name, "", "", f"{name}{i}") for name in "ab" for i in range(50)]
    first, second = (plan_splits(table(rows), data_params(seed=seed)).table["split"] for seed in (0, 1))
    assert (first != second).any() and first.value_counts().equals(second.value_counts())


def test_shares_are_met_exactly_for_images_without_patients():
    rows = [(name, "", "", f"{name}{i}") for name, n in (("a", 100), ("b", 400)) for i in range(n)]
    counts = plan_splits(table(rows), data_params()).table.value_counts(["label", "split"]).unstack()
    assert counts.loc["a"].to_dict() == {"train": 65, "validation": 15, "test": 20}
    assert counts.loc["b"].to_dict() == {"train": 260, "validation": 60, "test": 80}


@pytest.mark.parametrize("name", ["abstain", "Abstain", "refused", "a|b"])
def test_reserved_class_name_is_refused(name):
    rows = [(label, "", "", f"{label}{i}") for label in (name, "b") for i in range(9)]
    with pytest.raises(DcubeError, match=f"a class is called '{re.escape(name)}'.*: rename it"):
        plan_splits(table(rows), data_params())


def official(n: int = 4) -> list[tuple[str, str, str, str]]:
    return [(name, f"{name}{s}{i}", s, f"{name}{s}{i}") for s in SPLITS for name in "ab" for i in range(n)]


def test_an_official_split_is_kept():
    plan = plan_splits(table(official()), data_params(seed=5))
    assert plan.origin == "official" and plan.table["split"].tolist() == [row[2] for row in official()]


@pytest.mark.parametrize(
    ("first", "second", "gone"),
    [("train", "validation", "train"), ("train", "test", "train"), ("validation", "test", "validation")],
)
def test_copy_across_official_splits_is_dropped_from_the_earlier_split(first, second, gone):
    rows = [*official(), ("a", "", first, "copy"), ("a", "", second, "copy")]
    plan = plan_splits(table(rows), data_params())
    assert [(entry.split, len(entry.kept)) for entry in plan.dropped] == [(gone, 1)]
    assert len(plan.table) == len(rows) - 1
    assert plan.dropped[0].file not in set(plan.table["file"])


def test_training_copies_with_two_labels_are_all_dropped():
    rows = [*official(), ("a", "", "train", "copy"), ("b", "", "train", "copy")]
    plan = plan_splits(table(rows), data_params())
    assert len(plan.dropped) == 2 and "copy" not in set(plan.table["sha256"])


def test_copies_inside_one_official_split_are_kept():
    rows = [*official(), ("a", "", "test", "copy"), ("a", "", "test", "copy")]
    assert len(plan_splits(table(rows), data_params()).table) == len(rows)


def test_missing_validation_split_is_taken_from_training():
    rows = [(name, f"{name}{i // 2}", "train", f"{name}{i}") for name in "ab" for i in range(40)]
    rows += [(name, "", "test", f"test{name}") for name in "ab"]
    plan = plan_splits(table(rows), data_params(validation_fraction=0.2))
    assert plan.table["split"].value_counts().to_dict() == {"train": 64, "validation": 16, "test": 2}
    verify_splits(plan.table)


def test_unlabelled_images_are_in_the_split_of_their_patient():
    rows = [*official(), ("", "atest0", "", "x"), ("", "stranger", "", "y")]
    assert plan_splits(table(rows), data_params()).table["split"].tolist()[-2:] == ["test", "train"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "", "", str(i)) for i in range(9)], ["two classes"]),
        ([], ["two classes"]),
        ([*[("a", "", "", str(i)) for i in range(9)], ("b", "", "", "x")], ["'b'", "9.png", "no image in"]),
        ([*official(), ("a", "atrain0", "test", "x")], ["'atrain0'", "train and test", "0.png, 24.png"]),
        ([*official(), ("c", "", "train", "x")], ["'c'", "validation and test", "24.png"]),
        ([*official(), ("a", "", "", "x")], ["no split", "24.png"]),
        ([row for row in official() if row[2] != "test"], ["without 'test'"]),
        ([*official(), ("a", "", "test", "x"), ("b", "", "test", "x")], ["several labels", "24.png (a) = 25.png (b)"]),
        ([(n, "", "", f"{n}{i}") for n in "ab" for i in range(5)] + [("a", "", "", "b0")], ["several labels"]),
    ],
)
def test_impossible_split_is_refused_in_one_line(rows, words):
    with pytest.raises(DcubeError) as error:
        plan_splits(table(rows), data_params())
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_verify_refuses_the_same_pixels_in_two_splits():
    rows = [*official(), ("a", "", "train", "copy"), ("a", "", "test", "copy")]
    with pytest.raises(DcubeError, match=r"train and test: 24\.png, 25\.png"):
        verify_splits(table(rows))


@pytest.mark.slow
def test_a_million_rows_are_split_and_checked_in_seconds():
    n = 1_000_000
    patient = np.arange(n) // 4
    frame = pd.DataFrame({"label": np.array(["a", "b", "c"])[patient % 3], "patient": patient.astype(str), "split": ""})
    frame = frame.assign(sha256=np.arange(n).astype(str), file=np.arange(n).astype(str), picture=np.arange(n))
    start = process_time()
    plan = plan_splits(frame, data_params())
    assert process_time() - start < 30
    shares = plan.table["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=1e-4)
    assert plan.table.groupby("patient")["split"].nunique().eq(1).all()


@settings(max_examples=60)
@given(raw_tables(), st.integers(0, 9), st.integers(0, 99))
def test_near_duplicates_stay_in_one_split(frame: pd.DataFrame, seed: int, lot: int):
    """Random pairs of images count as one picture, whatever their patients and classes."""
    pairs = np.random.default_rng(lot).permutation(len(frame))[: len(frame) // 10 * 2].reshape(-1, 2)
    frame = frame.copy()
    frame.iloc[pairs[:, 1], frame.columns.get_loc("picture")] = frame["picture"].to_numpy()[pairs[:, 0]]
    try:
        planned = plan_splits(frame, data_params(seed=seed)).table
    except DcubeError as error:
        assert "has no image in" in str(error)  # too few groups are left for three splits
        return
    assert planned.groupby("picture")["split"].nunique().eq(1).all()
