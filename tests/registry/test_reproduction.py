"""Reproducing a version from its recorded origin alone: all is computed again, and nothing else is changed."""

import json
from pathlib import Path

import pytest
from filelock import FileLock

from dcube.config.schema import Params
from dcube.registry.versions import RegisteredModel
from dcube.tracking.mlflow_client import tracking_client
from tests.support.small_pipeline import checkout_of, workspaces
from tests.support.traced_version import NAME, break_cache, commit, register_version
from tests.support.working_copy import WorkingCopy


def everything_kept(repository: Path) -> dict:
    """What must stay as it is: the checkout, DVC's caches, MLflow's runs and the registry."""
    client = tracking_client()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {
        "checkout": checkout_of(repository),
        "caches": sorted(str(file) for file in (repository / ".dvc/cache").rglob("*") if file.is_file()),
        "runs": sorted(run.info.run_id for run in client.search_runs(experiments)),
        "registry": [(version.version, version.tags) for version in RegisteredModel.existing(NAME).versions()],
        "aliases": RegisteredModel.existing(NAME).aliases(),
        "unsent": sorted(map(str, (repository / ".dcube").glob("unsent/*"))),
        "checkpoints": sorted(map(str, (repository / ".dcube").glob("checkpoints/*"))),
    }


@pytest.mark.slow
def test_reproduction_computes_every_stage_again_and_changes_nothing_else(
    traced_repository, tmp_path, run_dcube, monkeypatch
):
    monkeypatch.setenv("DCUBE_MAX_FRAMES", "20000")
    register_version()
    Path("stage.py").write_text("raise SystemExit('the code of today')\n")
    Path("params.yaml").write_text(Params().to_yaml())
    commit("Work goes on")
    Path("README.md").write_text("and is not committed\n")
    waiting = traced_repository / ".dcube/unsent/somebody"
    waiting.mkdir(parents=True)
    (traced_repository / ".dcube/checkpoints").mkdir()
    before = everything_kept(traced_repository)
    (tmp_path / "log.txt").unlink()

    code, shown = run_dcube("reproduce", f"{NAME}@champion")
    assert (
        code == 0
        and "Equal, byte for byte: config.json, model.safetensors, predictions.csv without pseudonyms. " in shown
    ), shown
    ran = [line.split() for line in (tmp_path / "log.txt").read_text().splitlines()]
    stages, addresses, limits = zip(*ran, strict=True)
    assert stages == ("prepared", "dcube", "dcube"), "every stage, whatever the run cache knows"
    assert all(".dcube/workspaces/" in address for address in addresses), "its runs stay in the working copy"
    assert {*limits} == {"20000"}, "the data may have needed it"
    assert everything_kept(traced_repository) == before and workspaces(traced_repository) == []


@pytest.mark.slow
def test_different_result_is_shown_and_kept(traced_repository, tmp_path, run_dcube):
    register_version()
    (tmp_path / "log.txt.chance").touch()
    code, shown = run_dcube("reproduce", f"{NAME}/1")
    assert code == 1 and "The result differs" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert any(row[:1] == ["test.macro_f1"] and row[-1] == "NO" for row in rows)
    assert not any(row[:1] == ["test.auroc"] for row in rows), "an undefined metric equals itself"
    (folder,) = workspaces(traced_repository)
    assert json.loads((folder / "outputs/evaluation/dcube/metrics.json").read_text())

    assert not (folder / ".dcube/checkpoints").exists(), "another attempt has nothing to go on with"
    (tmp_path / "log.txt.chance").unlink()
    assert run_dcube("reproduce", f"{NAME}/1")[0] == 0 and workspaces(traced_repository) == []


@pytest.mark.slow
def test_different_machine_is_reported(traced_repository, monkeypatch, run_dcube):
    register_version()
    monkeypatch.setattr("os.cpu_count", lambda: 4321)
    code, shown = run_dcube("reproduce", f"{NAME}@champion")
    assert code == 0 and "4321 cores" in " ".join(shown.split())


def test_missing_raw_data_stop_a_reproduction_before_it_starts(traced_repository, tmp_path, run_dcube):
    register_version()
    break_cache(traced_repository)
    (tmp_path / "log.txt").unlink()
    code, shown = run_dcube("reproduce", f"{NAME}@champion")
    assert code == 2 and "this version cannot be reproduced: the raw data" in shown
    assert not (tmp_path / "log.txt").exists() and workspaces(traced_repository) == []


@pytest.mark.slow
def test_failing_stage_ends_in_one_line(traced_repository, run_dcube, monkeypatch):
    register_version()
    monkeypatch.delenv("LOG")
    code, shown = run_dcube("reproduce", f"{NAME}@champion")
    assert code == 2 and shown.count("error: ") == 1
    assert shown.splitlines()[-1].startswith("error: evaluate@dcube could not be computed again")


def test_reproduction_refuses_changed_registered_weights(traced_repository, run_dcube):
    """The metrics still agree, but the weights in the registry are not those that were evaluated."""
    register_version()
    (weights,) = Path("mlruns").rglob("model.safetensors")
    weights.write_text("others")
    code, shown = run_dcube("reproduce", f"{NAME}@champion")
    assert code == 2 and "model/artifacts/dcube/model.safetensors has other contents" in shown


@pytest.mark.slow
def test_changed_workspace_is_recreated_and_parallel_reproduction_refused(traced_repository, tmp_path, run_dcube):
    register_version()
    (tmp_path / "log.txt.chance").touch()
    assert run_dcube("reproduce", f"{NAME}/1")[0] == 1
    (tmp_path / "log.txt.chance").unlink()
    (folder,) = workspaces(traced_repository)
    (folder / "stage.py").write_text("raise SystemExit('changed by hand')\n")
    with FileLock(traced_repository / ".dcube" / f"{folder.name}.lock"):
        code, shown = run_dcube("reproduce", f"{NAME}/1")
        assert code == 2 and "is being reproduced already" in shown
    assert run_dcube("reproduce", f"{NAME}/1")[0] == 0


@pytest.mark.slow
def test_real_pipeline_is_reproduced_bit_for_bit(complete: WorkingCopy, tmp_path: Path):
    """The method on the phantom: diffusion model, classifier and evaluation, trained again from the registry alone."""
    copy = complete.copy(tmp_path / "own")
    shown = copy.run("dcube", "lineage", "dcube-phantom/2").output
    assert "Nothing is missing." in shown and "diffusion training" in shown
    before = copy.run("git", "status", "--porcelain").output
    made = copy.run("dcube", "reproduce", "dcube-phantom/2").output
    assert "Equal, byte for byte: config.json, model.safetensors, reference.json, predictions.csv" in made
    assert "Running stage 'train_diffusion'" in made and "Running stage 'train_classifier'" in made
    assert copy.run("git", "status", "--porcelain").output == before
