"""Properties of subsampled training sets that hold for every data set."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dcube.data.preparing import prepare
from dcube.data.splits import linked_groups, plan_splits
from dcube.data.subsampling import subsample
from dcube.errors import DcubeError
from tests.support.raw_sets import class_folders, with_metadata
from tests.support.split_tables import data_params, raw_tables

FRACTIONS = st.floats(0.01, 1.0)


def planned(raw: pd.DataFrame) -> pd.DataFrame:
    return plan_splits(raw, data_params()).table


def train(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"] == "train"]


def singles(**classes: int) -> pd.DataFrame:
    """Training images without patients, and one of every class in the other splits."""
    rows = [(name, "train") for name, count in classes.items() for _ in range(count)]
    rows += [(name, split) for name in classes for split in ("validation", "test")]
    frame = pd.DataFrame(rows, columns=["label", "split"])
    names = [f"{i}.png" for i in range(len(frame))]
    return frame.assign(patient="", file=names, sha256=names, picture=range(len(frame)))


@settings(max_examples=60)
@given(raw=raw_tables(), fraction=FRACTIONS, seed=st.integers(0, 3))
@pytest.mark.slow
def test_train_fraction_removes_whole_groups_from_training_only(raw, fraction, seed):
    table, data = planned(raw), data_params(train_fraction=fraction, seed=seed)
    subset = subsample(table, data)
    pd.testing.assert_frame_equal(subset, subsample(table, data))
    pd.testing.assert_frame_equal(subset, table.loc[subset.index])
    assert subset.index.is_monotonic_increasing
    pd.testing.assert_frame_equal(subset[subset["split"] != "train"], table[table["split"] != "train"])
    kept = pd.Series(train(table).index.isin(subset.index))
    assert (kept.groupby(linked_groups(train(table))).nunique() == 1).all()
    assert set(train(subset)["label"]) >= set(train(table)["label"]) - {""}


@settings(max_examples=60)
@given(raw=raw_tables(), fractions=st.tuples(FRACTIONS, FRACTIONS), seed=st.integers(0, 3))
@pytest.mark.slow
def test_smaller_fraction_is_a_subset_of_a_larger_one(raw, fractions, seed):
    table = planned(raw)
    small, large = (subsample(table, data_params(train_fraction=f, seed=seed)) for f in sorted(fractions))
    assert set(small.index) <= set(large.index)


@settings(max_examples=40)
@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=4), fraction=FRACTIONS)
def test_every_class_keeps_its_share_to_the_nearest_image(counts, fraction):
    table = singles(**{f"class{i}": count for i, count in enumerate(counts)})
    kept = train(subsample(table, data_params(train_fraction=fraction)))["label"].value_counts()
    for i, count in enumerate(counts):
        assert kept[f"class{i}"] == 1 or abs(kept[f"class{i}"] - fraction * count) <= 0.5 + 1e-9


def test_unlabelled_images_are_subsampled_too():
    table = singles(a=10, b=10, **{"": 100})
    kept = train(subsample(table, data_params(train_fraction=0.25)))["label"].value_counts()
    assert kept[""] == 25 and kept["a"] in (2, 3)


def test_class_found_only_in_patients_with_several_classes_is_kept():
    for seed in range(20):
        table = singles(a=6, b=3).assign(patient=["p", *"qqrrs", *"ppr", *"tuvw"])
        kept = train(subsample(table, data_params(train_fraction=0.01, seed=seed)))
        assert set(kept["label"]) == {"a", "b"}


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=4),
    unlabelled=st.integers(0, 5),
    ratio=st.floats(1, 20),
    seed=st.integers(0, 3),
)
def test_imbalance_gives_the_requested_ratio(counts, unlabelled, ratio, seed):
    most, *rest = sorted(counts, reverse=True)
    others = min(min(rest), int(most / ratio))
    assume(others > 0)
    table = singles(**{f"class{i}": count for i, count in enumerate(counts)}, **{"": unlabelled})
    data = data_params(imbalance=ratio, seed=seed)
    subset = subsample(table, data)
    pd.testing.assert_frame_equal(subset, subsample(table, data))
    pd.testing.assert_frame_equal(subset[subset["split"] != "train"], table[table["split"] != "train"])
    kept = train(subset)["label"].value_counts()
    assert kept.get("", 0) == unlabelled
    expected = [min(most, round(ratio * others)), *[others] * len(rest)]
    assert sorted(kept.drop("", errors="ignore"), reverse=True) == expected
    assert kept[f"class{int(np.argmax(counts))}"] == expected[0]


def test_imbalance_that_empties_a_class_is_refused_with_a_hint():
    with pytest.raises(DcubeError, match=r"data\.imbalance: 11 leaves no .* 'a' has only 10: choose at most 10"):
        subsample(singles(a=10, b=4), data_params(imbalance=11))


@pytest.mark.parametrize("options", [{"train_fraction": 0.5}, {"imbalance": 3.0}])
def test_subsampling_is_recorded_in_info_and_fingerprint(options, tmp_path):
    small = {"image_size": 24, "diffusion_image_size": 16, "identifiers": "kept"}
    raw = class_folders(tmp_path / "raw", images=20)
    whole = prepare(raw, data_params(**small), tmp_path / "whole")
    subset = prepare(raw, data_params(**small, **options), tmp_path / "subset")
    assert "left_out" not in whole.info
    gone = len(whole.manifest) - len(subset.manifest)
    expected = {"count": gone, "train_fraction": 1.0, "imbalance": None, **options}
    assert subset.info.left_out.model_dump() == expected
    assert gone > 0 and subset.fingerprint != whole.fingerprint
    rows = [whole.manifest["file"].to_list().index(file) for file in subset.manifest["file"]]
    for size in (24, 16):
        assert np.array_equal(subset.images(size), whole.images(size)[rows])
    assert subset.info.counts["test"] == whole.info.counts["test"]


def test_nothing_is_left_out_by_default(tmp_path):
    raw = with_metadata(tmp_path / "raw", patients=20)
    small = {"image_size": 24, "diffusion_image_size": 16, "identifiers": "kept"}
    assert prepare(raw, data_params(**small), tmp_path / "out").info.left_out is None
    table = planned(singles(a=10, b=10).assign(split=""))
    assert subsample(table, data_params()) is table
