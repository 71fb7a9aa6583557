"""Any changed, removed or added file, tag, parameter or metric of a registered version is noticed.

The tests look for these in the store itself, not in the version's manifest.
"""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlparse

import pytest

from dcube.artifacts.layout import PREPARED
from dcube.config.schema import Params
from dcube.errors import DcubeError
from dcube.registry.download import download_version
from dcube.registry.version_lineage import lineage_of
from dcube.registry.versions import CHAMPION, RegisteredModel
from dcube.stages import register
from dcube.tracking import tags
from tests.support.discs import TINY, write_dataset
from tests.support.evaluated_candidates import NAME, write_evaluated
from tests.support.traced_version import NAME as TRACED
from tests.support.traced_version import register_version

PEOPLE_WRITE = {"mlflow.note.content", "mlflow.runName"}


@pytest.fixture(scope="module")
def registered_model(tmp_path_factory, mlflow_database) -> Iterator[RegisteredModel]:
    """One version, registered by the stage, in a copy such as `dvc exp run --temp` makes: the database is elsewhere."""
    home = tmp_path_factory.mktemp("tampering")
    params = Params.model_validate(TINY)
    with pytest.MonkeyPatch.context() as patch:
        (home / "copy").mkdir()
        patch.chdir(home / "copy")
        address = f"sqlite:///{shutil.copyfile(mlflow_database, home / 'mlflow.db')}"
        patch.setenv("DVC_ROOT", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_dataset(PREPARED)
        Path("params.yaml").write_text(params.to_yaml())
        write_evaluated("dcube", seed=0, auroc=0.8, right=20, params=params)
        register.main()
        patch.delenv("DVC_ROOT")
        patch.setenv("MLFLOW_TRACKING_URI", address)
        yield RegisteredModel.existing(NAME)


def problems(registered_model: RegisteredModel) -> list[str]:
    with TemporaryDirectory() as folder:
        return registered_model.verified(registered_model.version("1"), Path(folder)).problems


def stored(registered_model: RegisteredModel) -> list[Path]:
    """Every file that belongs to the version."""
    version = registered_model.version("1")
    registration = Path(urlparse(registered_model.client.get_run(version.registration_run_id).info.artifact_uri).path)
    model = registered_model.client.get_logged_model(version.entry.source.removeprefix("models:/")).artifact_location
    folders = [Path(urlparse(model).path), Path(urlparse(version.run.info.artifact_uri).path)]
    files = [
        file for folder in [*folders, registration / "origin", registration / "report"] for file in folder.rglob("*")
    ]
    return [file for file in files if file.is_file() and not {"__pycache__", "manifest.json"} & set(file.parts)]


@contextmanager
def changed(file: Path, content: bytes | None) -> Iterator[None]:
    """The file with other content for a while; None removes it."""
    before = file.read_bytes() if file.exists() else None
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        if before is not None:
            file.write_bytes(before)


def flipped(file: Path) -> bytes:
    content = bytearray(file.read_bytes() or b"\0")
    content[len(content) // 2] ^= 1
    return bytes(content)


def test_untouched_version_has_no_problems(registered_model):
    assert problems(registered_model) == []
    names = {file.name for file in stored(registered_model)}
    assert {"MLmodel", "config.json", "model.safetensors", "predictions.csv", "metrics.json", "params.yaml"} <= names


@pytest.mark.slow
def test_changed_byte_in_any_file_is_noticed(registered_model):
    """All files are changed at once, to compare only once; each must be named."""
    files = stored(registered_model)
    before = {file: file.read_bytes() for file in files}
    try:
        for file in files:
            file.write_bytes(flipped(file))
        found = problems(registered_model)
    finally:
        for file, content in before.items():
            file.write_bytes(content)
    assert len(found) == len(files) and all("has other contents" in problem for problem in found)
    assert problems(registered_model) == []


@pytest.mark.slow
def test_removed_and_added_files_are_noticed(registered_model):
    """Every second file is removed, then the others, so that each is named itself and not only its folder."""
    files = stored(registered_model)
    for gone in (files[::2], files[1::2]):
        with ExitStack() as removed:
            for file in gone:
                removed.enter_context(changed(file, None))
            found = problems(registered_model)
        told = "; ".join(found)
        for name in (file.as_posix().partition("/artifacts/")[2] for file in gone):
            assert f"{name} is gone" in told or f"the files of {name.partition('/')[0]} are gone" in told, name
        assert len(found) == len(gone)
    more = {file.with_name("more.txt") for file in files}
    with ExitStack() as added:
        for file in more:
            added.enter_context(changed(file, b"more"))
        found = problems(registered_model)
    assert len(found) == len(more) and all("more.txt was added later" in problem for problem in found)
    assert problems(registered_model) == []


@pytest.mark.slow
def test_changed_and_removed_tags_are_noticed(registered_model):
    version = registered_model.version("1")
    client, run_id = registered_model.client, version.run_id

    def change(name: str, value: str) -> None:
        if name in version.entry.tags:
            client.set_model_version_tag(NAME, "1", name, value)
        else:
            client.set_tag(run_id, name, value)

    def remove(name: str) -> None:
        if name in version.entry.tags:
            client.delete_model_version_tag(NAME, "1", name)
        else:
            client.delete_tag(run_id, name)

    known = {
        name: value
        for name, value in version.tags.items()
        if name not in {*PEOPLE_WRITE, tags.MANIFEST} and not name.startswith(tags.CHAMPION)
    }
    assert len(known) > 20
    found = {}
    for act, word in ((lambda name: change(name, "other"), "'other'"), (remove, "missing")):
        for name in known:
            act(name)
        found[word] = problems(registered_model)
    for name, value in known.items():
        change(name, value)
    for word, told in found.items():
        assert told == [f"tag {name} is {word}, and was registered as {known[name]!r}" for name in sorted(known)]
    client.set_model_version_tag(NAME, "1", "reviewed", "by Ada")
    assert problems(registered_model) == [], "people may add their own"
    client.set_model_version_tag(NAME, "1", tags.SPLIT_NOTICE, "none")
    assert [tags.SPLIT_NOTICE in problem for problem in problems(registered_model)] == [True]
    client.delete_model_version_tag(NAME, "1", tags.SPLIT_NOTICE)


@pytest.mark.slow
def test_changed_parameters_and_metrics_are_noticed(registered_model):
    """They are changed in the database, since MLflow itself changes no parameter."""
    version = registered_model.version("1")
    database = registered_model.client.tracking_uri.removeprefix("sqlite:///")
    with sqlite3.connect(database) as connection:
        before = {
            table: connection.execute(f"SELECT rowid, value FROM {table}").fetchall()
            for table in ("params", "latest_metrics")
        }
        connection.execute("UPDATE params SET value = value || '1'")
        connection.execute("UPDATE latest_metrics SET value = value + 1")
    found = problems(registered_model)
    with sqlite3.connect(database) as connection:
        for table, rows in before.items():
            connection.executemany(
                f"UPDATE {table} SET value = ? WHERE rowid = ?", [(value, row) for row, value in rows]
            )
    expected = {f"parameter {name}" for name in version.run.data.params}
    expected |= {f"metric {name}" for name in version.run.data.metrics}
    assert len(expected) > 40 and {problem.partition(" is ")[0] for problem in found} == expected
    assert problems(registered_model) == []


def test_changed_or_missing_manifest_is_noticed(registered_model):
    version = registered_model.version("1")
    file = Path(urlparse(version.run.info.artifact_uri).path) / "manifest.json"
    for content, words in ((flipped(file), "is not the one that the tag"), (None, "is gone")):
        with changed(file, content):
            assert [words in problem for problem in problems(registered_model)] == [True]
    digest = version.entry.tags[tags.MANIFEST]
    registered_model.client.set_model_version_tag(NAME, "1", tags.MANIFEST, "0" * 64)
    assert ["is not the one" in problem for problem in problems(registered_model)] == [True]
    registered_model.client.delete_model_version_tag(NAME, "1", tags.MANIFEST)
    assert ["has no tag" in problem for problem in problems(registered_model)] == [True]
    registered_model.client.set_model_version_tag(NAME, "1", tags.MANIFEST, digest)
    assert problems(registered_model) == []


@pytest.mark.slow
def test_download_and_promotion_refuse_any_changed_file(registered_model, tmp_path):
    whole = download_version(f"{NAME}@{CHAMPION}", tmp_path / "whole")
    assert whole.version == "1" and registered_model.predictions(registered_model.version("1")).classes
    used = {file.name for file in (tmp_path / "whole").rglob("*")}
    files = [file for file in stored(registered_model) if file.name in used]
    assert len(files) >= 10
    for number, file in enumerate(files):
        with changed(file, flipped(file)):
            named = f"{NAME}/1 is not what was registered: .*{re.escape(file.name)} has other contents"
            with pytest.raises(DcubeError, match=named):
                download_version(f"{NAME}@{CHAMPION}", tmp_path / str(number))
            with pytest.raises(DcubeError, match=named):
                registered_model.predictions(registered_model.version("1"))


def test_lineage_names_every_changed_file(registered_model):
    files = stored(registered_model)
    with ExitStack() as stack:
        for file in files:
            stack.enter_context(changed(file, flipped(file)))
        gaps = lineage_of(registered_model, registered_model.version("1"), Path.cwd()).gaps
    assert len([gap for gap in gaps if "has other contents" in gap]) == len(files)


@pytest.mark.slow
def test_forged_event_is_noticed(registered_model):
    """Every event is stored with its version and with the registered model."""
    (event,) = registered_model.history()
    forged = event.model_copy(update={"who": "Mallory"})
    other = forged.model_copy(update={"when": "2031-01-01T00:00:00+00:00"})
    client = registered_model.client
    assert registered_model.champion_moved_by_hand() == ""
    for forge, mend in (
        (
            lambda: client.set_model_version_tag(NAME, "1", event.key, forged.text),
            lambda: client.set_model_version_tag(NAME, "1", event.key, event.text),
        ),
        (
            lambda: client.set_model_version_tag(NAME, "1", other.key, other.text),
            lambda: client.delete_model_version_tag(NAME, "1", other.key),
        ),
        (
            lambda: client.set_registered_model_tag(NAME, other.key, other.text),
            lambda: client.delete_registered_model_tag(NAME, other.key),
        ),
        (
            lambda: client.delete_model_version_tag(NAME, "1", event.key),
            lambda: client.set_model_version_tag(NAME, "1", event.key, event.text),
        ),
    ):
        forge()
        assert "differs between its version and the registered model" in registered_model.champion_moved_by_hand()
        mend()
        assert registered_model.champion_moved_by_hand() == ""


@pytest.mark.slow
def test_lineage_and_reproduce_refuse_a_changed_version(traced_repository, run_dcube):
    register_version()
    for name in ("params.yaml", "model.safetensors", "predictions.csv"):
        (file,) = Path("mlruns").rglob(name)
        with changed(file, flipped(file)):
            code, shown = run_dcube("lineage", f"{TRACED}/1")
            assert code == 1 and f"{name} has other contents" in " ".join(shown.split())
            code, shown = run_dcube("reproduce", f"{TRACED}/1")
            assert code == 2 and "it is not what was registered" in shown and name in shown
    code, shown = run_dcube("lineage", f"{TRACED}/1")
    assert code == 0 and "Compared with what was registered: " in shown
