"""`dcube evaluate`: a registered model on labelled images of another source."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import dcube
from dcube.artifacts.candidates import SUB_FEATURES
from dcube.artifacts.layout import METRICS_FILE, PREDICTIONS
from dcube.artifacts.schemas.metrics import Metrics, SubgroupColumn
from dcube.classifier.candidate import Candidate
from dcube.cli import main as cli
from dcube.cli.report import report
from dcube.config.schema import Params
from dcube.registry.external_tags import unconfirmed_external_tests
from dcube.registry.references import resolve_reference
from dcube.tracking import tags
from dcube.tracking.mlflow_client import tracking_client
from tests.support.discs import TINY
from tests.support.random_candidate import CLASSES
from tests.support.registered_model import (
    PICTURES,
    SEEN_PICTURES,
    as_seen,
    pixels,
    register_candidate,
    write_picture,
)

EACH = 6  # images per class
Run = Callable[..., str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Candidate]:
    folder = tmp_path_factory.mktemp("external")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        by = [SubgroupColumn(name=name, groups=[], hidden=0) for name in ("sex", "scanner")]
        return folder, *register_candidate(folder, Params.model_validate(TINY), SUB_FEATURES, PICTURES, subgroups=by)


@pytest.fixture
def run(home: tuple[Path, str, Candidate], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    folder, reference, _ = home
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")

    def evaluate(path: Path, *options: str, code: int = 0, name: str = "north") -> str:
        monkeypatch.setattr(sys, "argv", ["dcube", "evaluate", reference, str(path), "--name", name, *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert (ended.value.code or 0) == code
        out, err = capsys.readouterr()
        return out if code == 0 else err

    return evaluate


def hospital(folder: Path, classes: list[str] = CLASSES, first: int = 0) -> Path:
    """Class folders of images that were not used in training."""
    for kind, label in enumerate(classes):
        for number in range(EACH):
            write_picture(folder / label / f"Doe-Jane-{number}.png", first + kind * EACH + number)
    return folder


@pytest.mark.slow
def test_metrics_equal_an_independent_computation(run: Run, home: tuple[Path, str, Candidate], tmp_path: Path) -> None:
    out = run(hospital(tmp_path / "scans"), "--output", str(tmp_path / "out"))
    assert "north" in out
    assert "own test split" in out

    _, _, candidate = home
    images, small = (np.stack([as_seen(n, size) for n in range(3 * EACH)]) for size in (32, 16))
    expected = candidate.predict(images, small)
    table = pd.read_csv(tmp_path / "out" / PREDICTIONS)
    order = [CLASSES.index(label) for label in table["label"]]
    ours = table[[f"probability_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(np.sort(ours, axis=0), np.sort(expected, axis=0), atol=1e-6)
    metrics = Metrics.load(tmp_path / "out" / METRICS_FILE)
    auroc = roc_auc_score(np.eye(3)[order], ours, average="macro")
    assert metrics.test["auroc"] == pytest.approx(auroc)
    assert metrics.test["accuracy"] == pytest.approx((ours.argmax(axis=1) == order).mean())
    assert metrics.weights_sha256 == candidate.config.weights_sha256


def test_python_api_equals_the_command_and_records_only_named_tests(
    run: Run, home: tuple[Path, str, Candidate], tmp_path: Path
) -> None:
    scans, reference = hospital(tmp_path / "scans", first=300), home[1]
    test = dcube.evaluate(f"models:/{reference}", scans)
    assert not [tag for tag in resolve_reference(reference)[1].entry.tags if tag.endswith(test.metrics.dataset)]
    run(scans, "--output", str(tmp_path / "out"), name="west")
    measured = Metrics.load(tmp_path / "out" / METRICS_FILE)
    assert test.metrics == measured.model_copy(update={"model": "external", "dataset": "external"})
    assert f"{tags.EXTERNAL}west" in resolve_reference(reference)[1].entry.tags
    with pytest.raises(dcube.DcubeError, match="exists: name a new folder"):
        dcube.evaluate(dcube.load(reference), scans, output=tmp_path / "out")


def test_subgroups_of_the_own_test_are_evaluated_if_their_columns_exist(run: Run, tmp_path: Path) -> None:
    folder = hospital(tmp_path / "scans", first=400)
    rows = [
        f"{label}/Doe-Jane-{number}.png,{label},P{label}{number},{'m' if number < 2 else 'f'},Dr. Who"
        for label in CLASSES
        for number in range(EACH)
    ]
    (folder / "metadata.csv").write_text("\n".join(["file,label,patient_id,sex,reader", *rows]))
    out = run(folder, "--output", str(tmp_path / "out"), name="groups")
    assert "groups by sex: f AUROC 0." in out
    (column,) = Metrics.load(tmp_path / "out" / METRICS_FILE).subgroups
    assert column.name == "sex" and column.hidden == 1
    assert [(group.value, group.images, group.patients) for group in column.groups] == [("f", 12, 12)]
    assert "Who" not in (tmp_path / "out" / PREDICTIONS).read_text()


def test_named_test_is_recorded_without_file_names_and_forged_tags_are_found(
    run: Run, home: tuple[Path, str, Candidate], tmp_path: Path
) -> None:
    run(hospital(tmp_path / "scans", first=100), name="south")
    _, reference, _ = home
    registered_model, version = resolve_reference(reference)
    assert version.entry.tags[f"{tags.EXTERNAL}south"].startswith("AUROC 0.")
    assert "18 images" in version.entry.tags[f"{tags.EXTERNAL}south"]
    (found,) = tracking_client().search_runs(
        [registered_model.client.get_run(version.run_id).info.experiment_id], f"tags.`{tags.EXTERNAL_TEST}` = 'south'"
    )
    assert 0 <= found.data.metrics["external.auroc"] <= 1
    files = {item.path for item in registered_model.client.list_artifacts(found.info.run_id)}
    assert files == {METRICS_FILE, PREDICTIONS, "drift.json"}
    local = Path(registered_model.client.download_artifacts(found.info.run_id, PREDICTIONS, str(tmp_path)))
    assert "Doe" not in local.read_text() + json.dumps(found.to_dictionary())
    assert registered_model.verified(version, tmp_path / "files").problems == []
    assert not list(unconfirmed_external_tests(registered_model, version))
    text = version.entry.tags[f"{tags.EXTERNAL}south"]
    for name, forged, said in (
        ("south", text.replace("AUROC 0.", "AUROC 1."), "is not what run"),
        ("north", text, "is not what run"),
        ("south", "AUROC 0.999", "names no run"),
        ("south", re.sub("run [0-9a-f]{32}", f"run {'0' * 32}", text), "which is gone"),
    ):
        registered_model.client.set_model_version_tag(version.name, version.version, f"{tags.EXTERNAL}{name}", forged)
        (problem,) = unconfirmed_external_tests(registered_model, resolve_reference(reference)[1])
        assert f"'external test: {name}' " in problem and said in problem
        registered_model.client.delete_model_version_tag(version.name, version.version, f"{tags.EXTERNAL}{name}")


def test_images_of_the_models_own_data_set_are_refused(run: Run, tmp_path: Path) -> None:
    folder = hospital(tmp_path / "scans", first=200)
    write_picture(folder / CLASSES[0] / "again.png", SEEN_PICTURES[3])
    error = run(folder, code=2, name="leak")
    assert "1 of 19 images are in the data set that the model was made with" in error
    assert error.splitlines()[-1].startswith("error: ")


def test_checklist_of_the_version_has_its_confirmed_external_tests(
    run: Run, home: tuple[Path, str, Candidate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(hospital(tmp_path / "scans", first=1200), name="harbour")
    registered_model, version = resolve_reference(home[1])
    forged = f"{tags.EXTERNAL}forged"
    registered_model.client.set_model_version_tag(version.name, version.version, forged, "AUROC 0.999")
    filled = tmp_path / "filled.md"
    report(home[1], filled, checklist=True)
    registered_model.client.delete_model_version_tag(version.name, version.version, forged)
    row = next(line for line in filled.read_text().splitlines() if line.startswith("| 33 |"))
    assert re.search(r"On harbour: AUROC 0\.\d{3} .*, 18 images; run [0-9a-f]{32}", row) and "forged" not in row


def re_encoded(folder: Path, numbers: list[int]) -> None:
    """Write pictures that the model has seen, as JPEG files of quality 90."""
    for number in numbers:
        Image.fromarray(pixels(number)).save(folder / CLASSES[number % 3] / f"copy-{number}.jpg", quality=90)


def test_re_encoded_images_of_the_models_own_data_set_are_refused(run: Run, tmp_path: Path) -> None:
    folder = hospital(tmp_path / "scans", first=500)
    re_encoded(folder, [*SEEN_PICTURES][:3])
    error = run(folder, code=2, name="copies")
    assert "3 of 21 images look like copies of images in the data set that the model was made with" in error


def test_few_lookalikes_are_recorded_and_shown(run: Run, home: tuple[Path, str, Candidate], tmp_path: Path) -> None:
    folder = hospital(tmp_path / "scans", first=600)
    for label in CLASSES:
        for number in range(EACH):
            write_picture(folder / label / f"more-{number}.png", 700 + CLASSES.index(label) * EACH + number)
    re_encoded(folder, [SEEN_PICTURES[7]])
    said = "1 of 37 images look like copies of images that the model was made with"
    assert said in run(folder, "--output", str(tmp_path / "out"), name="few")
    assert Metrics.load(tmp_path / "out" / METRICS_FILE).lookalikes == 1
    registered_model, version = resolve_reference(home[1])
    tag = f"{tags.EXTERNAL}few"
    assert said in version.entry.tags[tag]
    hidden = version.entry.tags[tag].replace(f"; {said}", "")
    registered_model.client.set_model_version_tag(version.name, version.version, tag, hidden)
    (problem,) = unconfirmed_external_tests(registered_model, resolve_reference(home[1])[1])
    assert "is not what run" in problem
    registered_model.client.delete_model_version_tag(version.name, version.version, tag)


def test_class_of_one_patient_is_refused(run: Run, tmp_path: Path) -> None:
    folder = hospital(tmp_path / "scans", first=800)
    rows = [
        f"{label}/Doe-Jane-{number}.png,{label},{'Q' if label == 'normal' else f'P{number}'}"
        for label in CLASSES
        for number in range(EACH)
    ]
    (folder / "metadata.csv").write_text("\n".join(["file,label,patient_id", *rows]))
    assert "has images of the class normal from one patient only" in run(folder, code=2, name="lone")


def test_class_of_one_image_is_refused(run: Run, tmp_path: Path) -> None:
    folder = hospital(tmp_path / "scans", first=900)
    for number in range(1, EACH):
        (folder / "normal" / f"Doe-Jane-{number}.png").unlink()
    assert "has images of the class normal from one image only" in run(folder, code=2, name="lone")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([*CLASSES, "cyst"], "has the class cyst that the model does not know"),
        (CLASSES[:2], "has no image of the class normal"),
    ],
)
def test_unknown_or_missing_class_is_refused(run: Run, tmp_path: Path, classes: list[str], said: str) -> None:
    assert said in run(hospital(tmp_path / "scans", classes), code=2)


def test_image_unsuitable_for_the_model_is_refused(run: Run, tmp_path: Path) -> None:
    folder = hospital(tmp_path / "scans")
    write_picture(folder / CLASSES[0] / "huge.png", 1, shape=(300, 300))
    assert "not suitable for 1 of 19 images" in run(folder, code=2)


def test_bad_test_name_and_existing_output_folder_are_refused(run: Run, tmp_path: Path) -> None:
    folder = hospital(tmp_path / "scans")
    assert "name" in run(folder, code=2, name="St. Mary's")
    assert "exists" in run(folder, "--output", str(tmp_path), code=2)
