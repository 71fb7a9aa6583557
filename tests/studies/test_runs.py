"""`dcube study` with real DVC and MLflow on a small pipeline: trials that are computed, reused or refused."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from dcube.config.schema import Params
from dcube.runtime.processes import process_group
from tests.support.checkout import ROOT
from tests.support.metrics import made_metrics
from tests.support.small_pipeline import checkout_of, command, dvc, workspaces
from tests.support.waiting import wait_until

DVC_YAML = """
stages:
  prepare:
    cmd: python stage.py outputs/prepared
    deps: [data, stage.py]
    params: [data]
    outs: [outputs/prepared]
  train_diffusion:
    cmd: python stage.py outputs/diffusion
    deps: [outputs/prepared, stage.py]
    params: [diffusion]
    outs: [outputs/diffusion]
  select_features:
    cmd: python stage.py outputs/features
    deps: [outputs/diffusion, stage.py]
    outs: [outputs/features]
  synthesize:
    cmd: python stage.py outputs/synthetic
    deps: [outputs/diffusion, stage.py]
    outs: [outputs/synthetic]
  evaluate:
    matrix: {model: [dcube, baseline]}
    cmd: python stage.py outputs/evaluation/${item.model}
    deps: [outputs/diffusion, stage.py]
    params: [classifier, baseline]
    outs: ["outputs/evaluation/${item.model}"]
"""

# Skill grows with classifier.epochs; a learning rate of 0.5 is best on validation and has no effect on test.
STAGE = (
    f"METRICS = {made_metrics().model_dump_json()!r}\n"
    + """
import csv, json, math, os, random, sys, time
from pathlib import Path
import yaml

out = Path(sys.argv[1])
with open(os.environ["RAN"], "a") as file:
    file.write(os.environ["DVC_STAGE"] + chr(10))
params = yaml.safe_load(Path("params.yaml").read_text())
if params["classifier"]["batch_size"] == 13 and "evaluation" in sys.argv[1]:
    print("error: thirteen is not a batch")
    sys.exit(2)
if os.environ.get("SLOW") and "evaluation" in sys.argv[1]:
    time.sleep(3)
if "evaluation" not in sys.argv[1]:
    out.parent.mkdir(exist_ok=True)
    out.write_text(Path("data/raw.txt").read_text() + str(params["diffusion"]["epochs"]))
    sys.exit()
seed, skill = params["classifier"]["seed"], params["classifier"]["epochs"] / 10
rate = params["baseline"]["learning_rate"] or 0.1
generator = random.Random(seed)
names, right = ("ill", "well"), 0
out.mkdir(parents=True)
with (out / "predictions.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["id", "file", "patient", "sha256", "label", "prediction", "probability_ill", "probability_well"])
    for i in range(80):
        label = i % 2
        chance = 1 / (1 + math.exp(-(skill * (2 * label - 1) + generator.gauss(0, 1))))
        table.writerow([i, "", "", i, names[label], names[chance > 0.5], 1 - chance, chance])
        right += (chance > 0.5) == label
measured = json.loads(METRICS)
measured["test"] = dict.fromkeys(measured["test"], right / 80)
measured["validation"] = {"auroc": 1 - abs(rate - 0.5)}
(out / "metrics.json").write_text(json.dumps(measured))
"""
)

SERVE = "from flows.pipeline import pipeline; pipeline.serve(name='phantom', limit=2)"  # a worker, two runs at once

STUDY = {
    "title": "A study",
    "repeats": 2,
    "reference": "good",
    "rows": [
        {"name": "good", "settings": {"classifier.epochs": 30}},
        {"name": "poor", "model": "baseline", "settings": {"classifier.epochs": 1},
         "choose": {"baseline.learning_rate": [0.1, 0.5, 0.9]}},
    ],
}  # fmt: skip


@pytest.fixture
def study(repository: Path, tracking_address, tmp_path, monkeypatch) -> Path:
    """A repository with a pipeline that records the stages that ran, and a study in `mine.yaml`."""
    (repository / "dvc.yaml").write_text(DVC_YAML)
    (repository / "stage.py").write_text(STAGE)
    command(repository, "git", "commit", "--quiet", "--all", "--message", "Stages of a study")
    (repository / "mine.yaml").write_text(yaml.safe_dump(STUDY))
    monkeypatch.setenv("RAN", str(tmp_path / "ran.txt"))
    monkeypatch.chdir(repository)
    return repository


def ran(tmp_path: Path) -> list[str]:
    file = tmp_path / "ran.txt"
    return file.read_text().split() if file.exists() else []


def change(study: Path, **values: object) -> None:
    (study / "mine.yaml").write_text(yaml.safe_dump(STUDY | values))


@pytest.mark.slow
def test_study_computes_shared_stages_once_and_writes_tables(study, tmp_path, run_dcube):
    before = checkout_of(study)
    code, shown = run_dcube("study", "mine.yaml")
    assert code == 0, shown
    stages = ran(tmp_path)
    assert stages.count("prepare") == stages.count("train_diffusion") == 1
    assert stages.count("evaluate@dcube") == 2 and stages.count("evaluate@baseline") == 3 + 1, "three tried, one more"
    assert workspaces(study) == [] and checkout_of(study) == before
    assert re.search(r"^1/2 rows, about \d+ min left$", shown, re.MULTILINE) and "2/2 rows\n" in shown

    folder = next((study / "outputs/studies").iterdir())
    text = (folder / "table.md").read_text()
    assert "Chosen on validation: poor: baseline.learning_rate = 0.5." in text
    frame = pd.read_csv(folder / "repeats.csv").query("split == 'test' and metric == 'accuracy'")
    assert frame.groupby("row")["result"].mean()["good"] > 0.99 > 0.7 > frame.groupby("row")["result"].mean()["poor"]
    assert text.count("**") == 2, "two repeats show no difference; what is bold is a heading"

    client = MlflowClient()
    experiment = client.get_experiment_by_name(f"dcube-study/mine/{Params().data.name}")
    found = client.search_runs([experiment.experiment_id], order_by=["metrics.`test.accuracy` DESC"])
    runs = {run.info.run_name: run for run in found}
    repeats = {"good, seed 0", "good, seed 1", "poor, seed 0", "poor, seed 1"}
    assert runs.keys() == {"good", "poor", "table"} | repeats and len(found) == 7
    assert {run.info.run_name for run in found[:4]} == repeats and found[0].info.run_name.startswith("good")
    assert runs["poor, seed 1"].data.params["baseline.learning_rate"] == "0.5"
    recorded = yaml.safe_load((study / "data.dvc").read_text())["outs"][0]["md5"]
    assert {it.dataset.digest for it in runs["good, seed 0"].inputs.dataset_inputs} == {recorded}
    assert runs["poor"].data.params == {"baseline.learning_rate": "0.5", "classifier.epochs": "1"}
    assert runs["good"].data.metrics["accuracy/mean"] == pytest.approx(frame[frame["row"] == "good"]["result"].mean())
    experiments = dvc(study, "exp", "list", "--all-commits", "--name-only").split()
    assert sum(name.startswith("mine-") for name in experiments) == 6, "one experiment a trial"

    code, shown = run_dcube("study", "mine.yaml")
    assert code == 0 and "1/2 rows\n" in shown, "nothing is left to compute"
    assert ran(tmp_path) == stages, "all of it is known"
    assert len(client.search_runs([experiment.experiment_id])) == len(found), "to MLflow too"


def test_contradicting_settings_are_refused_before_any_stage_runs(study, tmp_path, run_dcube):
    change(study, rows=[STUDY["rows"][0], {"name": "odd", "settings": {"diffusion.heads": 7}}])
    code, shown = run_dcube("study", "mine.yaml")
    assert code == 2 and "odd" in shown and shown.count("\n") == 1, shown
    assert ran(tmp_path) == []


@pytest.mark.slow
def test_failed_study_keeps_the_earlier_table(study, tmp_path, run_dcube):
    earlier = study / "outputs/studies" / f"mine-{Params().data.name}" / "table.md"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("earlier")
    change(study, rows=[{"name": "bad", "settings": {"classifier.batch_size": 13}}], reference=None)
    code, shown = run_dcube("study", "mine.yaml")
    assert code == 2 and "error: no row of mine could be computed; the last: thirteen is not a batch" in shown
    record = (study / "data.dvc").read_text()
    (study / "data.dvc").write_text(record.replace("md5: ", "md5: 0", 1))
    change(study, rows=STUDY["rows"][:1])
    code, shown = run_dcube("study", "mine.yaml")
    assert code == 2 and "error: the data of data.dvc cannot be restored (`dcube data add` them here" in shown
    assert shown.count("cannot be restored") == 1 and earlier.read_text() == "earlier"


@pytest.mark.slow
def test_changed_data_are_computed_again_and_cached_results_reused(study, tmp_path, run_dcube):
    change(study, rows=STUDY["rows"][:1], repeats=1)
    assert run_dcube("study", "mine.yaml")[0] == 0
    before = ran(tmp_path)
    with (study / "dvc.yaml").open("a") as file:
        file.write("\n# another word\n")
    command(study, "git", "commit", "--quiet", "--all", "--message", "A comment")
    assert run_dcube("study", "mine.yaml")[0] == 0
    assert ran(tmp_path) == before, "DVC knew all of it"
    (study / "data/raw.txt").write_text("other data ")
    dvc(study, "add", "--quiet", "data")
    assert run_dcube("study", "mine.yaml")[0] == 0, "data.dvc of the working copy counts, committed or not"
    assert ran(tmp_path) == [*before, *before]


@pytest.mark.slow
def test_failed_trial_is_reported_and_the_others_are_computed(study, tmp_path, run_dcube):
    bad = {"name": "bad", "settings": {"classifier.batch_size": 13}}
    change(study, rows=[bad, STUDY["rows"][0]], reference=None)
    code, shown = run_dcube("study", "mine.yaml")
    assert code == 1
    assert "bad: thirteen is not a batch" in " ".join(shown.split())
    assert ran(tmp_path).count("evaluate@dcube") == 1 + 2
    text = (next((study / "outputs/studies").iterdir()) / "table.md").read_text()
    assert "Not computed: bad: thirteen is not a batch" in text and "| good |" in text
    change(study, rows=[STUDY["rows"][0]], reference=None)
    assert run_dcube("study", "mine.yaml")[0] == 0
    assert ran(tmp_path).count("evaluate@dcube") == 1 + 2, "what was computed beside the failure is known"


@pytest.mark.slow
def test_killed_study_is_resumed(study, tmp_path, monkeypatch, run_dcube):
    monkeypatch.setenv("SLOW", "1")
    process = subprocess.Popen([sys.executable, "-m", "dcube.cli", "study", "mine.yaml"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while ran(tmp_path).count("evaluate@dcube") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    code, shown = run_dcube("study", "mine.yaml")
    assert code == 2 and "another process computes mine" in shown
    process.kill()
    process.wait()
    time.sleep(1)
    monkeypatch.delenv("SLOW")
    assert run_dcube("study", "mine.yaml")[0] == 0
    stages = ran(tmp_path)
    assert stages.count("train_diffusion") == 1 and stages.count("evaluate@dcube") == 3, "only the cut-off trial again"
    assert workspaces(study) == []


@pytest.mark.slow
def test_workers_run_each_trial_and_compute_shared_stages_once(
    study,
    prefect_server,
    tmp_path,
    monkeypatch,
    run_dcube,
):
    change(study, rows=[STUDY["rows"][1] | {"choose": {"baseline.learning_rate": [0.1, 0.5]}}], reference=None)
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PREFECT_RUNNER_POLL_FREQUENCY", "1")
    with process_group([sys.executable, "-c", SERVE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        with get_client(sync_client=True) as client:
            wait_until(lambda: "phantom" in [deployment.name for deployment in client.read_deployments()], seconds=120)
        code, shown = run_dcube("study", "mine.yaml", "--workers")
        assert code == 0, shown
    stages = ran(tmp_path)
    assert stages.count("train_diffusion") == 1, "no two workers train the same model"
    assert stages.count("evaluate@baseline") == 2 + 1, "nothing is computed twice"
    with get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs() if "study" in run.tags]
    names = sorted(run.name for run in runs)
    assert len(runs) == 1 + 2 + 1, f"what they share, the first trials, and the one that the choice adds: {names}"
    assert all(run.state.is_completed() for run in runs)
    text = (next((study / "outputs/studies").iterdir()) / "table.md").read_text()
    assert "Chosen on validation: poor: baseline.learning_rate = 0.5." in text


@pytest.mark.slow
def test_plan_lists_trials_and_marks_computed_ones(study, tmp_path, run_dcube):
    code, shown = run_dcube("study", "mine.yaml", "--plan")
    assert code == 0 and ran(tmp_path) == []
    assert shown.splitlines() == [
        "evaluate@dcube  good, repeat 1",
        "evaluate@dcube  good, repeat 2",
        *(f"evaluate@baseline  poor, baseline.learning_rate = {rate}, repeat 1" for rate in (0.1, 0.5, 0.9)),
        "0 of 5 trials are computed already",
    ]
    assert run_dcube("study", "mine.yaml", "--row", "good")[0] == 0
    assert run_dcube("study", "mine.yaml", "--plan")[1].splitlines()[1:] == [
        "evaluate@dcube  good, repeat 2  (computed)",
        *(f"evaluate@baseline  poor, baseline.learning_rate = {rate}, repeat 1" for rate in (0.1, 0.5, 0.9)),
        "2 of 5 trials are computed already",
    ]


def test_plan_lists_every_fold_of_cross_validation(study, run_dcube):
    shown = run_dcube("study", "folds", "--set", "data.folds=3", "--row", "D-Cube", "--plan")[1]
    assert [line.split(", ")[1] for line in shown.splitlines()[:-1]] == ["repeat 1", "repeat 2", "repeat 3"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tabel4"], "no study 'tabel4'"),
        (["mine.yaml", "--row", "best"], "--row best: the study has good, poor"),
        (["mine.yaml", "--set", "classifier.epochz=1"], "unknown key classifier.epochz (did you mean epochs?)"),
        (["mine.yaml", "--set", "classifier.epochs=1"], "--set classifier.epochs: the study varies it itself"),
        (["mine.yaml", "--data", "nobodys"], "--data nobodys: neither params.yaml nor a preset has this data.name"),
        (["folds", "--repeats", "4"], "--repeats 4: the repeats of this study are its folds: --set data.folds=4"),
        (
            ["folds", "--set", "data.fold=1"],
            "error: --set: data: fold must be less than folds (null: there is fold 0 alone)\n",
        ),
        (["mine.yaml", "--workers"], "the workers did not compute all of it"),
    ],
)
def test_wrong_arguments_are_refused_with_a_hint(study, monkeypatch, run_dcube, words, told):
    monkeypatch.setenv("PREFECT_API_URL", "")
    code, shown = run_dcube("study", *words)
    assert code == 2
    assert told in shown and ran(study.parent) == []
