"""Versions written by others: values from a registry are checked before they are used as a path or an argument."""

import json
from pathlib import Path

import pytest

from dcube.artifacts.checksums import sha256_of
from dcube.errors import DcubeError
from dcube.registry.champions import FIRST, Event
from dcube.registry.versions import RegisteredModel
from dcube.tracking import tags
from dcube.tracking.mlflow_client import tracking_client
from tests.support.traced_version import NAME, register_version

LOOKS = (("lineage",), ("reproduce",), ("report",))


class Forger:
    """Changes a registered version as somebody with write access could: the manifest is adapted too."""

    def __init__(self) -> None:
        self.client = tracking_client()
        run = self.client.get_run(self.client.get_model_version(NAME, "1").run_id)
        self.folder = Path(run.info.artifact_uri.removeprefix("file://"))

    def __call__(self, tag: tuple[str, str] | None = None, place: str | None = None) -> None:
        file = self.folder / "manifest.json"
        manifest = json.loads(file.read_text())
        if tag:
            self.client.set_model_version_tag(NAME, "1", *tag)
            manifest["tags"][tag[0]] = tag[1]
        if place:
            manifest["files"][place] = {}
        file.write_text(json.dumps(manifest))
        self.client.set_model_version_tag(NAME, "1", tags.MANIFEST, sha256_of(file))


@pytest.fixture
def forged(traced_repository) -> Forger:
    register_version()
    return Forger()


def refused_by_all(run_dcube, *words: str) -> None:
    for command in LOOKS:
        code, shown = run_dcube(*command, f"{NAME}/1")
        (line,) = shown.strip().splitlines()
        assert code == 2 and all(word in line for word in words), (command, line)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (tags.MODEL, "../../../outside"),
        (tags.MODEL, "/outside"),
        (tags.COMMIT, "--output=outside"),
        (tags.DATA, "../../outside"),
        (tags.REGISTRATION_RUN, "../../outside"),
    ],
)
def test_tag_is_not_used_as_a_path_or_an_option(forged, run_dcube, tag, value):
    forged((tag, value))
    refused_by_all(run_dcube, f"the tag {tag} of {NAME} version 1 is '{value}', and should be")
    code, shown = run_dcube("models", NAME)
    assert code == 0 and f"left out: the tag {tag} of {NAME} version 1" in shown, "the others are still listed"
    assert not list(Path.cwd().parent.rglob("outside"))


def test_tag_cannot_control_the_terminal(forged, run_dcube):
    forged((tags.PIPELINE, "\x1b]0;evil\x07[/bold]"))
    forged((tags.SPLIT_NOTICE, "\x1b[2J\x9b2J\u202e"))
    shown = ""
    for words in (("models", NAME), ("lineage", f"{NAME}/1")):
        code, more = run_dcube(*words)
        assert code == 0, more
        shown += more
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown) and r"\x1b]0;evil[/bold]" in shown


def test_files_are_not_written_outside_the_folder_of_the_version(forged, run_dcube, tmp_path):
    (forged.folder / "evaluation/x.txt").write_text("x")
    forged(place=f"evaluation/{'../' * 20}{tmp_path}/outside")
    code, shown = run_dcube("report", f"{NAME}/1")
    assert code == 2 and "is no path below the version" in shown and len(shown.splitlines()) == 1
    forged_place = tmp_path / "outside"
    assert not forged_place.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"when": "yesterday"}, "does not fit this version of D-Cube (when: "),
        ({"when": "2026-01-01T00:00:00"}, "a time without its time zone"),
        ({"when": 7}, "does not fit this version of D-Cube (when: "),
        ({"format_version": 2}, "has format version 2, and this version of D-Cube reads 1: use the version"),
        ({"format_version": None}, "has no format version"),
    ],
)
def test_malformed_event_is_named(forged, run_dcube, change, said):
    event = json.loads(Event.new("1", FIRST, "x", "y").text) | change
    tracking_client().set_model_version_tag(NAME, "1", f"{tags.CHAMPION}1", json.dumps(event))
    code, shown = run_dcube("models", NAME, "--history")
    assert (
        code == 2
        and f"the tag {tags.CHAMPION}1 of {NAME} version 1 " in shown
        and said in shown
        and len(shown.splitlines()) == 1
    )


def test_version_of_another_program_ends_in_one_line(traced_repository, run_dcube):
    client = tracking_client()
    client.create_registered_model("foreign")
    client.create_model_version("foreign", "file:///elsewhere")
    code, shown = run_dcube("lineage", "foreign/1")
    assert code == 1 and "no run of the version itself is named" in shown and "run None" not in shown
    for command, words in (("reproduce", "cannot be reproduced"), ("report", "this program did not register it")):
        code, shown = run_dcube(command, "foreign/1")
        assert code == 2 and words in shown and len(shown.splitlines()) == 1
    assert run_dcube("models", "foreign")[0] == run_dcube("models", "foreign", "--history")[0] == 0


def test_model_name_of_another_program_is_refused(tracking_address):
    client = tracking_client()
    client.create_registered_model("foreign")
    client.create_model_version("foreign", "file:///elsewhere")
    with pytest.raises(DcubeError, match="the registered model foreign was not created by D-Cube"):
        RegisteredModel.created(client, "foreign")
    RegisteredModel.created(client, "own")
    assert RegisteredModel.created(client, "own").name == "own", "empty, but this program's"


def test_report_refuses_an_evaluation_without_its_metrics(forged, run_dcube):
    code, shown = run_dcube("report", f"{NAME}/1")
    assert code == 2 and "has no accuracy" in shown and len(shown.splitlines()) == 1
