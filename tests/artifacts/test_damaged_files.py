"""A damaged file or tag is refused with one line that names it; labels are normalised to what people see."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dcube.artifacts.layout import CONFIG, DATASET, METRICS_FILE, WEIGHTS
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.diffusion import DiffusionConfig
from dcube.artifacts.schemas.metrics import Metrics
from dcube.artifacts.tables import (
    DIFFUSION_HISTORY,
    DIFFUSION_VALIDATION,
    PREPARED_MANIFEST,
    SYNTHETIC_MANIFEST,
    TableSchema,
)
from dcube.artifacts.weights import load_weights, save_weights
from dcube.config.schema import Data, Diffusion
from dcube.data.layout_detection import read_raw_dataset
from dcube.data.layouts.spelling import one_spelling
from dcube.data.prepared import PreparedDataset
from dcube.errors import DcubeError
from dcube.evaluation.predictions import Predictions
from dcube.registry.champions import events_of
from dcube.registry.version import Version
from dcube.tracking import tags
from tests.support.discs import write_dataset
from tests.support.metrics import made_metrics, made_predictions
from tests.support.raw_sets import save

HEADER = b"id,file,patient,sha256,label,prediction,probability_a,probability_b\n"
ROW = b"0,a.png,p,0,a,a,0.9,0.1\n"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", HEADER, HEADER + ROW[:-9], HEADER + ROW.replace(b"0.9", b"text"), HEADER + ROW + b'1,"torn',
        HEADER + ROW.replace(b",a,a,", b",c,a,"), HEADER + ROW.replace(b"0.9", b"nan"), HEADER[3:] + ROW[2:],
        HEADER.replace(b"patient", b"person") + ROW,
    ],
)  # fmt: skip
def test_damaged_predictions_are_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    file.write_bytes(content)
    with pytest.raises(DcubeError, match=r"predictions\.csv is damaged .*dvc repro evaluate") as refused:
        Predictions.load(file)
    assert "\n" not in str(refused.value)
    if b"person" in content:
        assert "it has no column patient" in str(refused.value)
    file.write_text(made_predictions())
    assert len(Predictions.load(file).labels)


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b"\xff", b"{", b'{"format_version": 1, "classes": 3}'])
def test_damaged_config_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_bytes(content)
    for schema in (CandidateConfig, DiffusionConfig):
        with pytest.raises(DcubeError, match=r"config\.json"):
            schema.load(tmp_path / CONFIG)


@pytest.mark.parametrize(
    ("schema", "header"),
    [
        (PREPARED_MANIFEST, "id,file,label,split,sha256"),
        (SYNTHETIC_MANIFEST, "id,seed"),
        (DIFFUSION_HISTORY, "step"),
        (DIFFUSION_VALIDATION, "step,fid"),
    ],
)
def test_table_with_missing_column_is_refused_with_its_name(schema: TableSchema, header: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(f"{header}\n")
    (missing,) = set(schema.columns) - set(header.split(","))
    with pytest.raises(DcubeError, match=rf"table\.csv is damaged \(it has no column {missing}\): run `dvc repro"):
        schema.load(tmp_path / "table.csv")
    for content in (b"", b"\xff\xfe", b'"torn'):
        (tmp_path / "table.csv").write_bytes(content)
        with pytest.raises(DcubeError, match=r"table\.csv is damaged .*: run `dvc repro") as refused:
            schema.load(tmp_path / "table.csv")
        assert "\n" not in str(refused.value)
    with pytest.raises(DcubeError, match=r"absent\.csv is missing: run `dvc repro"):
        schema.load(tmp_path / "absent.csv")


def test_table_with_text_in_a_number_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("step,loss\n1,0.5\n2,much\n")
    with pytest.raises(DcubeError, match=r"table\.csv is damaged .*much.*: run `dvc repro train_diffusion`"):
        DIFFUSION_HISTORY.load(tmp_path / "table.csv")


def test_manifest_without_subgroup_column_is_refused(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    dataset.info.model_copy(update={"subgroups": ["sex"]}).save(tmp_path / DATASET)
    with pytest.raises(
        DcubeError, match=r"manifest\.csv is damaged \(it has no column .*sex\): run `dvc repro prepare`"
    ):
        PreparedDataset.load(tmp_path)


@pytest.mark.parametrize("values", [{"confidence": 1.95}, {"calibration_bins": 0}, {"bootstrap_samples": 0}])
def test_metrics_with_impossible_values_are_refused(values: dict, tmp_path: Path) -> None:
    metrics = made_metrics()
    damaged = metrics.evaluation.model_copy(update=values)
    metrics.model_copy(update={"evaluation": damaged}).save(tmp_path / METRICS_FILE)
    with pytest.raises(DcubeError, match=r"metrics\.json does not fit"):
        Metrics.load(tmp_path / METRICS_FILE)


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x08\0\0\0\0\0\0\0{}{}{}{}", bytes(8)])
def test_damaged_weights_with_matching_checksum_are_refused(content: bytes, tmp_path: Path) -> None:
    config = DiffusionConfig(
        diffusion=Diffusion(), image_size=8, best_step=1, channels=1, classes=["a", "b"], data_fingerprint="f",
        weights_sha256="",
    )  # fmt: skip
    save_weights(tmp_path, {"a": torch.zeros(2)}, config)
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / WEIGHTS).write_bytes(content)
    config.model_copy(update={"weights_sha256": digest}).save(tmp_path / CONFIG)
    with pytest.raises(DcubeError, match=r"model\.safetensors is no safetensors file"):
        load_weights(tmp_path, DiffusionConfig)


def test_tags_with_text_instead_of_numbers_are_refused() -> None:
    event = f"{tags.CHAMPION}2026"
    entry = SimpleNamespace(name="dcube-a", version=3, tags={f"{tags.TEST_METRIC}auroc": "good", event: "[]"})
    version = Version(entry, None)  # type: ignore[arg-type]
    with pytest.raises(DcubeError, match=r"of dcube-a version 3 is .* by hand"):
        _ = version.metrics
    with pytest.raises(DcubeError, match=r"of dcube-a version 3 has no format version.* by hand"):
        events_of([version], {})


def test_labels_are_unicode_normalised_and_lookalikes_refused(tmp_path: Path) -> None:
    assert one_spelling("\u200bnor\u00admal\ufeff \x07") == "normal"
    assert one_spelling("Pneumonie aigue\u0308") == "Pneumonie aigu\u00eb"
    for number, folder in enumerate(("normal", "sick", "si\u200bck")):
        save(tmp_path / folder / "image.png", np.full((40, 40), 40 * number, dtype=np.uint8))
    assert {record.label for record in read_raw_dataset(tmp_path, Data()).records} == {"normal", "sick"}
    save(tmp_path / "n\u043ermal/image.png", np.full((40, 40), 200, dtype=np.uint8))
    with pytest.raises(DcubeError, match=r"look alike .*'n.u043ermal'"):
        read_raw_dataset(tmp_path, Data())


def test_archive_without_images_is_refused(tmp_path: Path) -> None:
    arrays = {f"{split}_{what}": np.empty((0, 28, 28) if what == "images" else (0,), dtype=np.uint8)
              for split in ("train", "val", "test") for what in ("images", "labels")}  # fmt: skip
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DcubeError, match="contains no images"):
        read_raw_dataset(tmp_path / "mine.npz", Data())
