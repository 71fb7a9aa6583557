"""The flow `predict` on a real Prefect server and a real S3 server."""

import threading
import time
from io import BytesIO
from pathlib import Path

import boto3
import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.utilities.callables import parameter_schema

from dcube.artifacts.candidates import SUB_FEATURES
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.artifacts.schemas.drift import DriftReport
from dcube.artifacts.schemas.job import BatchJob
from dcube.classifier.candidate import Candidate
from dcube.config.schema import Params
from dcube.inference import batch, prediction
from dcube.inference.bucket import list_objects
from dcube.inference.inputs import collect_images
from dcube.inference.log import read_log
from dcube.runtime.s3 import Storage
from flows.predict import predict
from tests.support.discs import TINY
from tests.support.registered_model import PICTURES, pixels, register_candidate, write_picture

SOURCE, RESULTS = "s3://team/studies/Doe-Jane", "s3://team/predictions"


@pytest.fixture
def candidate(tracking_address, tmp_path, monkeypatch, s3_server) -> Candidate:
    """A candidate registered as `dcube-asked@challenger`; the environment names the servers."""
    monkeypatch.chdir(tmp_path)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return register_candidate(tmp_path, Params.model_validate(TINY), SUB_FEATURES, PICTURES)[1]


def upload(numbers: range, bright: bool = False) -> None:
    for number in numbers:
        buffer = BytesIO()
        Image.fromarray(pixels(number) // 8 + 200 if bright else pixels(number)).save(buffer, "PNG")
        put(f"studies/Doe-Jane/{number:03d}.png", buffer.getvalue())


def put(key: str, content: bytes) -> None:
    boto3.client("s3").put_object(Bucket="team", Key=key, Body=content)


def written() -> dict[str, bytes]:
    """Every object below `RESULTS`, by its key."""
    client = boto3.client("s3")
    found = client.list_objects_v2(Bucket="team", Prefix="predictions/").get("Contents", [])
    return {item["Key"]: client.get_object(Bucket="team", Key=item["Key"])["Body"].read() for item in found}


def parquet(objects: dict[str, bytes]) -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(BytesIO(content)) for name, content in objects.items() if name.endswith(".parquet")}


def artifacts_of(state) -> dict[str, str]:
    with get_client(sync_client=True) as client:
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        return {artifact.key: str(artifact.data) for artifact in client.read_artifacts(artifact_filter=mine)}


@pytest.mark.slow
def test_predictions_are_written_as_parquet_and_finished_batches_are_reused(prefect_server, candidate, tmp_path):
    upload(range(1000, 1030))
    put("studies/Doe-Jane/notes.txt", b"not an image")
    put("studies/Doe-Jane/damaged.png", b"no image either")
    options = {"batch_size": 20, "abstain_below": 0.4}
    state = predict("dcube-asked@challenger", SOURCE, RESULTS, **options, return_state=True)
    assert state.is_completed(), state.message
    first = written()
    rows = pd.concat(parquet(first).values()).set_index("object")
    assert len(parquet(first)) == 2 and len(rows) == 32
    weights = set(rows["weights_sha256"]).pop()
    assert all(name.startswith(f"predictions/dcube-asked/1-{weights[:12]}/abstain-below-0.4/") for name in first)
    for number in range(1000, 1030):
        write_picture(tmp_path / "same" / f"{number:03d}.png", number)
    with collect_images([tmp_path / "same"]) as (images, _):
        expected = prediction.predict(candidate, images, DecisionPolicy(abstain_below=0.4))
    names = [Path(name).name for name in expected["image"]]
    for column in ("decision", "prediction"):
        assert list(rows.loc[names, column]) == list(expected[column])
    columns = [name for name in expected.columns if str(name).startswith("probability_")]
    np.testing.assert_allclose(rows.loc[names, columns].to_numpy(float), expected[columns], atol=1e-6)
    assert rows.loc["notes.txt", "problem"].startswith("not an image") and rows.loc["damaged.png", "problem"]
    assert state.name == "Completed" and "30 images predicted, 1 refused" in state.message

    shown = artifacts_of(state)
    assert {"progress-predict", "predictions-dcube-asked-1", "drift-dcube-asked-1"} <= shown.keys()
    assert "brightness" in shown["drift-dcube-asked-1"] and "refused" in shown["predictions-dcube-asked-1"]
    assert not any(word in text for text in shown.values() for word in ("1000.png", "damaged", "notes"))

    upload(range(40), bright=True)  # a new, brighter study: only it is computed, and drift is reported
    again = predict("dcube-asked/1", SOURCE, RESULTS, **options, return_state=True)
    second = written()
    new = pd.concat(table for name, table in parquet(second).items() if name not in first)
    assert again.name == "Drifted" and "brightness" in again.message
    assert sorted(new["object"]) == [f"{number:03d}.png" for number in range(40)]
    assert all(second[name] == content for name, content in first.items() if name.endswith(".parquet"))
    drift = next(content for name, content in second.items() if name.endswith("drift.json"))
    report = DriftReport.parse(drift.decode(), "drift.json")
    assert {one.what.split(" ")[0] for one in report.rows if one.drifted} >= {"brightness", "contrast"}


@pytest.mark.slow
def test_prediction_continues_after_its_process_was_killed(prefect_server, candidate):
    upload(range(1000, 1060))
    outcome: list = []

    def run() -> None:
        outcome.append(predict("dcube-asked/1", SOURCE, RESULTS, batch_size=2, return_state=True))

    running = threading.Thread(target=run)
    running.start()
    while not (finished := parquet(written())):
        time.sleep(0.2)
    for child in psutil.Process().children(recursive=True):
        if "dcube.inference.batch" in " ".join(child.cmdline()):
            child.kill()
    kept = {name: content for name, content in written().items() if name in finished}
    running.join(timeout=600)
    (state,) = outcome
    assert state.is_completed(), state.message
    assert all(written()[name] == content for name, content in kept.items())
    rows = pd.concat(parquet(written()).values())
    assert sorted(rows["object"]) == [f"{number}.png" for number in range(1000, 1060)]
    assert len(finished) < 30


def test_deleted_object_is_reported_and_all_others_are_predicted_and_logged(candidate, tmp_path, monkeypatch):
    log = tmp_path / "predictions.jsonl"
    monkeypatch.setenv("DCUBE_INFERENCE_LOG", str(log))
    names = ["001.png", "a b+c%20.png", "日本 é.png"]
    upload(range(1))
    content = boto3.client("s3").get_object(Bucket="team", Key="studies/Doe-Jane/000.png")["Body"].read()
    for name in names:
        put(f"studies/Doe-Jane/{name}", content)
    boto3.client("s3").delete_object(Bucket="team", Key="studies/Doe-Jane/000.png")
    listed = list_objects(Storage.at(SOURCE, "source"))
    assert sorted(one.object for one in listed) == names
    boto3.client("s3").delete_object(Bucket="team", Key="studies/Doe-Jane/001.png")
    model = str(tmp_path / "models" / SUB_FEATURES)
    known = {"model": "dcube-asked", "weights_sha256": "1" * 64}
    job = BatchJob(
        model=model, identity=known, source=SOURCE, results=RESULTS, policy=DecisionPolicy(), batch_size=9,
        pending=listed,
    )  # fmt: skip
    job.save(tmp_path / "job.json")
    batch.main(str(tmp_path / "job.json"))
    (rows,) = parquet(written()).values()
    rows = rows.set_index("object")
    assert rows.loc["001.png", "problem"] == "deleted since it was listed"
    assert all(rows.loc[name, "prediction"] and not rows.loc[name, "problem"] for name in names[1:])
    logged = read_log()
    assert list(logged.predictions["input_sha256"]) == list(rows.loc[names[1:], "input_sha256"]) and not logged.skipped
    assert set(logged.predictions["model"]) == {"dcube-asked"} and ".png" not in log.read_text()
    job.model_copy(update={"pending": []}).save(tmp_path / "job.json")  # a retry after all batches are finished
    before = log.read_text()
    batch.main(str(tmp_path / "job.json"))
    assert log.read_text() == before


@pytest.mark.slow
def test_invalid_inputs_are_refused_before_any_prediction(prefect_server, candidate):
    for parameters, words in (
        (("dcube-asked@nobody", SOURCE, RESULTS), "has no alias"),
        (("dcube-asked/1", SOURCE, f"{SOURCE}/predictions"), "is below source"),
        (("dcube-asked/1", "s3://nobucket/x", RESULTS), "does not exist"),
    ):
        state = predict(*parameters, return_state=True)
        assert state.is_failed() and words in state.message, state.message
    assert predict("dcube-asked/1", "s3://team/empty", RESULTS, return_state=True).name == "No images"


def test_form_describes_every_parameter():
    fields = parameter_schema(predict).properties
    assert set(fields) == {"model", "source", "results", "batch_size", "abstain_below", "decide"}
    assert all(field.get("description") for field in fields.values())
