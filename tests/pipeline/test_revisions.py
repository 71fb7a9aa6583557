"""After any git or DVC command, results belong to the current revision or are reported as stale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dcube.registry.staleness import stale_results
from tests.support.small_pipeline import build, rewrite

pytestmark = pytest.mark.slow

SEEDED = """
seed = [line.strip() for line in Path("params.yaml").read_text().splitlines() if "seed" in line][0]
place = out.parent / "seed.txt" if out.suffix == ".json" else out
place.write_text((place.read_text() if place.exists() else "") + seed)
record ="""


def seed_of(file: Path) -> str:
    return next(line.strip() for line in file.read_text().splitlines() if "seed" in line)


@pytest.fixture
def do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run a command, then check that results of another seed are reported as stale."""
    folder = tmp_path / "repository"
    folder.mkdir()
    build(folder)
    rewrite(folder, "stage.py", "\nrecord =", SEEDED)
    monkeypatch.chdir(folder)
    for name in ("RAN", "DCUBE_PROGRESS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))

    def do(*words: str, code: int | None = 0) -> None:
        command = [sys.executable, "-m", *words] if words[0] == "dvc" else words
        done = subprocess.run(command, capture_output=True, text=True)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        for shown in Path().glob("outputs/evaluation/*/seed.txt"):
            assert list(stale_results(Path("outputs"))) or seed_of(shown) == seed_of(Path("params.yaml")), words

    return do


def committed(do, seed: int) -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace(seed_of(Path("params.yaml")), f"seed: {seed}"))
    do("dvc", "repro")
    do("git", "add", "--all")
    do("git", "commit", "-qm", f"seed {seed}")


def test_results_of_another_revision_are_reported_as_stale(do, tmp_path: Path) -> None:
    committed(do, 1)
    do("git", "switch", "-qc", "other")
    committed(do, 2)
    do("git", "switch", "-q", "-")
    assert list(stale_results(Path("outputs"))), "the files are the other branch's"
    do("dvc", "checkout")
    assert list(stale_results(Path("outputs"))) == []
    do("dvc", "gc", "--workspace", "--force")
    do("git", "switch", "-q", "other")
    do("dvc", "checkout", code=None)  # may fail: gc has deleted objects
    assert list(stale_results(Path("outputs")))
    do("dvc", "repro")
    assert list(stale_results(Path("outputs"))) == []
    do("dvc", "exp", "run", "--queue", "--name", "queued", "-S", "data.seed=3")
    do("dvc", "exp", "run", "--run-all")
    do("dvc", "exp", "apply", "queued")
    do("dvc", "exp", "remove", "queued")
    do("git", "checkout", "-q", ".")
    do("dvc", "gc", "--all-branches", "--force")
    do("dvc", "checkout", code=None)


def test_result_missing_in_the_remote_is_computed_again(do, tmp_path: Path) -> None:
    committed(do, 1)
    do("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    do("git", "commit", "-qam", "A remote")
    do("dvc", "push")
    for file in (tmp_path / "store/files/md5").rglob("*"):
        if file.is_file() and file.read_bytes() == Path("outputs/model").read_bytes():
            file.unlink()
    do("git", "clone", "-q", ".", str(tmp_path / "clone"))
    os.chdir(tmp_path / "clone")
    do("dvc", "pull", code=None)
    assert not Path("outputs/model").exists() and "outputs/model" in next(stale_results(Path("outputs")))
    do("dvc", "repro")
    assert list(stale_results(Path("outputs"))) == []
