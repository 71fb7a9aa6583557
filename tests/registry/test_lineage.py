"""From a registered version back to what made it; and what is missing is said plainly. Over a real MLflow server."""

import http.server
import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
import yaml

from dcube.config.schema import Params
from dcube.registry.provenance import Provenance, fingerprint_at, trace
from dcube.registry.references import referenced
from dcube.tracking import lineage
from tests.support.traced_version import NAME, PARAMS, break_cache, command, commit, register_version


def traced(repository: Path, reference: str = f"{NAME}@champion") -> Provenance:
    return trace(*referenced(reference), repository)


@pytest.mark.slow
def test_everything_is_found(traced_repository, run_dcube):
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


def test_a_commit_is_hashed_like_a_folder(traced_repository):
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
    registry, version = referenced(f"{NAME}@champion")
    registry.client.delete_run(version.tags["dcube.training_run_id"])


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
def test_what_was_lost_later_is_named(traced_repository, run_dcube, damage, words, obstacle):
    register_version()
    damage(traced_repository)
    found = traced(traced_repository)
    assert len([gap for gap in found.gaps if re.search(words, gap)]) == 1, found.gaps
    assert bool(found.obstacles) == obstacle
    code, shown = run_dcube("lineage", f"{NAME}@champion")
    assert code == 1 and "missing: " in shown


def test_code_that_no_commit_has_is_named(traced_repository):
    Path("dcube/code.py").write_text("answer = 41\n")
    Path("README.md").write_text("also not committed\n")
    register_version()
    (gap,) = traced(traced_repository).obstacles
    assert "the code is in no commit" in gap and "dcube/code.py" in gap


def test_a_graph_that_no_commit_has_is_named_among_many_files(traced_repository):
    for number in range(60):
        Path(f"data-{number}.txt").touch()
    command("git", "add", ".")
    with Path("dvc.yaml").open("a") as graph:
        graph.write("# other\n")
    register_version()
    (gap,) = traced(traced_repository).obstacles
    assert "the graph is in no commit" in gap


def test_uncommitted_files_that_are_no_code_do_no_harm(traced_repository):
    Path("README.md").write_text("not committed\n")
    Path("params.yaml").write_text(Params().to_yaml())  # recorded as a whole
    register_version()
    found = traced(traced_repository)
    assert found.obstacles == [] and found.facts["code"]["not committed"] == "untracked files: 1"


def test_other_data_than_the_commits_are_named(traced_repository):
    Path("data/raw.txt").write_text("other")
    command("dvc", "add", "--quiet", "data")
    register_version()
    (gap,) = traced(traced_repository).obstacles
    assert "data.dvc of commit" in gap and "records other data" in gap


@pytest.mark.slow
def test_data_are_looked_for_in_the_remote_too(traced_repository, tmp_path):
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


class Prefect(http.server.BaseHTTPRequestHandler):
    """Knows one flow run, and asks for a password."""

    def do_GET(self):
        known = self.path.endswith("0" * 12) and self.headers["Authorization"]
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"name": "brave-owl", "state_name": "Completed"}).encode())

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_the_prefect_run_is_looked_up(traced_repository, monkeypatch):
    known, unknown = (f"{'1' * 8}-1111-1111-1111-{digit * 12}" for digit in "02")
    with http.server.HTTPServer(("127.0.0.1", 0), Prefect) as prefect:
        threading.Thread(target=prefect.serve_forever, daemon=True).start()
        monkeypatch.setenv("DCUBE_PIPELINE", known)
        register_version()
        assert "not looked up" in traced(traced_repository).facts["runs"]["Prefect run"]
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{prefect.server_port}/api")
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:secret")
        found = traced(traced_repository)
        assert found.facts["runs"]["Prefect run"] == f"{known} (brave-owl, Completed)" and found.gaps == []
        monkeypatch.setenv("DCUBE_PIPELINE", unknown)
        register_version()
        assert "does not know the flow run" in "\n".join(traced(traced_repository).gaps)
        prefect.shutdown()
    assert "does not answer" in "\n".join(traced(traced_repository).gaps) and os.environ["DCUBE_PIPELINE"] == unknown


@pytest.mark.slow
def test_through_a_server_as_from_a_file(mlflow_server, traced_template, monkeypatch):
    monkeypatch.chdir(traced_template)
    register_version()
    found = traced(traced_template)
    assert found.gaps == [] and found.params == PARAMS and found.metrics.weights_sha256
