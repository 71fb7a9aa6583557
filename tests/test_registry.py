"""Versions, their lineage, and who becomes champion."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from serving_candidate import write_candidate

from dcube.config import Params
from dcube.data.prepared import PreparedDataset
from dcube.errors import DcubeError
from dcube.registry import Evaluated, best_by_validation, decide
from dcube.stages import register
from dcube.stages.paths import EVALUATION, MODELS, PREPARED, REGISTERED
from dcube.tracking import tracked_run


def evaluated(name: str, auroc: float, cross_entropy: float = 0.5) -> Evaluated:
    return Evaluated(name, Path(), {"validation": {"auroc": auroc, "cross_entropy": cross_entropy}})


def test_validation_chooses_the_challenger():
    assert best_by_validation([evaluated("a", 0.8), evaluated("b", 0.9), evaluated("c", 0.85)]).name == "b"
    assert (
        best_by_validation([evaluated("a", 0.9, 0.4), evaluated("b", 0.9, 0.3), evaluated("c", 0.9, 0.5)]).name == "b"
    )


def version(number: str, macro_f1: float, test: str = "same"):
    return SimpleNamespace(version=number, tags={"test.macro_f1": repr(macro_f1), "dcube.test_fingerprint": test})


@pytest.mark.parametrize(
    "champion, challenger, promoted, reason",
    [
        (None, version("1", 0.1), True, "no champion yet"),
        (version("1", 0.80), version("2", 0.90), True, "+0.1000"),
        (version("1", 0.80), version("2", 0.80), False, "+0.0000"),
        (version("1", 0.80), version("2", 0.82), False, "not more than 0.05"),
        (version("1", 0.80), version("2", 0.10), False, "-0.7000"),
        (version("1", 0.80), version("2", 0.99, test="other"), False, "other images"),
        (version("1", 0.80), version("1", 0.80), False, "already"),
    ],
)
def test_promotion(champion, challenger, promoted, reason):
    decision = decide(champion, challenger, 0.05)
    assert decision.promoted is promoted and reason in decision.reason


@pytest.fixture
def working_copy(phantom_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    PREPARED.parent.mkdir()
    phantom_dataset.folder.rename(PREPARED)
    (tmp_path / "params.yaml").write_text(Params.model_validate({"data": {"name": "discs"}}).to_yaml())
    return tmp_path


def write_evaluated(name: str, seed: int, auroc: float, macro_f1: float, params: Params) -> None:
    weights = write_candidate(MODELS / name, params, seed)
    test = dict.fromkeys(("accuracy", "macro_precision", "macro_recall", "auroc"), 0.5) | {"macro_f1": macro_f1}
    metrics = {
        "kind": name, "test": test, "validation": {"auroc": auroc, "cross_entropy": 0.5}, "weights_sha256": weights,
        "test_fingerprint": "same", "dataset_fingerprint": "f" * 64, "is_phantom": True,
    }  # fmt: skip
    folder = EVALUATION / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))


def registered() -> dict:
    return json.loads((REGISTERED / "registered.json").read_text())


def test_two_pipelines_one_after_the_other(working_copy, tiny_params, capsys):
    write_evaluated("dcube", seed=0, auroc=0.9, macro_f1=0.7, params=tiny_params)
    write_evaluated("sub_features", seed=1, auroc=0.8, macro_f1=0.9, params=tiny_params)
    weights = json.loads((MODELS / "dcube" / "config.json").read_text())["weights_sha256"]
    with tracked_run("train_classifier@dcube", {}) as training:
        training.set_tags({"dcube.weights_sha256": weights})
    register.main()
    first = registered()
    assert first["name"] == "dcube-discs"
    assert first["aliases"] == dict.fromkeys(("challenger", "champion"), first["versions"]["dcube"])
    assert "challenger: dcube, version 1" in capsys.readouterr().out

    client = MlflowClient(f"sqlite:///{working_copy / 'mlflow.db'}")
    champion = client.get_model_version_by_alias("dcube-discs", "champion")
    assert champion.tags["dcube.training_run_id"] == training.run_id
    assert champion.tags["test.macro_f1"] == "0.7" and champion.tags["dcube.weights_sha256"] == weights
    assert {"dcube.pipeline", "dcube.params_sha256", "mlflow.source.git.commit"} <= champion.tags.keys()
    assert "macro F1 0.700" in champion.description and "Phantom" in champion.description
    assert not list(working_copy.rglob("*.pkl")), "nothing may have to be unpickled"

    register.main()  # again: nothing new
    assert registered() | {"promoted": True, "reason": first["reason"]} == first
    assert len(client.search_model_versions("name = 'dcube-discs'")) == 2

    write_evaluated(
        "dcube", seed=2, auroc=0.95, macro_f1=0.6, params=tiny_params
    )  # better in validation, worse in test
    register.main()
    assert registered()["aliases"] == {"challenger": 3, "champion": 1}
    write_evaluated("dcube", seed=3, auroc=0.95, macro_f1=0.8, params=tiny_params)
    register.main()
    assert registered()["aliases"] == {"challenger": 4, "champion": 4}


def test_no_server_is_one_line_and_leaves_nothing(working_copy, tiny_params, monkeypatch):
    write_evaluated("dcube", seed=0, auroc=0.9, macro_f1=0.7, params=tiny_params)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setattr("dcube.tracking.PATIENCE", {"FAILED": 0.0})
    with pytest.raises(DcubeError, match="does not answer"):
        register.main()
    assert not REGISTERED.exists()


def test_nothing_evaluated_is_said_so(working_copy):
    with pytest.raises(DcubeError, match="dvc repro"):
        register.main()
