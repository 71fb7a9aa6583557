"""Objects from the remote are checked against their hash: a damaged one is not used."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dcube.config.schema import Params
from dcube.repository.repro import repro
from dcube.repository.workspace import workspace
from tests.support.small_pipeline import dvc, head


@pytest.mark.slow
def test_damaged_result_is_computed_again(
    repository: Path, tmp_path: Path, ran: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCUBE_PROGRESS_FILE", str(tmp_path / "progress"))
    dvc(repository, "remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    dvc(repository, "repro", "prepare")
    dvc(repository, "push", "--run-cache")
    (result,) = [
        file for file in (tmp_path / "store/files").rglob("*") if file.is_file() and b"prepared" in file.read_bytes()
    ]
    result.chmod(0o644)
    result.write_text("damaged")
    shutil.rmtree(repository / ".dvc/cache/files")
    dvc(repository, "fetch", "data.dvc")
    ran()
    with workspace(repository, head(repository), "a-run", Params().to_yaml()) as folder:
        assert repro("prepare", folder, ["--single-item", "--pull"]).ran == ("prepare",)
        assert (folder / "outputs/prepared").read_text() == "raw prepared"
    assert ran() == ["prepare"]
