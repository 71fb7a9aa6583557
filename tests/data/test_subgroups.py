"""`data.subgroups` keeps columns of `metadata.csv` and refuses those that may identify a person."""

import pandas as pd
import pytest

from dcube.config.loading import params_from
from dcube.data.inspection import inspect_dataset
from dcube.data.preparing import prepare
from dcube.errors import DcubeError
from tests.support.raw_sets import class_folders, with_metadata

PATIENTS, IMAGES = 20, 2


def data(*subgroups: str, **values):
    given = {"image_size": 24, "diffusion_image_size": 16, "identifiers": "kept", "subgroups": list(subgroups)}
    return params_from({"data": given | values}, "test").data


@pytest.fixture
def raw(tmp_path):
    folder = with_metadata(tmp_path / "raw", patients=PATIENTS, images=IMAGES)
    table = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    number = pd.factorize(table["patient_id"])[0]
    columns = {
        "sex": [("f", "m")[n % 2] for n in number],
        "site": [("Mayo 1", "Marburg", "")[n % 3] for n in number],
        "age": [str(30 + n % 15) for n in number],
        "birth": [f"{1950 + n % 2}-03-17" for n in number],
        "month": [f"Mar {1950 + n % 2}" for n in number],
        "seen": [f"2019040{1 + n % 2}" for n in number],
        "note": ["the patient was in a good general condition" if n % 2 else "stable" for n in number],
        "ward": [f"W{max(n, 8)}" for n in number],
    }
    table.assign(**columns).to_csv(folder / "metadata.csv", index=False)
    return folder


def test_only_the_named_columns_are_kept(raw, tmp_path):
    plain = prepare(raw, data(), tmp_path / "plain")
    dataset = prepare(raw, data("site", "sex"), tmp_path / "out")
    assert dataset.info.subgroups == ["site", "sex"] and dataset.fingerprint == plain.fingerprint
    assert list(dataset.manifest.columns) == [*plain.manifest.columns, "subgroup_site", "subgroup_sex"]
    table = pd.read_csv(raw / "metadata.csv", dtype=str, keep_default_na=False).set_index("file")
    rows = dataset.indices("test")
    files = dataset.manifest["file"].iloc[rows]
    assert list(dataset.subgroups(rows)["sex"]) == list(table.loc[files, "sex"])
    assert set(dataset.manifest["subgroup_site"]) == {"Mayo 1", "Marburg", "unknown"}


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ("birth", "holds dates"),
        ("month", "holds dates"),
        ("seen", "holds dates"),
        ("note", "holds free text"),
        ("ward", "has a value of its own for most patients"),
        ("patient", "has no column 'patient'"),
        ("age", "has 15 values, and at most 12"),
    ],
)
def test_unsuitable_column_is_refused_without_showing_a_value(raw, tmp_path, monkeypatch, column, why):
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "salt"))
    for identifiers in ("kept", "hashed"):
        with pytest.raises(DcubeError, match=why) as refused:
            prepare(raw, data("sex", column, identifiers=identifiers), tmp_path / "out")
        assert column in str(refused.value) and "1950" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_check_reports_an_unsuitable_column_as_the_problem(raw):
    report = inspect_dataset(raw, data("sex", "birth"))
    assert "'birth' holds dates" in report.problem and report.images == PATIENTS * IMAGES
    assert not inspect_dataset(raw, data("sex")).problem


def test_subgroups_without_metadata_csv_are_refused(tmp_path):
    with pytest.raises(DcubeError, match=r"names columns of metadata\.csv, and this set has none"):
        prepare(class_folders(tmp_path / "raw"), data("sex"), tmp_path / "out")


@pytest.mark.parametrize("names", [["label"], ["sex", "sex"], ["a/b"]])
def test_reserved_duplicate_or_invalid_subgroup_names_are_refused(names):
    with pytest.raises(DcubeError, match="subgroups"):
        data(*names)
