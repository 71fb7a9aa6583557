"""Files between stages are read back as written; incompatible files are refused with one line that says what to do."""

import ast
import json
from pathlib import Path

import pytest

from dcube.artifacts.layout import CONFIG, WEIGHTS
from dcube.artifacts.schemas.diffusion import DiffusionConfig
from dcube.artifacts.schemas.metrics import Metrics
from dcube.classifier.candidate import load_candidate
from dcube.config.schema import Diffusion, Params
from dcube.diffusion.weights import load_diffusion_config
from dcube.engine.device import choose_device
from dcube.errors import DcubeError
from tests.support.checkout import ROOT
from tests.support.metrics import made_metrics
from tests.support.random_candidate import write_candidate


def test_saved_numbers_are_read_back_exactly_including_nan(tmp_path: Path) -> None:
    metrics = made_metrics(test={"accuracy": 0.1 + 0.2, "auroc": float("nan")}, model="Größe")
    metrics.save(tmp_path / "metrics.json")
    loaded = Metrics.load(tmp_path / "metrics.json")
    assert loaded.test["accuracy"] == 0.1 + 0.2 and loaded.test["auroc"] != loaded.test["auroc"]
    assert loaded.model_dump_json() == metrics.model_dump_json()
    assert json.loads((tmp_path / "metrics.json").read_text())["format_version"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 3}, "has format version 3, and this version of D-Cube reads 2"),
        ({"format_version": None}, "has no format version"),
        ({"test_images": "many"}, "does not fit this version of D-Cube (test_images: "),
        ({"colour": "red"}, "(colour: Extra inputs are not permitted)"),
    ],
)
def test_incompatible_file_is_refused_with_one_line(tmp_path: Path, change: dict, words: str) -> None:
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(json.loads(made_metrics().model_dump_json()) | change))
    with pytest.raises(DcubeError) as refused:
        Metrics.load(file)
    text = str(refused.value)
    assert text.startswith(str(file)) and words in text and "\n" not in text
    assert text.endswith(": run `dvc repro evaluate`; of a registered model, register it again")


@pytest.mark.parametrize(("content", "words"), [(b"{", "is not JSON"), (b"\xff\xfe", "not JSON"), (b"[]", "version")])
def test_missing_or_unreadable_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "metrics.json"
    with pytest.raises(DcubeError, match=r"metrics\.json is missing: run `dvc repro evaluate`"):
        Metrics.load(file)
    file.write_bytes(content)
    with pytest.raises(DcubeError, match=words):
        Metrics.load(file)


def test_candidate_with_unknown_parameter_is_refused(tmp_path: Path, tiny_params: Params) -> None:
    write_candidate(tmp_path, tiny_params)
    config = json.loads((tmp_path / CONFIG).read_text())
    config["params"]["classifier"]["colour"] = "red"
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(DcubeError, match=r"params\.classifier\.colour.*dvc repro .*train_classifier"):
        load_candidate(tmp_path, choose_device(tiny_params.compute))


def test_diffusion_config_is_read_without_weights(tmp_path: Path) -> None:
    DiffusionConfig(
        diffusion=Diffusion(depth=4), image_size=16, best_step=1, channels=1, classes=["ill", "well"],
        data_fingerprint="f", weights_sha256="0" * 64,
    ).save(tmp_path / CONFIG)  # fmt: skip
    assert not (tmp_path / WEIGHTS).exists()
    assert load_diffusion_config(tmp_path).diffusion.depth == 4


def test_each_set_of_literal_values_is_declared_once() -> None:
    """Two declarations of the same values could diverge."""
    declared: dict[tuple[str, ...], list[str]] = {}
    for file in (file for package in ("dcube", "flows") for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
                values = tuple(sorted(ast.unparse(node.slice).strip("()").split(", ")))
                declared.setdefault(values, []).append(f"{file}:{node.lineno}")
    assert len(declared) > 20
    assert [places for values, places in declared.items() if len(values) > 1 and len(places) > 1] == []
