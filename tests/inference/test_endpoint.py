"""`dcube serve`: predictions over HTTP; bad requests get one line, and a changed version is not served."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import httpx
import pandas as pd
import pytest
from starlette.testclient import TestClient

from dcube.artifacts.candidates import SUB_FEATURES
from dcube.config.schema import Params
from dcube.inference import endpoint
from dcube.inference.endpoint import application
from dcube.inference.serving import ServedModel, encode_file
from dcube.registry.references import resolve_reference
from dcube.runtime.ports import free_port
from dcube.runtime.processes import process_group
from tests.support.discs import TINY
from tests.support.random_candidate import write_candidate
from tests.support.registered_model import PICTURES, register_candidate, write_picture
from tests.support.served_model import served
from tests.support.waiting import wait_for_server

DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> ServedModel:
    folder = tmp_path_factory.mktemp("model")
    write_candidate(folder, Params.model_validate(TINY), spec=PICTURES)
    return served(folder)


@pytest.fixture(scope="module")
def cell(tmp_path_factory) -> str:
    return encode_file(write_picture(tmp_path_factory.mktemp("in") / "0.png", 0))


def test_both_request_formats_give_the_same_predictions(model, cell):
    client = TestClient(application(model))
    records = client.post("/invocations", json={"dataframe_records": [{"image": cell}]}).json()["predictions"]
    split = {"columns": ["image"], "data": [[cell]]}
    overridden = {"dataframe_split": split, "params": {"abstain_below": 1.0}}
    (row,) = client.post("/invocations", json=overridden).json()["predictions"]
    assert row["decision"] == "abstain" and row["confidence"] == records[0]["confidence"]
    expected = model.predict(None, pd.DataFrame({"image": [cell]}))
    pd.testing.assert_frame_equal(
        pd.DataFrame(records).drop(columns="predicted_at"), expected.drop(columns="predicted_at"), check_dtype=False
    )
    assert client.get("/ping").is_success


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (DEEP, "recursion limit exceeded"),
        (f'{{"dataframe_records": [{{"image": {DEEP}{"]" * 100_000}}}]}}', "recursion limit exceeded"),
        ("", "EOF"),
        ("{}", "give dataframe_records or dataframe_split"),
        ('{"dataframe_records": []}', "no images"),
        ('{"dataframe_records": [{"file": "x"}]}', "dataframe_records.0.image: Field required"),
        ('{"dataframe_records": [{"image": "?"}]}', "row 0: column image is not base64"),
        ('{"dataframe_records": [{"image": [[1, 2], [3]]}]}', "row 0: column image is neither"),
        ('{"dataframe_records": [{"image": {"a": 1}}]}', "row 0: column image is neither"),
        ('{"dataframe_records": [{"image": "CELL"}], "params": {"abstain_below": 7}}', "7 is not between 0 and 1"),
        ('{"dataframe_records": [{"image": "CELL"}], "params": {"abstain_below": NaN}}', "nan is not between 0 and 1"),
        ('{"dataframe_records": [{"image": "CELL"}], "params": {"decide": "x >= 1"}}', "no class 'x'"),
        ('{"dataframe_records": [{"image": "CELL"}], "params": {"below": 1}}', "params.below: Extra inputs"),
    ],
)
def test_bad_request_gets_status_400_and_one_line(model, cell, body, words):
    answer = TestClient(application(model)).post("/invocations", content=body.replace("CELL", cell))
    assert answer.status_code == 400 and set(answer.json()) == {"error_code", "message"}
    message = answer.json()["message"]
    assert words in message and len(message) < 300 and "\n" not in message


def test_too_large_request_gets_status_413_and_a_hint(model, monkeypatch):
    monkeypatch.setattr(endpoint, "LARGEST_BODY", 2**20)
    answer = TestClient(application(model)).post("/invocations", content=b"[" * (2**20 + 1))
    assert answer.status_code == 413 and "1 MiB: send fewer images" in answer.json()["message"]


@pytest.fixture
def version(tmp_path, tracking_address, tiny_params, monkeypatch) -> tuple[str, Path]:
    """A registered version, and the folder of its files in the store."""
    monkeypatch.chdir(tmp_path)
    reference, _ = register_candidate(tmp_path, tiny_params, SUB_FEATURES, PICTURES)
    registered_model, found = resolve_reference(reference)
    logged = registered_model.client.get_logged_model(found.entry.source.removeprefix("models:/"))
    return reference, Path(urlparse(logged.artifact_location).path)


def test_changed_version_is_not_served(version, run_dcube):
    reference, files = version
    (config,) = files.rglob("artifacts/*/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"temperature": 2.0}))
    code, shown = run_dcube("serve", reference)
    assert code == 2 and "config.json has other contents" in shown and len(shown.splitlines()) == 1


@pytest.mark.slow
def test_serve_runs_no_code_of_the_version(version, cell, run_dcube, tmp_path):
    """A version with other code is refused; the code of an unchanged one is not imported either."""
    reference, files = version
    (archive,) = files.rglob("dcube.zip")
    (entry,) = files.rglob("model_code.py")
    trace = tmp_path / "trace"
    content = entry.read_bytes()
    entry.write_text(f"open({str(trace)!r}, 'w')\n")
    code, shown = run_dcube("serve", reference)
    assert code == 2 and "model_code.py has other contents" in shown and not trace.exists()
    entry.write_bytes(content)
    port = free_port()
    command = [sys.executable, "-v", "-m", "dcube.cli", "serve", reference, "--port", str(port)]
    with (
        (tmp_path / "imports").open("w+") as imports,
        process_group(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=imports) as process,
    ):
        wait_for_server(process, f"http://127.0.0.1:{port}/ping")
        body = {"dataframe_records": [{"image": cell}]}
        (row,) = httpx.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=60).json()["predictions"]
        imports.seek(0)
        imported = imports.read()
    assert f"{row['model']}/{row['version']}" == reference
    assert "dcube/inference/serving.py" in imported and archive.name not in imported and entry.name not in imported
