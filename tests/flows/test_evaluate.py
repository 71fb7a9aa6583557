"""The flow `evaluate` on real servers (Prefect, MLflow, S3), against the command `dcube evaluate`."""

import json
from pathlib import Path

import boto3
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact, State
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from dcube.artifacts.candidates import SUB_FEATURES
from dcube.artifacts.layout import METRICS_FILE
from dcube.artifacts.schemas.decision import DecisionRule, Estimate, OperatingPoint
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.schema import Params
from dcube.errors import DcubeError
from dcube.evaluation.operating_point import LABELS
from dcube.inference.bucket import download_objects, list_objects
from dcube.registry.external_tags import run_id_of, unconfirmed_external_tests
from dcube.registry.references import resolve_reference
from dcube.repository.workspace import workspaces_of
from dcube.runtime.s3 import Storage
from dcube.tracking import tags
from flows.evaluate import evaluate
from tests.support.discs import TINY
from tests.support.random_candidate import CLASSES
from tests.support.registered_model import PICTURES, register_candidate, write_picture

SOURCE = "s3://team/sources/north"
POINT = OperatingPoint(
    rule=DecisionRule(of_class=CLASSES[0], threshold=0.3), chosen_by="youden",
    threshold=Estimate(value=0.3, low=0.2, high=0.4), validation_images=60,
    validation={rate: Estimate(value=0.8, low=0.7, high=0.9) for rate in LABELS},
)  # fmt: skip


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_server) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)


def put(name: str, content: bytes) -> None:
    boto3.client("s3").put_object(Bucket="team", Key=f"sources/north/{name}", Body=content)


def upload(folder: Path) -> None:
    for file in sorted(folder.rglob("*.png")):
        put(str(file.relative_to(folder)), file.read_bytes())


def hospital(folder: Path) -> Path:
    for number in range(18):
        write_picture(folder / CLASSES[number % 3] / f"Doe-Jane-{number}.png", number)
    return folder


def artifacts_of(state: State) -> dict[str, Artifact]:
    with get_client(sync_client=True) as client:
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        return {str(artifact.key): artifact for artifact in client.read_artifacts(artifact_filter=mine)}


@pytest.mark.slow
def test_flow_measures_and_records_what_the_command_does(
    prefect_server, mlflow_server, bucket, tmp_path, run_dcube, monkeypatch
):
    reference, _ = register_candidate(
        tmp_path, Params.model_validate(TINY), SUB_FEATURES, PICTURES, operating_point=POINT
    )
    folder = hospital(tmp_path / "north")
    upload(folder)
    state = evaluate("dcube-asked@challenger", SOURCE, "north", return_state=True)
    assert state.is_completed(), state.message
    registered_model, version = resolve_reference(reference)
    marked, run = version.entry.tags[f"{tags.EXTERNAL}north"], run_id_of(version, "north")
    assert not list(unconfirmed_external_tests(registered_model, version))
    recorded = Path(registered_model.client.download_artifacts(run, METRICS_FILE, str(tmp_path)))
    code, _ = run_dcube("evaluate", reference, str(folder), "--name", "north", "--output", str(tmp_path / "out"))
    assert code == 0
    assert recorded.read_bytes() == (tmp_path / "out" / METRICS_FILE).read_bytes()
    again = resolve_reference(reference)[1]
    by_command = run_id_of(again, "north")
    assert by_command != run
    assert again.entry.tags[f"{tags.EXTERNAL}north"] == marked.replace(run, by_command)
    ours, theirs = (registered_model.client.get_run(one).data for one in (run, by_command))
    assert ours.metrics == theirs.metrics and ours.params == theirs.params

    metrics, shown = Metrics.load(recorded), artifacts_of(state)
    auroc, interval = metrics.test["auroc"], metrics.interval["auroc"]
    assert state.message.startswith(f"AUROC {auroc:.3f} ({interval.low:.3f}–{interval.high:.3f}) on 18 images of north")
    rows = {row["metric"]: row["north"] for row in json.loads(str(shown["external-test-dcube-asked-1-north"].data))}
    assert rows["AUROC"] == f"{auroc:.3f} ({interval.low:.3f}–{interval.high:.3f})"
    sensitivity = metrics.operating_point.test["sensitivity"]
    assert rows["sensitivity at the operating point"] == str(sensitivity)
    said = str(shown["external-test-dcube-asked-1-north"].description)
    assert f"{CLASSES[0]} is decided from a probability of 0.300" in said and "intervals are too narrow" in said
    assert "brightness" in str(shown["drift-dcube-asked-1-north"].data)
    assert f"/runs/{run}" in str(shown["mlflow"].data)
    assert "models/dcube-asked/versions/1" in str(shown["version"].data)
    assert "progress-evaluate" in shown
    assert not any("Doe" in f"{one.data} {one.description}" for one in shown.values())

    put("cyst/Doe-Jane.png", (folder / CLASSES[0] / "Doe-Jane-0.png").read_bytes())
    for parameters, words in (
        (("dcube-asked@nobody", SOURCE, "south"), "dcube-asked has no alias 'nobody'"),
        (("dcube-asked/1", "s3://team/../north", "south"), "names no bucket: write it as s3://bucket/prefix"),
        (("dcube-asked/1", "s3://team/nothing", "south"), "there is no object below source=s3://team/nothing"),
        (("dcube-asked/1", SOURCE, "south"), "images/south has the class cyst that the model does not know"),
    ):
        failed = evaluate(*parameters, return_state=True)
        assert failed.is_failed() and words in str(failed.message) and "\n" not in str(failed.message), failed.message
        assert not (workspaces_of(Path.cwd()) / str(failed.state_details.flow_run_id)).exists()
    assert f"{tags.EXTERNAL}south" not in resolve_reference(reference)[1].entry.tags


@pytest.mark.parametrize("name", ["../escaped.png", "a//b.png", "./b.png", "line\nbreak.png"])
def test_object_whose_name_leaves_the_folder_is_refused(bucket, tmp_path, name):
    listed = [one.model_copy(update={"object": name}) for one in _one_object()]
    with pytest.raises(DcubeError, match="no file can have the names of 1 objects"):
        download_objects(Storage.at(SOURCE, "source"), listed, tmp_path / "images")
    assert not list(tmp_path.rglob("*.png"))


def _one_object():
    put("a.png", b"an image")
    return list_objects(Storage.at(SOURCE, "source"))


def test_downloaded_files_have_the_names_and_the_bytes_of_the_objects(bucket, tmp_path):
    names = ["metadata.csv", "benign/a b+c%20.png", "benign/日本 é.png"]
    for name in names:
        put(name, name.encode())
    storage = Storage.at(SOURCE, "source")
    download_objects(storage, list_objects(storage), tmp_path / "images")
    files = {
        str(file.relative_to(tmp_path / "images")): file.read_bytes() for file in (tmp_path / "images").rglob("*.*")
    }
    assert files == {name: name.encode() for name in names}


def test_form_describes_every_parameter():
    fields = parameter_schema(evaluate).properties
    assert set(fields) == {"model", "source", "name", "group_by"}
    assert all(field.get("description") for field in fields.values())


@pytest.mark.parametrize(
    ("name", "value"), [("source", "/etc"), ("source", "../north"), ("name", "St. Mary's"), ("group_by", "by eye")]
)
def test_form_refuses_paths_of_the_worker_and_bad_names(name, value):
    filled = {"model": "dcube-asked@champion", "source": SOURCE, "name": "north", "group_by": None}
    assert evaluate.validate_parameters(filled) == filled
    with pytest.raises(ParameterTypeError, match=f" - {name}: String should match pattern"):
        evaluate.validate_parameters(filled | {name: value})
