"""A registered model predicts like the candidate it was made from, wherever it runs."""

import base64
import importlib.util
import io
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts
from PIL import Image

from dcube.artifacts.candidates import DCUBE, SUB_FEATURES
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.errors import DcubeError
from dcube.inference.drift import OF_IMAGES
from dcube.inference.inputs import collect_images
from dcube.inference.prediction import predict
from dcube.inference.prediction_row import RESEARCH_USE, identity
from dcube.inference.serving import ServedModel, encode_file
from dcube.registry.packaging import SERVING_NEEDS
from dcube.runtime.ports import free_port
from dcube.runtime.processes import process_group
from tests.support.checkout import ROOT
from tests.support.random_candidate import CLASSES, write_candidate
from tests.support.registered_model import (
    COMMIT,
    PICTURES,
    SCANS,
    hounsfield,
    register_candidate,
    write_dicom,
    write_picture,
)
from tests.support.served_model import loaded, loaded_version, served
from tests.support.waiting import wait_for_server


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Square and non-square images, PNG and JPEG."""
    shapes = {"square.png": (40, 40), "wide.png": (50, 60), "jpeg.jpg": (64, 48)}
    return [write_picture(tmp_path / "in" / name, n, shape) for n, (name, shape) in enumerate(shapes.items())]


def table(files: list[Path]) -> pd.DataFrame:
    return pd.DataFrame({"image": [encode_file(file) for file in files]})


@pytest.fixture
def classifier(tmp_path: Path, tiny_params) -> ServedModel:
    write_candidate(tmp_path / "model", tiny_params, spec=PICTURES)
    return served(tmp_path / "model")


@pytest.fixture
def of_scans(tmp_path: Path, tiny_params) -> ServedModel:
    write_candidate(tmp_path / "scans", tiny_params, kind=DCUBE, spec=SCANS)
    return served(tmp_path / "scans")


def at_the_terminal(classifier: ServedModel, folder: Path, abstain_below: float = 0.0) -> pd.DataFrame:
    with collect_images([folder]) as (images, _):
        return predict(classifier.candidate, images, DecisionPolicy(abstain_below=abstain_below))


def same(served: pd.DataFrame, predicted: pd.DataFrame) -> None:
    assert set(served["weights_sha256"].str.len()) == {64}, "every answer says who gives it"
    assert set(served["use"]) == {RESEARCH_USE} and set(served["input_sha256"].str.len()) == {64}
    served = served.drop(columns=[*identity("", "", "", ""), "predicted_at"])
    shared = predicted[list(served.columns)]
    pd.testing.assert_frame_equal(served.reset_index(drop=True), shared, check_dtype=False, rtol=1e-5)
    assert {"decision", "confidence", "entropy", "probability_benign"} < set(served.columns)


def test_served_image_predictions_equal_the_command_line(classifier, files):
    predicted = at_the_terminal(classifier, files[0].parent)
    same(classifier.predict(None, table(sorted(files))), predicted)


def test_service_logs_its_predictions(classifier, files, tmp_path, monkeypatch):
    monkeypatch.setenv("DCUBE_INFERENCE_LOG", str(tmp_path / "log.jsonl"))
    predicted = classifier.predict(None, table(files))
    logged = pd.read_json(tmp_path / "log.jsonl", lines=True, dtype=False, convert_dates=False)
    assert set(logged.pop("format_version")) == {1}
    pd.testing.assert_frame_equal(
        logged.drop(columns=OF_IMAGES), predicted.reset_index(drop=True), check_dtype=False, check_like=True
    )
    same(
        classifier.predict(None, table(sorted(files)), {"abstain_below": 0.99}),
        at_the_terminal(classifier, files[0].parent, 0.99),
    )


def test_request_may_set_the_rule_and_the_response_names_the_rule_used(classifier, files):
    rows = classifier.predict(None, table(files), {"decide": "benign >= 0.0"})
    assert set(rows["decision"]) == {"benign"} and set(rows["decided_by"]) == {"benign >= 0.0"}
    assert set(classifier.predict(None, table(files))["decided_by"]) == {"most probable class"}
    with pytest.raises(DcubeError, match="the model has no class 'x'"):
        classifier.predict(None, table(files), {"decide": "x >= 0.5"})


def test_arrays_are_predicted_like_files_with_the_same_pixels(classifier, files):
    lossless = [file for file in files if file.suffix == ".png"]
    arrays = pd.DataFrame({"image": [np.asarray(Image.open(file)).tolist() for file in lossless]})
    tables = (classifier.predict(None, each).drop(columns="predicted_at") for each in (arrays, table(lossless)))
    pd.testing.assert_frame_equal(*tables)


def test_served_scan_predictions_equal_the_command_line(of_scans, tmp_path):
    file = write_dicom(tmp_path / "in" / "0.dcm", 3)
    predicted = at_the_terminal(of_scans, tmp_path / "in")
    same(of_scans.predict(None, table([file])), predicted)
    same(of_scans.predict(None, pd.DataFrame({"image": [hounsfield(3).tolist()]})), predicted)


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64_of(buffer.getvalue())


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("no base64!", "not base64"),
        ("", "empty file"),
        (base64_of(b"text"), "text in place of the file"),
        (base64_of(b"\0" * 128 + b"DICM" + b"text"), ""),
        (png(np.zeros((40, 40), np.uint8)), "constant"),
        (png(np.eye(300, dtype=np.uint8)), "training saw a width of 40 to 64"),
        ([[1, 2], [3]], "neither base64 nor an array"),
        ([[1, 2], [3, 4]], "smaller than 8 a side"),
        ((np.eye(48) / 2).tolist(), "whole numbers"),
        ((np.eye(48) * 256).tolist(), "whole numbers"),
        (np.zeros((2, 48, 48, 3)).tolist(), "shape (2, 48, 48, 3)"),
        (7, "shape ()"),
        (None, "shape ()"),
    ],
)
def test_unusable_input_is_refused_with_its_row(classifier, files, cell, words):
    with pytest.raises(DcubeError, match="row 1: ") as refused:
        classifier.predict(None, pd.DataFrame({"image": [encode_file(files[0]), cell]}))
    assert words in str(refused.value)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_array_with_nan_or_infinity_is_refused(of_scans, value):
    cell = [[value, *row[1:]] for row in hounsfield(3).tolist()]
    with pytest.raises(DcubeError, match="row 1: NaN or infinite pixels"):
        of_scans.predict(None, pd.DataFrame({"image": [hounsfield(3).tolist(), cell]}))


def imports(module: str, seen: set[str]) -> set[str]:
    """Top-level names of everything that a module of this package imports, directly or through the package."""
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin
    found = set(re.findall(r"^(?:from|import) ([\w.]+)", Path(spec.origin).read_text(encoding="utf-8"), re.MULTILINE))
    seen.add(module)
    for inner in sorted(name for name in found if name.startswith("dcube.") and name not in seen):
        found |= imports(inner, seen)
    return {name.partition(".")[0] for name in found}


def test_every_package_that_serving_imports_is_a_requirement():
    known = packages_distributions()
    needed = [
        {name.lower() for name in known[module]}
        for module in imports("dcube.inference.serving", set()) - {"dcube", *sys.stdlib_module_names}
    ]
    assert all(distributions & set(SERVING_NEEDS) for distributions in needed), needed


@pytest.mark.slow
def test_policy_is_the_registered_one_and_a_changed_policy_file_is_refused(
    tmp_path, tracking_address, tiny_params, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    changes = {"abstain_below": 0.5, "uncommitted": "dcube/x.py"}
    reference, _ = register_candidate(tmp_path, tiny_params, SUB_FEATURES, PICTURES, **changes)
    folder = Path(download_artifacts(f"models:/{reference}", dst_path=str(tmp_path / "version")))
    (folder / "MLmodel").write_text((folder / "MLmodel").read_text().replace("0.5", "0.1"))
    model = loaded_version(folder)
    assert model.policy.abstain_below == 0.5, "MLmodel has no say"
    assert model.identity["code_revision"] == f"{COMMIT}+uncommitted"
    config = folder / "artifacts/serving.json"
    config.write_text(config.read_text().replace("0.5", "0.1"))
    with pytest.raises(DcubeError, match=f"does not hold the files of {reference}"):
        loaded_version(folder)


def test_model_without_its_policy_is_not_loaded(classifier, tmp_path):
    (tmp_path / "serving.json").unlink()
    with pytest.raises(DcubeError, match=r"serving.json is missing: register that model again"):
        loaded(tmp_path / "model", tmp_path / "serving.json")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory where Python cannot import dcube; an editable installation is importable from everywhere."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    hide = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
    hide += f"sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]"
    (folder / "sitecustomize.py").write_text(hide)
    environment = os.environ | {"PYTHONPATH": str(folder)}
    assert subprocess.run([sys.executable, "-c", "import dcube"], cwd=folder, env=environment).returncode == 1
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "spec"), [(SUB_FEATURES, PICTURES), (DCUBE, SCANS)])
def test_mlflow_server_without_the_package_equals_the_command_line(
    tmp_path, tiny_params, files, elsewhere, monkeypatch, kind, spec
):
    """`mlflow models serve` in a process that finds the package only inside the model."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    reference, _ = register_candidate(home, tiny_params, kind, spec, abstain_below=0.5)
    if kind == DCUBE:
        folder = tmp_path / "scans"
        cells = [encode_file(write_dicom(folder / "0.dcm", 3)), hounsfield(3).tolist()]
        write_dicom(folder / "1.dcm", 3)
    else:
        folder = files[0].parent
        cells = [encode_file(file) for file in sorted(files)]
    predicted = at_the_terminal(served(home / "models" / kind), folder, 0.5)
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{reference}", "--env-manager", "local",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(elsewhere)}
    with process_group(command, env=environment, cwd=elsewhere) as process:
        address = f"http://127.0.0.1:{port}"
        wait_for_server(process, f"{address}/ping")
        rows = invoke(address, {"dataframe_split": {"columns": ["image"], "data": [[cell] for cell in cells]}})
        same(rows, predicted)
        assert set(rows["model"] + "/" + rows["version"]) == {reference}
        assert set(rows["code_revision"]) == {COMMIT}
        assert set(rows["decision"]) <= {"abstain", *CLASSES}
        open_ = invoke(address, {"dataframe_records": [{"image": cells[0]}], "params": {"abstain_below": 0.0}})
        assert open_["decision"][0] == open_["prediction"][0]
        refused = httpx.post(f"{address}/invocations", json={"dataframe_records": [{"image": "?"}]}, timeout=60)
        assert refused.status_code == 400 and "row 0: column image is not base64" in refused.text


def invoke(address: str, request: dict) -> pd.DataFrame:
    response = httpx.post(f"{address}/invocations", json=request, timeout=60)
    assert response.is_success, response.text
    return pd.DataFrame(response.json()["predictions"])
