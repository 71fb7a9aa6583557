"""The commands `dcube models`, `promote` and `rollback`."""

import subprocess
import sys

import pytest
from mlflow import MlflowClient

from dcube.evaluation.split_notice import BY_IMAGE
from dcube.registry.promotion_policy import PromotionPolicy
from dcube.registry.versions import CHAMPION, RegisteredModel
from dcube.stages import register
from dcube.tracking import tags
from tests.support.evaluated_candidates import NAME, predictions, run_pipeline, write_evaluated


@pytest.fixture
def two_versions(working_copy, tiny_params) -> RegisteredModel:
    run_pipeline(tiny_params, 0, 20)
    return run_pipeline(tiny_params, 1, 27)


@pytest.mark.slow
def test_challenger_is_compared_promoted_and_rolled_back(two_versions, run_dcube, monkeypatch):
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "config", "user.name", "Ada L."], check=True)
    code, shown = run_dcube("promote", "--check")
    assert code == 0 and two_versions.aliases()[CHAMPION] == "1"
    for words in (f"{NAME}: challenger 2 (dcube) against champion 1 (dcube)", "McNemar", "sensitivity, normal", "+0.2"):
        assert words in shown

    monkeypatch.setattr("typer.confirm", lambda question: False)
    assert run_dcube("promote")[0] == 1 and two_versions.aliases()[CHAMPION] == "1"
    monkeypatch.setattr("typer.confirm", lambda question: True)
    code, shown = run_dcube("promote", "--reason", "agreed")
    assert (
        code == 0 and "Version 2 is the champion of dcube-discs now instead of version 1 (promoted by Ada L.)" in shown
    )

    code, shown = run_dcube("models")
    assert code == 0 and "challenger" in shown and "champion" in shown
    assert "0.667" in shown and f"{20 / 30 - 27 / 30:+.3f}" in shown, "a metric, and its difference to the champion's"

    assert run_dcube("rollback")[0] == 2, "a rollback needs a reason"
    code, shown = run_dcube("rollback", "--reason", "wrong on the new scanner")
    assert code == 0 and two_versions.aliases()[CHAMPION] == "1"
    code, shown = run_dcube("models", NAME, "--history")
    assert code == 0 and shown.count("Ada L.") == 2 and "agreed: macro F1" in " ".join(shown.split())
    two_versions.client.set_registered_model_alias(NAME, CHAMPION, "2")
    for words in (("models",), ("models", "--history"), ("rollback", "--reason", "moved by hand", "--to", "1")):
        assert "moved outside D-Cube: it is at version 2" in run_dcube(*words)[1]
    assert "outside D-Cube" not in run_dcube("models")[1]

    command = [sys.executable, "-X", "importtime", "-m", "dcube.cli", "models"]
    listed = subprocess.run(command, capture_output=True, text=True)
    assert listed.returncode == 0 and "champion" in listed.stdout
    assert not any(f" {slow}\n" in listed.stderr for slow in ("sklearn", "scipy.stats", "torch")), "a second each"


def test_refused_promotion_exits_with_1_and_names_the_failed_rule(two_versions, run_dcube, monkeypatch):
    code, shown = run_dcube("promote", "--yes", "--set", "minimum_improvement=0.2")
    assert code == 1 and "required: lower bound above +0.200" in " ".join(shown.split()) and BY_IMAGE not in shown
    assert two_versions.aliases()[CHAMPION] == "1"
    two_versions.client.set_model_version_tag(NAME, "2", tags.SPLIT_NOTICE, BY_IMAGE)
    assert BY_IMAGE in run_dcube("models")[1]
    monkeypatch.setenv("COLUMNS", "80")
    shown = run_dcube("models")[1]
    assert BY_IMAGE in " ".join(shown.split()) and max(map(len, shown.splitlines())) <= 80
    code, shown = run_dcube("promote", "--check")
    assert code == 2 and f"{NAME}/2 is not what was registered: tag {tags.SPLIT_NOTICE} is " in " ".join(shown.split())


def test_help_of_promote_names_every_criterion_that_can_be_set(run_dcube):
    code, shown = run_dcube("promote", "--help")
    assert code == 0 and all(name in shown for name in PromotionPolicy.model_fields)


def test_wrong_arguments_exit_with_2_and_one_line(two_versions, run_dcube):
    """One test for all, because creating two versions takes seconds."""
    for words, error in (
        (("promote", "--set", "sensitivity_margn=0.1"), "did you mean sensitivity_margin?"),
        (("promote", "--set", "confidence"), "write it as key=value"),
        (("promote", "--set", "confidence=2"), "less than 1"),
        (("models", "--history", "--all"), "leave out one of them"),
        (("promote", "--check", "--yes"), "--check only compares"),
        (("models", "dcube-nothing"), "no registered model 'dcube-nothing'"),
        (("rollback", "--reason", "x", "--to", "12"), "no version '12'"),
        (("lineage", "dcube-discs"), "MODEL@ALIAS"),
        (("reproduce", "dcube-discs@best"), "no alias 'best'"),
    ):
        code, shown = run_dcube(*words)
        assert code == 2 and error in shown and "Traceback" not in shown, words


def test_models_sends_each_query_to_mlflow_once(tracking_address, tmp_path, run_dcube, monkeypatch):
    """With a large registry, each query takes a tenth of a second."""
    client, asked = MlflowClient(), []
    client.create_registered_model(NAME)
    run_id = client.create_run("0").info.run_id
    client.create_model_version(NAME, f"runs:/{run_id}/model", run_id)
    monkeypatch.chdir(tmp_path)

    def noted(name: str):
        ask = getattr(MlflowClient, name)
        return lambda *words, **values: asked.append(name) or ask(*words, **values)

    for name in ("search_model_versions", "search_experiments", "search_runs"):
        monkeypatch.setattr(MlflowClient, name, noted(name))
    code, shown = run_dcube("models", NAME)
    assert code == 0 and NAME in shown
    assert asked == ["search_model_versions", "search_experiments", "search_runs"]


@pytest.mark.slow
def test_models_tested_on_different_images_are_not_compared(two_versions, run_dcube, tiny_params):
    write_evaluated("dcube", seed=3, auroc=0.9, right=30, params=tiny_params, test="other-")
    register.main()
    code, shown = run_dcube("promote", "--yes")
    assert code == 2 and "tested on different images" in shown
    code, shown = run_dcube("models")
    assert predictions({"benign": 30, "malignant": 30, "normal": 30}, test="other-").fingerprint[:6] in shown
