"""Deleted runs, metrics without a value, and pipelines that register at the same time."""

import http.server
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from rich.console import Console

from dcube.artifacts.layout import CONFIG, EVALUATION, METRICS_FILE, MODELS, PREDICTIONS, PREPARED
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.cli.registry_tables import versions_table
from dcube.config.schema import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.summary import evaluate_candidate
from dcube.registry.presence import has_its_files
from dcube.registry.promotion import propose
from dcube.registry.promotion_policy import PromotionPolicy
from dcube.registry.registration import EvaluatedCandidate, challenger_of
from dcube.registry.version import Version
from dcube.registry.versions import CHALLENGER, CHAMPION, RegisteredModel
from dcube.stages import register
from dcube.tracking.downloads import download
from tests.support.checkout import ROOT
from tests.support.discs import write_dataset
from tests.support.evaluated_candidates import DATASET, NAME, run_pipeline, write_evaluated
from tests.support.metrics import made_metrics

POLICY = PromotionPolicy(bootstrap_samples=200)


def shown(registered_model: RegisteredModel) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(versions_table(registered_model.snapshot(), registered_model.versions()))
    return captured.get()


@pytest.mark.slow
def test_version_outlives_its_deleted_run(working_copy, tiny_params):
    registered_model = run_pipeline(tiny_params, 0, 20)
    run_pipeline(tiny_params, 1, 27)
    champion = registered_model.holder(CHAMPION)
    registered_model.client.delete_run(champion.run_id)
    assert "0.667" in shown(registered_model)
    assert propose(registered_model, POLICY).verdict.promoted, "MLflow keeps a deleted run until it is collected"

    store = f"sqlite:///{working_copy}/mlflow.db"
    collect = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", store, "--tracking-uri", store]
    subprocess.run([*collect, "--run-ids", champion.run_id], check=True)
    assert "champion" in shown(registered_model)
    with pytest.raises(DcubeError, match=r"version 1: its source run .* was deleted for good: register"):
        propose(registered_model, POLICY)
    run_pipeline(tiny_params, 2, 28)
    assert registered_model.aliases() == {CHALLENGER: "3", CHAMPION: "1"}


@pytest.mark.slow
def test_undefined_metric_is_tagged_and_not_logged(working_copy, tiny_params):
    write_evaluated("dcube", seed=0, auroc=0.8, right=20, params=tiny_params)
    folder = EVALUATION / "dcube"
    made = Predictions.load(folder / PREDICTIONS)
    without = Predictions(made.table[made.table["label"] != "normal"].reset_index(drop=True))
    config = CandidateConfig.load(MODELS / "dcube" / CONFIG)
    without.save(folder / PREDICTIONS)
    evaluate_candidate("dcube", config, DATASET, without, Evaluation(bootstrap_samples=100)).save(folder / METRICS_FILE)
    register.main()
    version = RegisteredModel.existing(NAME).holder(CHALLENGER)
    assert "test.auroc" not in version.metrics and "test.accuracy" in version.metrics
    assert "auroc" in version.tags["dcube.undefined"].split(", ") and version.tags["AUROC"] == "undefined"


def test_candidate_with_undefined_validation_is_never_challenger():
    def evaluated(name: str, auroc: float) -> EvaluatedCandidate:
        return EvaluatedCandidate(name, Path(), Path(), made_metrics(validation={"auroc": auroc, "cross_entropy": 0.5}))

    assert challenger_of([evaluated("a", math.nan), evaluated("b", 0.6)]).name == "b"
    assert challenger_of([evaluated("b", 0.6), evaluated("a", math.nan)]).name == "b"


@pytest.mark.slow
def test_two_pipelines_can_register_at_the_same_time(mlflow_server, tiny_params, tmp_path, monkeypatch):
    """Two working copies, as on two machines: neither sees the other's locks."""
    folders = [tmp_path / name for name in ("one", "two")]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        monkeypatch.chdir(folder)
        write_dataset(PREPARED)
        Path("params.yaml").write_text(tiny_params.to_yaml())
        for place, name in enumerate(("dcube", "sub_features")):
            write_evaluated(name, 10 * seed + place, 0.9, 20 + seed, tiny_params)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dcube.stages", "register"],
            cwd=folder,
            env=os.environ | {"DCUBE_PIPELINE": folder.name, "PYTHONPATH": str(ROOT)},
        )
        for folder in folders
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    registered_model = RegisteredModel.existing(NAME)
    versions = registered_model.versions()
    assert [version.version for version in versions] == ["4", "3", "2", "1"]
    assert {(version.tags["dcube.pipeline"], version.tags["dcube.model"]) for version in versions} == {
        (folder.name, name) for folder in folders for name in ("dcube", "sub_features")
    }
    held = registered_model.aliases()
    assert all(registered_model.version(held[alias]).tags["dcube.model"] == "dcube" for alias in (CHALLENGER, CHAMPION))
    (event,) = registered_model.history()
    assert (event.how, event.version) == ("first", held[CHAMPION])
    page = registered_model.client.get_registered_model(NAME)
    assert page.tags == {CHAMPION: f"version {held[CHAMPION]}", event.key: event.text}
    assert page.description.startswith(f"**champion:** [version {held[CHAMPION]}]")


class Overloaded(http.server.BaseHTTPRequestHandler):
    """An overloaded server: every search finds nothing, every other request fails with status 503."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path.partition("?")[0].endswith("search") else 503)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def test_server_error_is_not_taken_for_a_missing_version(tmp_path, monkeypatch):
    """Otherwise `register` would create every version again, and `dcube doctor` would remove the record."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Overloaded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = MlflowClient(f"http://127.0.0.1:{server.server_port}")
        version = Version(ModelVersion(NAME, "1", 0, source="models:/m-1", run_id="a" * 32), None)
        for ask in (
            lambda: has_its_files(client, version, "evaluation"),
            lambda: RegisteredModel(client, NAME).version("1"),
        ):
            with pytest.raises(MlflowException, match="503"):
                ask()
        for address in (f"runs:/{'a' * 32}/manifest.json", f"models:/{NAME}/1", f"models:/{NAME}/1/artifacts"):
            with pytest.raises(DcubeError, match=f"MLflow does not give {address}: .+: try again"):
                download(client, address, tmp_path / "file")
        server.shutdown()
