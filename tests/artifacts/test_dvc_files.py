"""Reading dvc.lock and data.dvc."""

import pytest

from dcube.artifacts.dvc_files import parse_data_hash, parse_lock
from dcube.errors import DcubeError

RECORDED = """
stages:
  prepare:
    deps: [{path: data, md5: d}]
    params: {params.yaml: {data: {seed: 0, fit: crop}}}
    outs: [{path: prepared, md5: p}]
  train:
    deps: [{path: prepared, md5: p}, {path: code, md5: c}]
    params: {params.yaml: {diffusion.epochs: 5}}
    outs: [{path: model, md5: m}]
  register:
    deps: [{path: model, md5: of before}, {path: prepared/label.csv, md5: x}]
"""


def test_lock_shows_changed_outputs_sources_and_parameters() -> None:
    lock = parse_lock(RECORDED, "dvc.lock")
    assert lock.outputs == {"prepared": "p", "model": "m"}
    assert lock.upstream(["model"]) == ["prepare", "train"]
    assert list(lock.other_outputs(lock.stages)) == [("register", "model")]
    assert list(lock.other_sources(lock.stages, {"data": "d", "code": "changed"}.get)) == [("train", "code")]
    params = {"data": {"seed": 1, "fit": "crop", "folds": None}, "diffusion": {"epochs": 5}}
    assert list(lock.other_parameters(["prepare", "train"], params)) == [("prepare", "data.seed")]


def test_malformed_dvc_files_are_refused() -> None:
    assert parse_lock("", "dvc.lock").stages == {}
    for text in ("stages: {train: [1]}", "stages: {train: {outs: [{md5: m}]}}", "stages: [1]", "[1]"):
        with pytest.raises(DcubeError, match=r"^dvc\.lock is not as DVC writes it"):
            parse_lock(text, "dvc.lock")
    for text in ("", "outs: []", "outs: [{path: data}]", "[1]"):
        with pytest.raises(DcubeError, match=r"^data\.dvc records no data"):
            parse_data_hash(text, "data.dvc")
