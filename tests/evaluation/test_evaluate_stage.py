"""The stage `evaluate`, the model card and `dcube results`, for a candidate that predicts from brightness."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dcube.artifacts.layout import DATASET, EVALUATION, PREPARED
from dcube.artifacts.schemas.candidate import Calibration
from dcube.artifacts.schemas.dataset import NearDuplicates
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.schema import Params
from dcube.errors import DcubeError
from dcube.evaluation import published
from dcube.evaluation.model_card import NO_ERROR, PHANTOM
from dcube.evaluation.predictions import Predictions
from dcube.stages import evaluate
from flows.results_page import results_page
from tests.support.random_candidate import candidate_config

CLASSES = ["benign", "malignant", "normal"]
FILES = {
    "metrics.json", "predictions.csv", "validation_predictions.csv", "confusion.png", "roc.png", "precision_recall.png",
    "reliability.png", "roc.csv", "decision_curves.png", "headline.json", "model_card.md",
}  # fmt: skip


def fake_candidate(kind: str, sharpness: float):
    def predict(images: np.ndarray, diffusion_images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        assert images.shape[1:] == (1, 32, 32) and diffusion_images.shape[1:] == (1, 16, 16)
        brightest = images.reshape(len(images), -1).max(1).astype(float)
        closeness = np.exp(-sharpness * np.abs(brightest[:, None] - [110, 170, 230]) / 60)
        return closeness / closeness.sum(1, keepdims=True)

    config = candidate_config(
        Params.model_validate({"classifier": {"epochs": 3}}), kind=kind,
        weights_sha256=kind * 3, calibration=Calibration(temperature=1.25),
        validation={"auroc": 0.9, "cross_entropy": 0.4, "accuracy": 0.8},
    )  # fmt: skip
    return SimpleNamespace(
        kind=kind, classes=CLASSES, image_size=32, diffusion_image_size=16, config=config, predict=predict
    )


@pytest.fixture
def evaluate_on(disc_dataset, tmp_path, monkeypatch):
    """Evaluate two candidates in a working copy with a changed `dataset.json`, without a tracking server."""
    monkeypatch.chdir(tmp_path)
    PREPARED.parent.mkdir()
    disc_dataset.folder.rename(PREPARED)
    (tmp_path / "params.yaml").write_text(Params.model_validate({"evaluation": {"bootstrap_samples": 200}}).to_yaml())
    monkeypatch.setattr("dcube.tracking.outbox.Outbox.send", lambda outbox: outbox.header.status and outbox.remove())
    candidates = {"dcube": fake_candidate("dcube", 9.0), "sub_features": fake_candidate("sub_features", 0.0)}
    monkeypatch.setattr(evaluate, "load_candidate", lambda folder, device: candidates[folder.name])

    def run(**changes):
        disc_dataset.info.model_copy(update=changes).save(PREPARED / DATASET)
        for name in candidates:
            evaluate.main(name)

    return run


@pytest.fixture
def evaluated(evaluate_on):
    evaluate_on()


def test_evaluate_writes_all_files_for_the_test_split(evaluated):
    folder = EVALUATION / "dcube"
    assert {file.name for file in folder.iterdir()} == FILES
    metrics = Metrics.load(folder / "metrics.json")
    predictions = Predictions.load(folder / "predictions.csv")
    assert len(predictions.table) == metrics.test_images == 18
    assert metrics.test_patients == 9 and metrics.resampled == "patients"
    assert metrics.test["accuracy"] == (predictions.table["label"] == predictions.table["prediction"]).mean() == 1.0
    assert metrics.test_fingerprint == predictions.fingerprint
    assert metrics.validation["auroc"] == 0.9
    other = Metrics.load(EVALUATION / "sub_features" / "metrics.json")
    assert other.test_fingerprint == metrics.test_fingerprint
    assert other.test["auroc"] == 0.5


def test_operating_point_is_in_metrics_card_and_results(evaluate_on, tmp_path, run_dcube):
    settings = {"operating_point": "sensitivity", "positive_class": "malignant", "operating_target": 0.9}
    params = Params.model_validate({"evaluation": {"bootstrap_samples": 200, **settings}})
    (tmp_path / "params.yaml").write_text(params.to_yaml())
    with pytest.raises(DcubeError, match="every validation image has the same probability of malignant"):
        evaluate_on()  # `sub_features` gives every image the same probabilities
    metrics = Metrics.load(EVALUATION / "dcube" / "metrics.json")
    point = metrics.operating_point
    assert point.rule.of_class == "malignant" and point.validation_images > 0 and point.validation_patients
    assert point.test["sensitivity"].value == point.test["specificity"].value == 1.0
    sets = metrics.prediction_sets
    assert metrics.policy.set_from == sets.threshold and sets.calibrated_on == point.validation_patients
    card = (EVALUATION / "dcube" / "model_card.md").read_text()
    assert "for a coverage of 90%" in card
    assert "malignant is decided from a probability of" in card and "| sensitivity | 1.000 (1.000–1.000) |" in card
    code, printed = run_dcube("results")
    assert code == 0 and "for a sensitivity of 0.9" in " ".join(printed.split())


@pytest.mark.slow
def test_subgroups_are_in_metrics_card_and_results(evaluate_on, tmp_path, run_dcube):
    manifest = pd.read_csv(PREPARED / "manifest.csv", dtype=str, keep_default_na=False)
    sex = np.where(manifest["id"].astype(int) // 3 % 3 == 0, "m", "f")
    manifest.assign(patient=manifest["id"], subgroup_sex=sex).to_csv(PREPARED / "manifest.csv", index=False)
    evaluate_on(subgroups=["sex"])
    (column,) = Metrics.load(EVALUATION / "dcube" / "metrics.json").subgroups
    assert [(group.value, group.images, group.patients) for group in column.groups] == [("f", 12, 12)]
    assert column.hidden == 1  # six patients
    assert "subgroup" not in (EVALUATION / "dcube" / "predictions.csv").read_text()
    card = (EVALUATION / "dcube" / "model_card.md").read_text()
    assert "| sex: f | 12 | 12 | 1.000 (1.000–1.000) |" in card and "sex: m" not in card
    assert "Groups of fewer than 10 patients are hidden: 1 of sex." in card
    shown = " ".join(run_dcube("results")[1].split())
    assert "dcube by sex: f AUROC" in shown and "hidden, with fewer than 10 patients: 1." in shown


def test_model_card_states_intended_use_and_limits(evaluated):
    card = (EVALUATION / "sub_features" / "model_card.md").read_text()
    for words in (
        PHANTOM,
        "Not intended",
        "f" * 64,
        "| test | 6 (6) | 6 (6) | 6 (6) | 0 | 9 |",
        "classifier.epochs",
        "another seed",
    ):
        assert words in card
    assert "diffusion.epochs" not in card, "the sub-feature network has no diffusion model"


def test_results_fit_80_columns_and_state_their_limits(evaluated, run_dcube, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, printed = run_dcube("results")
    lines = printed.splitlines()
    assert code == 0
    assert max(len(line.rstrip()) for line in lines) <= 80 and not any(line.rstrip().endswith("…") for line in lines)
    metrics = Metrics.load(EVALUATION / "sub_features" / "metrics.json")
    for interval in (metrics.interval[name] for name in ("accuracy", "macro_f1", "auroc")):
        assert any(f"{interval.low:.2f}–{interval.high:.2f}" in line for line in lines)
    shown = " ".join(" ".join(lines).split())
    assert "+0.667" in shown and "dcube against sub_features: better in accuracy, macro F1 and AUROC." in shown
    assert "corrected for the 4 tests" in shown and "gives an accuracy of 0.333" in shown
    assert PHANTOM in shown and NO_ERROR in shown and "make ui" in shown


@pytest.mark.slow
def test_model_card_names_the_fold_of_cross_validation(evaluate_on):
    evaluate_on(folds=5, fold=2)
    card = (EVALUATION / "dcube" / "model_card.md").read_text()
    assert "The split was made here, by patient; the test is fold 2 of 0 to 4." in card


@pytest.mark.parametrize(
    ("origin", "notice"),
    [("generated", "Split by image: metrics are likely too high"), ("official", "Official split by image: metrics")],
)
@pytest.mark.slow
def test_split_by_image_is_named_and_no_model_is_called_better(evaluate_on, origin, notice, run_dcube, capsys):
    evaluate_on(grouping="none", split_origin=origin)
    assert notice in capsys.readouterr().out
    metrics = Metrics.load(EVALUATION / "dcube" / "metrics.json")
    assert (metrics.grouping, metrics.split_origin) == ("none", origin)
    assert notice in (EVALUATION / "dcube" / "model_card.md").read_text()
    assert notice in "\n".join(results_page(Path(), ""))
    shown = " ".join(run_dcube("results")[1].split())
    assert notice in shown and "better" not in shown
    assert "dcube against sub_features: higher in accuracy, macro F1 and AUROC." in shown
    assert "Comparisons hold within this split only." in shown


def test_one_image_without_patient_does_not_make_a_split_by_image(evaluate_on, run_dcube):
    evaluate_on(grouping="none", without_patient=1)
    shown = " ".join(run_dcube("results")[1].split())
    card = (EVALUATION / "dcube" / "model_card.md").read_text()
    for text in (shown, card):
        assert "1 labelled image names no patient: if other images of the same patient are in another split" in text
        assert "by image" not in text
    assert "The split was made here, by patient (1 labelled image names no patient)." in card
    assert "better" not in shown and "Comparisons hold within this split only." in shown


def test_model_card_names_data_warnings_and_near_duplicates(evaluate_on):
    copies = NearDuplicates(images=5, groups=2, in_several_splits=[["a", "b"]], with_several_labels=[["c", "d", "e"]])
    evaluate_on(warnings=["what tells the classes apart by itself: file format"], near_duplicates=copies)
    card = (EVALUATION / "dcube" / "model_card.md").read_text()
    assert "> **What tells the classes apart by itself: file format.**" in card
    assert (
        "> **Pictures in several splits, as re-encoded, resized or brightened copies: 1. Metrics are too high" in card
    )
    assert "> **Pictures with several labels, as re-encoded" in card
    assert "by image. Images by split and class" in card or "by patient. Images by split and class, and in" in card


def test_unconfirmed_groups_are_called_guessed(evaluate_on, run_dcube, capsys):
    evaluate_on(grouping="guessed", group_by="guessed:run:2")
    notice = "Groups guessed from file names: metrics may still be too high"
    assert notice in capsys.readouterr().out
    card = (EVALUATION / "dcube" / "model_card.md").read_text()
    assert notice in card and "by groups that are guessed from file names (data.group_by)" in card
    assert notice in "\n".join(results_page(Path(), ""))
    shown = " ".join(run_dcube("results")[1].split())
    assert notice in shown and "95% intervals over groups" in shown
    assert "better" not in shown and "Comparisons hold within this split only." in shown


@pytest.mark.slow
def test_groups_are_not_called_patients(evaluate_on, run_dcube):
    evaluate_on(grouping="group_by", group_by="run:2")
    card = (EVALUATION / "dcube" / "model_card.md").read_text()
    assert "| groups |" in card and "by group (data.group_by)" in card and "stand for patients" in card
    shown = " ".join(run_dcube("results")[1].split())
    assert "(18 images of 9 groups), 95% intervals over groups" in shown
    assert "too high" not in shown and "patients" not in shown


@pytest.mark.parametrize(("origin", "shown"), [("official", True), ("generated", False)])
@pytest.mark.slow
def test_published_results_are_shown_only_for_the_official_split(origin, shown, run_dcube, monkeypatch, evaluate_on):
    known = published.Published(18, "Somebody 2020", (("ResNet-18", 0.863, 0.901),))
    monkeypatch.setitem(published.PUBLISHED, "known", known)
    evaluate_on(name="known", split_origin=origin)
    out = run_dcube("results")[1]
    assert ("ResNet-18" in out and "0.901" in out and "Somebody 2020" in out) == shown


def test_results_without_evaluation_are_refused_with_a_hint(tmp_path, monkeypatch, run_dcube):
    monkeypatch.chdir(tmp_path)
    code, printed = run_dcube("results")
    assert code == 2 and "dvc repro" in printed
