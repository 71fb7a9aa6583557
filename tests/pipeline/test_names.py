"""A person's name in the raw data, taken through every step of the README: nothing that is written holds it.

It belongs in the raw data, in DVC's cache and private state of them, and in the predictions that a user asks for. The
repository is one without tests, which contain the name.
"""

import json
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL

from dcube.config.loading import with_settings
from dcube.config.schema import Params
from flows.pipeline import pipeline
from tests.data.test_privacy import NAME, found_in, leaks
from tests.support.discs import CLASSES
from tests.support.parameter_limits import BASE
from tests.support.raw_sets import save, write_metadata
from tests.support.waiting import wait_until
from tests.support.working_copy import WorkingCopy

PATIENTS, IMAGES_EACH = 30, 3


def with_names(raw: Path) -> Path:
    """Images in folders of the patients' names, which also are in their own names and in the table."""
    rows = []
    generator = np.random.default_rng(0)
    for patient in range(PATIENTS):
        label = CLASSES[patient % len(CLASSES)]
        for number in range(IMAGES_EACH):
            file = f"{NAME} {patient}/{NAME}_Anna-{patient}_{number}.png"
            grey = 30 + 60 * (patient % len(CLASSES)) + generator.integers(0, 40, (32, 32))
            save(raw / file, grey.astype(np.uint8))
            rows.append({"file": file, "label": label, "patient_id": f"{NAME}, Anna {patient}"})
    return write_metadata(raw, rows)


def objects_of_git(folder: Path) -> bytes:
    command = ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout


def remove_raw_data(folder: Path) -> None:
    """Remove the data set, and what DVC's cache holds of it."""
    shutil.rmtree(folder / "data")
    cache = folder / ".dvc/cache/files/md5"
    for listing in cache.glob("*/*.dir"):
        entries = json.loads(listing.read_bytes())
        if all(one["relpath"].startswith("ward/") for one in entries):
            listing.unlink()
            for one in entries:
                (cache / one["md5"][:2] / one["md5"][2:]).unlink(missing_ok=True)


def database_of_prefect() -> bytes:
    """The server's database, with what SQLite has not merged into its main file yet."""
    file = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).partition("///")[2])
    return b"".join(part.read_bytes() for part in file.parent.glob(f"{file.name}*"))


@pytest.mark.slow
def test_no_step_of_the_readme_writes_a_patient_name(
    tmp_path: Path,
    mlflow_database: Path,
    prefect_server: None,
    run_dcube: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw, asked, work, private = (tmp_path / name for name in ("raw", "asked", "work", "private"))
    with_names(raw)
    copy = WorkingCopy.of_this_code(work, without="tests")
    shutil.copyfile(mlflow_database, work / "mlflow.db")
    variables = {
        "DCUBE_SALT_FILE": tmp_path / "salt", "DCUBE_INFERENCE_LOG": private / "predictions.jsonl",
        "HOME": private / "home", "TMPDIR": private / "tmp",
    }  # fmt: skip
    (private / "tmp").mkdir(parents=True)
    (private / "home").mkdir()
    for variable, path in variables.items():
        monkeypatch.setenv(variable, str(path))
        copy.environment[variable] = str(path)
    for variable in ("MLFLOW_TRACKING_URI", "DCUBE_STORAGE", "DCUBE_PIPELINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(work)
    copy.run("git", "init", "--quiet")
    state = tmp_path / "state"
    copy.dvc("config", "--local", "core.site_cache_dir", str(state))  # by default in /var/tmp

    def done(*words: str | Path) -> str:
        code, printed = run_dcube(*map(str, words))
        assert code == 0, printed
        return printed

    done("data", "check", raw)
    done("data", "add", "ward", raw)
    copy.commit()
    printed = [done("plan", "ward", "--minutes", "240")]
    params = Params.model_validate(
        BASE.model_dump() | {"data": {"name": "ward", "image_size": 32, "diffusion_image_size": 16}}
    )
    (work / "params.yaml").write_text(params.to_yaml())
    copy.commit()
    (work / f"{NAME} notes.txt").touch()  # not committed
    trained = copy.dvc("repro")
    printed += [trained.output, trained.errors]
    printed += [done(command) for command in ("results", "models", "report")]
    printed.append(done("lineage", "dcube-ward@champion"))
    asked.mkdir()
    done("predict", "dcube-ward@champion", raw, "--output", asked / "table.csv", "--heatmaps", asked / "maps")
    ran = pipeline(with_settings(params, ["data.seed=1"]), targets=["prepare"], return_state=True)
    assert ran.is_completed(), ran.message

    assert found_in((asked / "table.csv").read_bytes()), "the search finds the name where it belongs"
    (work / f"{NAME} notes.txt").unlink()
    remove_raw_data(work)
    assert leaks(work) == []
    assert leaks(private) == []
    assert leaks(state) and {stat.S_IMODE(folder.stat().st_mode) for folder in state.glob("repo/*")} == {0o700}
    assert not found_in(objects_of_git(work))
    assert not found_in("".join(printed).encode())
    wait_until(lambda: b"Saved as an experiment" in database_of_prefect())  # logs arrive a moment later
    assert not found_in(database_of_prefect())
