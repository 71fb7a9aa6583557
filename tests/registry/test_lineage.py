"""From a registered version back to its code, data and runs; what is missing is named."""

import re
import shutil
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed

from dcube.config.schema import Params
from dcube.registry.lineage_from_repository import fingerprint_at
from dcube.registry.provenance import Provenance
from dcube.registry.references import resolve_reference
from dcube.registry.version_lineage import lineage_of
from dcube.tracking import lineage
from tests.support.traced_version import NAME, PARAMS, break_cache, command, commit, register_version


def traced(repository: Path, reference: str = f"{NAME}@champion") -> Provenance:
    return lineage_of(*resolve_reference(reference), repository)


@pytest.mark.slow
def test_lineage_finds_everything(traced_repository, run_dcube):
    register_version()
    found = traced(traced_repository)
    assert found.gaps == [] and found.obstacles == []
    assert found.facts["code"]["commit"] == command("git", "rev-parse", "HEAD").strip()
    assert "A small pipeline" in found.facts["code"]["commit says"]
    assert (
        found.facts["parameters"]["classifier.epochs"] == "7" and "classifier.dropout" not in found.facts["parameters"]
    )
    assert found.params == PARAMS
    recorded = yaml.safe_load(Path("data.dvc").read_text())["outs"][0]["md5"]
    assert found.facts["data"]["raw data (DVC)"] == recorded and "cache" in found.facts["data"]["raw data are"]
    assert set(found.facts["DVC outputs"]) == {"outputs/models/dcube", "outputs/prepared"}
    assert {"training", "evaluation", "registration"} <= found.facts["runs"].keys()
    assert found.facts["machine"]["torch"] and len(found.packages) > 50
    code, shown = run_dcube("lineage", f"{NAME}/1")
    assert code == 0 and "Nothing is missing." in shown and recorded in shown


def test_code_has_the_same_fingerprint_in_commit_and_folder(traced_repository):
    assert fingerprint_at(traced_repository, "HEAD") == lineage.code_fingerprint(Path("dcube"))
    Path("dcube/notes.txt").write_text("not code")
    Path("dcube/config/presets").mkdir(parents=True)
    Path("dcube/config/presets/phantom.yaml").write_text("a: 1\n")
    commit("More")
    assert fingerprint_at(traced_repository, "HEAD") == lineage.code_fingerprint(Path("dcube"))
    assert fingerprint_at(traced_repository, "HEAD") != fingerprint_at(traced_repository, "HEAD~1")


def break_commit(repository: Path) -> None:
    command("git", "checkout", "--quiet", "--orphan", "other")
    commit("History rewritten")
    command("git", "branch", "-D", "main") if "main" in command("git", "branch") else command(
        "git", "branch", "-D", "master"
    )
    command("git", "reflog", "expire", "--expire=now", "--all")
    command("git", "gc", "--quiet", "--prune=now")


def break_runs(repository: Path) -> None:
    registered_model, version = resolve_reference(f"{NAME}@champion")
    registered_model.client.delete_run(version.tags["dcube.training_run_id"])


def break_artifacts(repository: Path) -> None:
    for folder in Path("mlruns").rglob("origin"):
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "words", "obstacle"),
    [
        (break_commit, "is not in .*: `git fetch` it", True),
        (break_cache, "not in the cache of this repository, which knows no DVC remote", True),
        (break_runs, r"the run of the training \(\w+\) was deleted", False),
        (break_artifacts, "params.yaml is gone", True),
    ],
)
def test_losses_after_registration_are_named(traced_repository, run_dcube, damage, words, obstacle):
    register_version()
    damage(traced_repository)
    found = traced(traced_repository)
    assert len([gap for gap in found.gaps if re.search(words, gap)]) == 1, found.gaps
    assert bool(found.obstacles) == obstacle
    code, shown = run_dcube("lineage", f"{NAME}@champion")
    assert code == 1 and "missing: " in shown


def test_uncommitted_code_is_named(traced_repository):
    Path("dcube/code.py").write_text("answer = 41\n")
    Path("README.md").write_text("also not committed\n")
    register_version()
    (gap,) = traced(traced_repository).obstacles
    assert "the code is in no commit" in gap and "dcube/code.py" in gap


def test_uncommitted_dvc_yaml_is_named_among_many_files(traced_repository):
    for number in range(60):
        Path(f"data-{number}.txt").touch()
    command("git", "add", ".")
    with Path("dvc.yaml").open("a") as graph:
        graph.write("# other\n")
    register_version()
    (gap,) = traced(traced_repository).obstacles
    assert "the graph is in no commit" in gap


def test_uncommitted_files_other_than_code_are_accepted(traced_repository):
    Path("README.md").write_text("not committed\n")
    Path("params.yaml").write_text(Params().to_yaml())  # harmless: every version records all parameters
    register_version()
    found = traced(traced_repository)
    assert found.obstacles == [] and found.facts["code"]["not committed"] == "untracked files: 1"


def test_data_that_differ_from_the_commit_are_named(traced_repository):
    Path("data/raw.txt").write_text("other")
    command("dvc", "add", "--quiet", "data")
    register_version()
    (gap,) = traced(traced_repository).obstacles
    assert "data.dvc of commit" in gap and "records other data" in gap


@pytest.mark.slow
def test_raw_data_are_also_looked_up_in_the_remote(traced_repository, tmp_path):
    command("dvc", "remote", "add", "--quiet", "--default", "shelf", str(tmp_path / "shelf"))
    commit("A remote")
    command("dvc", "push", "--quiet", "data")
    register_version()
    break_cache(traced_repository)
    found = traced(traced_repository)
    assert found.obstacles == [] and found.facts["data"]["raw data are"] == "complete in the DVC remote"
    for file in (tmp_path / "shelf").rglob("*"):
        if file.is_file() and not file.name.endswith(".dir"):
            file.unlink()
    assert "1 objects are neither" in traced(traced_repository).obstacles[0]


@pytest.mark.slow
def test_prefect_run_is_looked_up(prefect_server, traced_repository, run_dcube, monkeypatch):
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(Flow(lambda: None, name="pipeline"), name="brave-owl", state=Completed())

    def register(pipeline: UUID) -> None:
        monkeypatch.setenv("DCUBE_PIPELINE", str(pipeline))
        register_version()

    def shown(address: str) -> str:
        monkeypatch.setenv("PREFECT_API_URL", address)
        return " ".join(run_dcube("lineage", f"{NAME}@champion")[1].split())

    address = str(PREFECT_API_URL.value())
    register(run.id)
    text = shown(address)
    assert f"{run.id} (Prefect run brave-owl, Completed)" in text and "Nothing is missing" in text
    assert "PREFECT_API_URL is not set: not looked up" in shown("")
    assert "missing: the Prefect server http://127.0.0.1:9/api does not answer" in shown("http://127.0.0.1:9/api")
    register(uuid4())
    assert f"missing: the Prefect server {address} does not know the flow run" in shown(address)


@pytest.mark.slow
def test_lineage_works_through_an_mlflow_server(mlflow_server, traced_template, monkeypatch):
    monkeypatch.chdir(traced_template)
    register_version()
    found = traced(traced_template)
    assert found.gaps == [] and found.params == PARAMS and found.metrics.weights_sha256
