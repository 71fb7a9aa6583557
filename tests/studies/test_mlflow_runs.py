"""The runs of a study in MLflow: a run for each line of the table, with a child run for each repeat."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from dcube.config.loading import load_preset
from dcube.studies.mlflow_runs import log
from dcube.studies.output import write
from dcube.studies.results import Result
from dcube.studies.runner import StudyResults
from dcube.studies.study import Study, study_from
from dcube.studies.table import StudyTable, make_table
from dcube.studies.trials import variants
from dcube.tracking import tags
from tests.support.study_results import METRICS, distance, table_of

DATA_DVC = "outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: data\n"
VALUES = {
    "title": "A study", "reference": "good", "metrics": METRICS, "repeats": 2, "settings": {"classifier.epochs": 9},
    "rows": [
        {"name": "good"},
        {"name": "poor", "model": "baseline", "settings": {"baseline.method": "resnet18"},
         "choose": {"baseline.learning_rate": [0.001, 0.01]}},
    ],
}  # fmt: skip
ALL = ["good", "good, seed 0", "good, seed 1", "poor", "poor, seed 0", "poor, seed 1", "table"]
SKILLS = {"good": 2.5, "poor": 0.5}


def study(**changes: object) -> Study:
    return study_from(VALUES | changes, "s")


def logged(table: StudyTable, folder: Path) -> list[Run]:
    """Every run of the study's experiment after the table was logged, the best test AUROC first."""
    if not folder.exists():
        write(table, folder)
    client = MlflowClient()
    experiment = client.get_experiment_by_name(log(table, load_preset("phantom"), folder))
    return list(client.search_runs([experiment.experiment_id], order_by=["metrics.`test.auroc` DESC"]))


def names(runs: list[Run]) -> list[str]:
    return sorted(run.info.run_name for run in runs)


@pytest.fixture(autouse=True)
def working_folder(tracking_address, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("data.dvc").write_text(DATA_DVC)
    return tmp_path


def test_every_repeat_is_a_run_with_metrics_and_parameters(tmp_path):
    table = table_of(tmp_path / "results", study(), SKILLS)
    runs = logged(table, tmp_path / "out")
    assert names(runs) == ALL
    assert all(run.info.status == "FINISHED" for run in runs)
    experiment, client = runs[0].info.experiment_id, MlflowClient()
    best = client.search_runs([experiment], "metrics.`test.auroc` > 1")
    assert names(best) == ["good, seed 0", "good, seed 1"] == names(runs[:2]), "found and sorted by AUROC"

    lines = {run.info.run_name: run.info.run_id for run in runs}
    for run in runs:
        line, _, seed = run.info.run_name.partition(", seed ")
        assert run.data.tags.get(tags.PARENT) == (lines[line] if seed else None)
    first, second = (next(run for run in best if run.info.run_name == f"good, seed {seed}") for seed in (0, 1))
    result = table.lines[0].results[1]
    assert second.data.metrics == pytest.approx(
        {f"test.{name}": value for name, value in result.metrics.items()}
        | {f"validation.{name}": value for name, value in result.validation.items()},
        rel=1e-5,
    )
    differ = {key for key, value in first.data.params.items() if second.data.params[key] != value}
    assert differ == {"classifier.seed"}, "what MLflow's comparison shows of two repeats"
    poor = next(run for run in runs if run.info.run_name == "poor, seed 1").data.params
    assert first.data.params.keys() - poor.keys() >= {"features.keep", "diffusion.depth", "classifier.epochs"}
    assert not any(name.startswith("classifier.") for name in poor), "a baseline is made without them"
    assert first.data.params["classifier.epochs"] == "9" and first.data.params["kind"] == "dcube"
    assert (poor["kind"], poor["baseline.learning_rate"], poor["baseline.seed"]) == ("resnet18", "0.001", "1")
    assert [it.path for it in client.list_artifacts(second.info.run_id, "evaluation/dcube")] == [
        "evaluation/dcube/roc.png"
    ]
    inputs = {it.dataset.name: it.dataset.digest for it in second.inputs.dataset_inputs}
    raw = "0123456789abcdef0123456789abcdef.dir"
    assert inputs == {"phantom (train)": raw, "phantom (test)": raw}


@pytest.mark.slow
def test_repeated_study_adds_only_new_runs(tmp_path):
    two, three = (
        table_of(tmp_path / f"results{repeats}", study(repeats=repeats), SKILLS, "phantom") for repeats in (2, 3)
    )
    first = logged(two, tmp_path / "out")
    assert {run.info.run_id for run in logged(two, tmp_path / "out")} == {run.info.run_id for run in first}
    runs = logged(three, tmp_path / "more")
    assert sorted(set(names(runs)) - set(names(first))) == ["good, seed 2", "poor, seed 2"]
    assert len(runs) == len(first) + 2 + 1, "and the new table"
    for table in (three, two):  # the table of fewer repeats does not replace the values of more repeats
        line = next(run for run in logged(table, tmp_path / "again") if run.info.run_name == "good")
        assert line.data.metrics["accuracy/mean"] == pytest.approx(three.lines[0].metrics["accuracy"].mean, rel=1e-5)
    other = table_of(tmp_path / "other", study(), {"good": 2.5, "poor": 0.6})
    assert names(logged(other, tmp_path / "of others")).count("poor, seed 0") == 2, "other results are other runs"


def test_interrupted_logging_is_completed(tmp_path, monkeypatch):
    table, log_batch = table_of(tmp_path / "results", study(), SKILLS), MlflowClient.log_batch

    def breaks_at_the_second_repeat(self: MlflowClient, run_id: str, *args: object, **values: object) -> None:
        if self.get_run(run_id).info.run_name == "good, seed 1":
            raise KeyboardInterrupt
        log_batch(self, run_id, *args, **values)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MlflowClient, "log_batch", breaks_at_the_second_repeat)
        logged(table, tmp_path / "out")
    runs = logged(table, tmp_path / "out")
    assert names(runs) == ALL and {run.info.status for run in runs} == {"FINISHED"}
    assert next(run for run in runs if run.info.run_name == "good, seed 1").data.metrics["test.auroc"] == 2.5


def test_runs_are_named_by_fold_or_repeat(tmp_path):
    folds = study(vary=["data.fold"], settings={"data.folds": 3}, rows=VALUES["rows"][:1])
    runs = logged(table_of(tmp_path / "folds", folds, SKILLS), tmp_path / "out")
    assert names(runs) == ["good", "good, fold 0", "good, fold 1", "table"]
    assert sorted(run.data.params["data.fold"] for run in runs if tags.PARENT in run.data.tags) == ["0", "1"]
    mixed = study(vary=["data.fold", "classifier.seed"], settings={"data.folds": 3}, rows=VALUES["rows"][:1])
    runs = logged(table_of(tmp_path / "mixed", mixed, SKILLS), tmp_path / "of mixed")
    assert {"good, repeat 1", "good, repeat 2"} <= set(names(runs))


def test_runs_of_generated_images_log_their_distances(tmp_path):
    values = {"report": "fid", "metrics": ["fid", "kid"], "vary": ["diffusion.seed"], "rows": VALUES["rows"][:1]}
    made = study(**values)
    (variant,) = variants(made)
    results = StudyResults({variant: distance(tmp_path / "results", [20.0, 30.0])}, {variant: {}}, {})
    runs = logged(make_table("mine", made, load_preset("phantom"), results), tmp_path / "out")
    found = {run.info.run_name: run for run in runs}
    assert found["good, seed 1"].data.metrics["fid"] == 30.0
    assert found["good, seed 1"].data.params["diffusion.seed"] == "1"


def test_studies_of_files_have_no_runs_for_repeats(tmp_path):
    made = study_from(
        {"title": "T", "report": "files", "target": "probe", "files": ["a.csv"], "repeats": 1, "vary": [],
         "rows": [{"name": "only"}]}, "s",
    )  # fmt: skip
    (variant,) = variants(made)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/a.csv").write_text("value\n1\n")
    results = StudyResults({variant: [Result.load(tmp_path / "kept")]}, {variant: {}}, {})
    runs = logged(make_table("mine", made, load_preset("phantom"), results), tmp_path / "out")
    assert names(runs) == ["only", "table"]
