"""`dcube predict`: the output equals the model's predictions for the same pixels and names no patient."""

import copy
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as installed_version
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import dcube
from dcube.artifacts.candidates import DCUBE, SUB_FEATURES
from dcube.artifacts.schemas.decision import DecisionPolicy, DecisionRule, OperatingPoint, PredictionSets
from dcube.classifier.candidate import Candidate, probabilities, save_candidate
from dcube.cli import main as cli
from dcube.config.schema import Params
from dcube.data.preprocessing import to_square
from dcube.errors import DcubeError
from dcube.inference.inputs import collect_images
from dcube.inference.output import as_json
from dcube.inference.prediction import predict
from dcube.registry.versions import RegisteredModel
from tests.support.discs import TINY
from tests.support.registered_model import (
    COMMIT,
    NAME,
    PICTURES,
    SCANS,
    hounsfield,
    pixels,
    register_candidate,
    write_dicom,
    write_picture,
)

CLASSES = ["benign", "malignant", "normal"]
TINY_PARAMS = Params.model_validate(TINY)
COLUMNS = [f"probability_{name}" for name in CLASSES]


@dataclass
class Asking:
    """A registered version, and `dcube predict` with it."""

    reference: str
    candidate: Candidate

    def command(self, capsys, *words: object) -> tuple[int, str, str]:
        """Exit code, output and errors without the line of progress."""
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr("sys.argv", ["dcube", "predict", self.reference, *map(str, words)])
            cli.main()
        told = capsys.readouterr()
        errors = [line for line in told.err.splitlines() if not line.startswith("Predicting with ")]
        return int(ended.value.code or 0), told.out, "\n".join(errors)

    def rows(self, capsys, *words: object, refused: bool = False) -> pd.DataFrame:
        """The predictions as a table; the command must succeed, or end with 2 where `refused`."""
        code, out, err = self.command(capsys, *words, "--format", "json")
        assert code == (2 if refused else 0), err
        return pd.DataFrame(json.loads(out))


@pytest.fixture(scope="module")
def home(tmp_path_factory, mlflow_database):
    """A folder whose registry holds the versions that the other fixtures register."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copyfile(mlflow_database, folder / 'mlflow.db')}")
        yield folder


@pytest.fixture(scope="module")
def of_pictures(home) -> Asking:
    return Asking(*register_candidate(home, TINY_PARAMS, SUB_FEATURES, PICTURES))


@pytest.fixture(scope="module")
def of_scans(home) -> Asking:
    return Asking(*register_candidate(home, TINY_PARAMS, DCUBE, SCANS))


def by_hand(candidate: Candidate, images: list[Image.Image]) -> np.ndarray:
    """Calibrated probabilities, computed from the networks and the temperature formula."""
    large, small = (torch.from_numpy(np.stack([to_square(one, s, 1, "crop") for one in images])) for s in (32, 16))
    plain = probabilities(candidate.head, candidate.uvit, large, small, [1]).double().numpy()
    sharpened = plain ** (1 / 1.5)
    return sharpened / sharpened.sum(axis=1, keepdims=True)


def test_predictions_of_images_equal_those_of_the_model(of_pictures, capsys, tmp_path):
    files = [write_picture(tmp_path / "in" / f"{n}.png", n) for n in range(3)]
    rows = of_pictures.rows(capsys, tmp_path / "in")
    assert list(rows["image"]) == [str(file) for file in files]
    expected = by_hand(of_pictures.candidate, [Image.fromarray(pixels(n)) for n in range(3)])
    np.testing.assert_allclose(rows[COLUMNS].to_numpy(), expected, atol=1e-6)
    assert list(rows["decision"]) == list(rows["prediction"]) == [CLASSES[i] for i in expected.argmax(axis=1)]
    np.testing.assert_allclose(rows["entropy"], -(expected * np.log(expected)).sum(axis=1) / np.log(3), atol=1e-6)
    assert rows["spread"].isna().all()  # this kind of model uses no timestep


def test_predict_and_the_registry_warn_of_a_split_by_image(home, capsys, tmp_path):
    changes = {"grouping": "none", "split_origin": "official"}
    model = Asking(*register_candidate(home, TINY_PARAMS, SUB_FEATURES, PICTURES, **changes))
    code, out, err = model.command(capsys, write_picture(tmp_path / "0.png", 0), "--format", "json")
    assert code == 0 and len(json.loads(out)) == 1
    assert "Official split by image: metrics are likely too high" in err
    version = RegisteredModel.existing(NAME).version(model.reference.partition("/")[2])
    assert "Official split by image: metrics are likely too high" in version.description


def test_python_api_predicts_as_the_command_does(of_scans, capsys, tmp_path):
    for number, patient in enumerate(("Doe-Jane", "Doe-Jane", "P2")):
        write_dicom(tmp_path / "in" / f"{number}.dcm", number, patient)
    write_picture(tmp_path / "in" / "other.png", 1)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    model = dcube.load(f"models:/{of_scans.reference}")
    predictions = model.predict(tmp_path / "in", decide="malignant >= 0.2")

    assert (f"{model.name}/{model.version}", model.classes) == (of_scans.reference, CLASSES)
    rule = ("--decide", "malignant >= 0.2")
    told = of_scans.rows(capsys, tmp_path / "in", *rule, refused=True).drop(columns="predicted_at")
    pd.testing.assert_frame_equal(pd.DataFrame(json.loads(as_json(predictions.table)))[told.columns], told)
    patients = of_scans.rows(capsys, tmp_path / "in", *rule, "--by-patient", refused=True)
    assert list(predictions.by_patient()["images"]) == list(patients["images"]) == [2, 1, 0]

    first = predictions[0]
    assert list(first.probabilities) == CLASSES and sum(first.probabilities.values()) == pytest.approx(1)
    assert first.confidence == first.probabilities[first.prediction]
    assert (first.decision, first.decided_by) == (told["decision"][0], "malignant >= 0.2")
    assert [row.image for row in predictions.refused] == [str(tmp_path / "in" / "other.png")]
    assert predictions.left_out == {"not an image": [f"{tmp_path}/in/notes.txt"]}


def test_log_contains_every_prediction_and_no_patient_name(of_scans, capsys, tmp_path, monkeypatch):
    log = tmp_path / "audit" / "predictions.jsonl"
    monkeypatch.setenv("DCUBE_INFERENCE_LOG", str(log))
    write_dicom(tmp_path / "in" / "Doe-Jane.dcm", 1, "Doe-Jane")
    write_picture(tmp_path / "in" / "refused.png", 1)
    rows = of_scans.rows(capsys, tmp_path / "in", refused=True)
    first = log.read_text()
    dcube.load(of_scans.reference).predict(tmp_path / "in")
    assert log.read_text().startswith(first) and len(log.read_text().splitlines()) == 2
    logged, shown = json.loads(first), rows.iloc[0].drop(["image", "problem"]).to_dict()
    assert logged.pop("format_version") == 1
    assert 0 < logged.pop("brightness") < 255 and all(logged.pop(name) >= 0 for name in ("contrast", "dark", "bright"))
    assert logged == pytest.approx(shown) and set(logged) == set(shown)
    assert "Doe" not in log.read_text() and "refused" not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_monitor_counts_feedback_by_period(of_pictures, run_dcube, tmp_path, monkeypatch):
    log = tmp_path / "predictions.jsonl"
    monkeypatch.setenv("DCUBE_INFERENCE_LOG", str(log))
    assert f"{log} is missing" in run_dcube("monitor", of_pictures.reference)[1]
    predictions = dcube.load(of_pictures.reference).predict([write_picture(tmp_path / f"{n}.png", n) for n in range(3)])
    first, second, _ = predictions
    wrong = next(name for name in CLASSES if name != second.decision)
    assert run_dcube("feedback", first.input_sha256, wrong, "--by", "Dr Lee")[0] == 0
    assert (
        run_dcube("feedback", first.input_sha256[:12], first.decision)[0] == 0
    )  # the truth has priority over a reader
    assert run_dcube("feedback", second.input_sha256, wrong)[0] == 0
    with log.open("a") as file:
        file.write('{"torn')
        file.write("\n")
    before = log.read_text()
    for words, said in (
        (("f" * 64, "benign"), "no prediction for an image whose input_sha256 begins with 'ffff"),
        ((first.input_sha256[:7], "benign"), f"{first.input_sha256[:7]!r} has 7 of the 64 digits"),
        ((first.input_sha256, "benign", "--by", ""), "give `truth`, or a reader's name"),
        ((second.input_sha256, "cyst"), "no class 'cyst'"),
    ):
        code, printed = run_dcube("feedback", *words)
        assert code == 2 and said in " ".join(printed.split())
    assert log.read_text() == before
    code, printed = run_dcube("monitor", of_pictures.reference, "--every", "day")
    assert f"{first.decision}: " in printed and f"{wrong}: " in printed  # sensitivity
    assert code == 0 and "1 of 2 with feedback" in printed and str(datetime.now(UTC).date()) in printed
    assert "Reader Dr Lee: 0 of 1 images as predicted; 0 of 1 with a confirmed class correct." in printed
    assert "left out: 1 × damaged line" in printed
    lines = [line for line in before.splitlines(keepends=True) if '"truth"' not in line]
    log.write_text("".join(lines))
    assert "Reader Dr Lee: 0 of 1 images as predicted.\n" in run_dcube("monitor", of_pictures.reference)[1]
    log.write_text(before + "".join(line for line in lines if '"confidence"' in line) * 19)
    monkeypatch.setenv("COLUMNS", "80")
    printed = run_dcube("monitor", of_pictures.reference)[1]
    assert "Drift: " in printed and "20 of 40 with feedback" in printed
    assert "A wider terminal also shows: abstained." in printed
    log.write_text(before.replace(of_pictures.candidate.config.weights_sha256, "0" * 64))
    assert "the log has no prediction of" in run_dcube("monitor", of_pictures.reference)[1]


def test_python_api_raises_dcube_errors(of_pictures, tmp_path):
    model = dcube.load(of_pictures.reference)
    for paths, said in (([], "no path is given"), (tmp_path / "away", "away does not exist")):
        with pytest.raises(dcube.DcubeError, match=said):
            model.predict(paths)
    with pytest.raises(dcube.DcubeError, match="no class 'cyst'"):
        model.predict(write_picture(tmp_path / "0.png", 0), decide="cyst >= 0.1")
    with pytest.raises(dcube.DcubeError, match="is not a folder"):
        model.predict(tmp_path / "0.png", heatmaps=tmp_path / "0.png")
    with pytest.raises(dcube.DcubeError, match="names no version"):
        dcube.load("models:/dcube-asked")


def test_package_import_loads_no_heavy_modules():
    said = "import dcube, sys; print({'torch', 'mlflow', 'pandas'} & set(sys.modules), dcube.__version__)"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True).stdout.startswith("set() ")


@pytest.mark.parametrize("pack", ["zip", "tar", "gztar"])
def test_archive_is_predicted_like_its_folder(of_pictures, capsys, tmp_path, pack):
    write_picture(tmp_path / "in" / "a" / "0.png", 0)
    write_picture(tmp_path / "in" / "b" / "1.png", 1)
    packed = shutil.make_archive(str(tmp_path / "packed"), pack, tmp_path / "in")
    rows, plain = of_pictures.rows(capsys, packed), of_pictures.rows(capsys, tmp_path / "in")
    moving = ["image", "predicted_at"]
    pd.testing.assert_frame_equal(rows.drop(columns=moving), plain.drop(columns=moving))
    assert list(rows["image"]) == [f"{packed}/a/0.png", f"{packed}/b/1.png"]


def test_volumes_of_the_same_name_in_two_folders_are_two_patients(of_scans, capsys, tmp_path):
    volume = np.stack([hounsfield(5).T] * 2, axis=2).astype(np.int16)
    paths = [tmp_path / name / "t1.nii.gz" for name in ("p1", "p2")]
    for path in paths:
        path.parent.mkdir()
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    assert list(of_scans.rows(capsys, *paths, "--by-patient")["images"]) == [2, 2]
    assert list(of_scans.rows(capsys, *(path.parent for path in paths), "--by-patient")["images"]) == [2, 2]


def write_volume(file: Path, *slices: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    volume = np.stack([pixels.T for pixels in slices], axis=2).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, -1.0, 1.0, 1.0])), file)
    return file


AIR = np.full((48, 48), -1000)


def test_blank_slices_of_a_volume_are_left_out_and_named(of_scans, capsys, tmp_path):
    write_volume(tmp_path / "volume.nii", hounsfield(5), AIR, hounsfield(6))
    code, out, err = of_scans.command(capsys, tmp_path / "volume.nii", "--format", "json")
    assert code == 0 and [row["image"][-2:] for row in json.loads(out)] == ["#0", "#2"]
    assert f"left out: 1 × blank slice: {tmp_path / 'volume.nii'}#1" in err
    assert list(of_scans.rows(capsys, tmp_path / "volume.nii", "--by-patient")["images"]) == [2]
    code, _, err = of_scans.command(capsys, write_volume(tmp_path / "air.nii", AIR, AIR))
    assert code == 2 and "every slice is blank" in err


def test_blank_slices_are_left_out_of_an_external_test(of_scans, tmp_path):
    for number in range(9):
        write_volume(tmp_path / "in" / CLASSES[number % 3] / f"{number}.nii", AIR, hounsfield(700 + number))
    test = dcube.evaluate(of_scans.reference, tmp_path / "in")
    assert (test.blank_slices, test.metrics.test_images, len(test.predictions.table)) == (9, 9, 9)
    assert not test.drift[0].drifted  # the row of refused images


def test_scan_is_windowed_as_in_training_in_every_file_format(of_scans, capsys, tmp_path):
    file = write_dicom(tmp_path / "slice.dcm", 5)
    frames = write_dicom(tmp_path / "frames.dcm", 4, frames=2)
    volume = np.stack([hounsfield(5).T] * 2, axis=2).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "volume.nii.gz")
    rows = of_scans.rows(capsys, file, frames, tmp_path / "volume.nii.gz").set_index("image")
    shown = np.clip((hounsfield(5) - 40) / 400 + 0.5, 0, 1).astype(np.float32) * np.float32(255)
    expected = by_hand(of_scans.candidate, [Image.fromarray(shown)])[0]
    for name in (file, f"{frames}#1", f"{tmp_path / 'volume.nii.gz'}#0", f"{tmp_path / 'volume.nii.gz'}#1"):
        np.testing.assert_allclose(rows.loc[str(name), COLUMNS].to_numpy(float), expected, atol=1e-5)
    assert (rows["spread"] >= 0).all()


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda file: write_picture(file.with_suffix(".png"), 0, (48, 48, 3)), "made for grey images"),
        (lambda file: write_picture(file.with_suffix(".png"), 0, (48, 300)), "training saw a width of 40 to 64"),
        (lambda file: write_picture(file.with_suffix(".png"), 0, (19, 19)), "training saw a width"),
        (lambda file: write_picture(file.with_suffix(".png"), 0, (40, 100)), "aspect ratio of 2.50"),
        (lambda file: write_dicom(file.with_suffix(".dcm"), 0), "made for plain images"),
    ],
)
def test_unsuitable_image_is_refused_and_the_others_are_predicted(of_pictures, capsys, tmp_path, write, reason):
    write_picture(tmp_path / "in" / "0.png", 0)
    bad = write(tmp_path / "in" / "bad")
    rows = of_pictures.rows(capsys, tmp_path / "in", refused=True).set_index("image")
    assert reason in rows.loc[str(bad), "problem"] and rows.loc[str(bad), "decision"] == ""
    assert rows.loc[str(tmp_path / "in" / "0.png"), "decision"] in CLASSES
    code, _, err = of_pictures.command(capsys, tmp_path / "in")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert err.startswith(f"error: 1 of 2 images were refused, e.g. {bad}: ")
    assert "Decided by" not in of_pictures.command(capsys, bad)[1], "nothing was decided"


def test_ct_model_refuses_mr_plain_and_damaged_images(of_scans, capsys, tmp_path):
    write_dicom(tmp_path / "in" / "mr.dcm", 0, modality="MR")
    write_picture(tmp_path / "in" / "photo.png", 0)
    damaged = write_dicom(tmp_path / "in" / "damaged.dcm", 0)
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    problems = dict(of_scans.rows(capsys, tmp_path / "in", refused=True)[["image", "problem"]].itertuples(index=False))
    told = {Path(name).name: problem for name, problem in problems.items()}
    assert told["mr.dcm"] == "the model was made for CT, and this is MR"
    made_for = "the model was made for window 40 ± 200 of DICOM or NIfTI values"
    assert told["photo.png"] == f"{made_for}, and this is a plain image (L)"
    assert told["damaged.dcm"].startswith("cut off")


def test_abstention_threshold_is_the_registered_or_the_given_one(home, capsys, tmp_path):
    model = Asking(*register_candidate(home, TINY_PARAMS, SUB_FEATURES, PICTURES, abstain_below=0.99))
    file = write_picture(tmp_path / "0.png", 0)
    assert list(model.rows(capsys, file)["decision"]) == ["abstain"]
    answering = model.rows(capsys, file, "--abstain-below", 0.1)
    assert list(answering["decision"]) == list(answering["prediction"])


def test_decision_rule_is_the_registered_or_the_given_one(home, capsys, tmp_path):
    point = OperatingPoint(rule=DecisionRule(of_class="malignant", threshold=0.0), chosen_by="youden")
    model = Asking(*register_candidate(home, TINY_PARAMS, SUB_FEATURES, PICTURES, operating_point=point))
    file = write_picture(tmp_path / "0.png", 0)
    (row,) = model.rows(capsys, file).to_dict("records")
    assert (row["decision"], row["decided_by"]) == ("malignant", "malignant >= 0.0")
    (row,) = model.rows(capsys, file, "--decide", "most probable class").to_dict("records")
    assert (row["decision"], row["decided_by"]) == (row["prediction"], "most probable class")
    (row,) = model.rows(capsys, file, "--decide", "malignant >= 1").to_dict("records")
    assert row["decision"] != "malignant" and row["decided_by"] == "malignant >= 1.0"
    other = next(name for name in CLASSES if name != row["prediction"])
    table = model.command(capsys, file, "--decide", f"{other} >= 0")[1]
    assert re.search(
        f" {other} +{row['prediction']} +{row['confidence']:.3f} ", table
    )  # not the confidence of the decided class
    assert "prediction" not in model.command(capsys, file, "--decide", "most probable class")[1]
    (row,) = model.rows(capsys, file, "--decide", f"most probable class at {other} = 0.9999").to_dict("records")
    assert (row["decision"], row["decided_by"]) == (other, f"most probable class at {other} = 0.9999")
    code, out, err = model.command(capsys, file, "--decide", "malignant > 1")
    assert code == 2 and not out and "is no rule" in err


def test_missing_path_is_refused_before_the_model_is_loaded(run_dcube, tmp_path):
    code, printed = run_dcube("predict", "dcube-nothing@champion", str(tmp_path / "nowhere"))
    assert code == 2 and "nowhere does not exist" in printed and len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "path", "said"),
    [
        ("--output", "taken", "taken is a folder: name a file"),
        ("--output", "0.png/a.csv", "0.png is not a folder: name another folder than 0.png"),
        ("--output", "0.png/new/a.csv", "0.png is not a folder: name another folder than 0.png/new"),
        ("--output", "a.xlsx", "a.xlsx: unknown format .xlsx: name a .csv, .json or .txt file, or give --format"),
        ("--heatmaps", "0.png", "0.png is not a folder: name another folder than 0.png"),
    ],
)
def test_unwritable_output_is_refused_before_the_model_is_loaded(run_dcube, tmp_path, monkeypatch, option, path, said):
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "0.png", 0)
    (tmp_path / "taken").mkdir()
    code, printed = run_dcube("predict", "dcube-nothing@champion", "0.png", option, path)
    assert code == 2 and printed.startswith("error: ") and printed.endswith(f"{said}\n")
    assert len(printed.splitlines()) == 1


def test_missing_output_folder_is_created(of_pictures, capsys, tmp_path):
    target = tmp_path / "new" / "folder" / "a.csv"
    code, _, err = of_pictures.command(capsys, write_picture(tmp_path / "0.png", 0), "--output", target)
    assert code == 0, err
    assert len(pd.read_csv(target)) == 1


def test_prediction_sets_use_the_registered_threshold_and_may_abstain(home, capsys, tmp_path):
    files = [write_picture(tmp_path / "in" / f"{n}.png", n) for n in range(3)]
    sets = PredictionSets(coverage=0.9, threshold=0.3, calibrated_on=20, abstain=True)
    model = Asking(*register_candidate(home, TINY_PARAMS, SUB_FEATURES, PICTURES, prediction_sets=sets))
    rows = model.rows(capsys, tmp_path / "in")
    assert len(rows) == len(files)
    for _, row in rows.iterrows():
        expected = [name for name in CLASSES if row[f"probability_{name}"] >= 0.3]
        assert row["prediction_set"] == "|".join(expected)
        assert row["decision"] == (row["prediction"] if expected == [row["prediction"]] else "abstain")


def test_patient_prediction_is_the_geometric_mean_and_shows_no_name(of_scans, capsys, tmp_path):
    for number, patient in enumerate(["Smith-77", "Jones-12", "Smith-77"]):
        write_dicom(tmp_path / "in" / f"{number}.dcm", number, patient=patient)
    rows, patients = of_scans.rows(capsys, tmp_path / "in"), of_scans.rows(capsys, tmp_path / "in", "--by-patient")
    assert list(patients["images"]) == [2, 1] and list(patients["patient"]) == [1, 2]
    product = rows[COLUMNS].to_numpy()[0] * rows[COLUMNS].to_numpy()[2]
    expected = np.sqrt(product) / np.sqrt(product).sum()
    np.testing.assert_allclose(patients[COLUMNS].to_numpy()[0], expected, atol=1e-6)
    np.testing.assert_allclose(patients[COLUMNS].to_numpy()[1], rows[COLUMNS].to_numpy()[1], atol=1e-6)
    for kind in ("table", "csv", "json"):
        _, out, err = of_scans.command(capsys, tmp_path / "in", "--by-patient", "--format", kind)
        assert not re.search("Smith|Jones|Doe|1\\.2\\.3", out + err)


def test_csv_json_and_table_contain_the_same_prediction(of_pictures, capsys, tmp_path):
    file = write_picture(tmp_path / "0.png", 0)
    told = {kind: of_pictures.command(capsys, file, "--format", kind)[1] for kind in ("table", "csv", "json")}
    from_csv, from_json = pd.read_csv(io.StringIO(told["csv"])), pd.DataFrame(json.loads(told["json"]))
    np.testing.assert_allclose(from_csv[COLUMNS], from_json[COLUMNS], rtol=1e-5)
    assert f"{from_json['confidence'][0]:.3f}" in told["table"] and from_json["decision"][0] in told["table"]
    target = tmp_path / "predictions.csv"
    code, out, err = of_pictures.command(capsys, file, "--output", target)  # the suffix selects the format
    assert (code, out, err) == (0, "", f"predictions written to {target}: 1")
    written = pd.read_csv(target).drop(columns="predicted_at")
    pd.testing.assert_frame_equal(written, from_csv.drop(columns="predicted_at"))


@pytest.mark.parametrize(
    ("changed", "mark"),
    [("none", ""), ("README.md, untracked files: 2", ""), ("dcube/api.py, README.md", "+uncommitted")],
)
def test_predictions_say_whether_the_code_was_committed(
    changed, mark, tmp_path, tracking_address, tiny_params, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    reference, _ = register_candidate(tmp_path, tiny_params, SUB_FEATURES, PICTURES, uncommitted=changed)
    (row,) = dcube.load(reference).predict(write_picture(tmp_path / "0.png", 0)).table.to_dict("records")
    assert row["code_revision"] == f"{COMMIT}{mark}"


def test_every_prediction_identifies_model_code_and_input(of_pictures, capsys, tmp_path):
    file = write_picture(tmp_path / "0.png", 0)
    row = of_pictures.rows(capsys, file).iloc[0]
    name, _, version = of_pictures.reference.partition("/")
    weights = RegisteredModel.existing(NAME).version(version).tags["dcube.weights_sha256"]
    assert (row["model"], row["version"], row["weights_sha256"]) == (name, version, weights)
    assert (row["code_revision"], row["program_version"]) == (COMMIT, installed_version("dcube"))
    assert (
        row["input_sha256"]
        == hashlib.sha256(to_square(Image.fromarray(pixels(0)), 32, 1, "crop").tobytes()).hexdigest()
    )
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(row["predicted_at"]) < timedelta(minutes=5)
    assert row["use"].startswith("Research use only")
    printed = of_pictures.command(capsys, file)[1]
    assert (
        f"{of_pictures.reference}, weights {weights[:12]}" in printed and "Decided by: most probable class" in printed
    )


def test_model_with_nan_weights_gives_a_problem_and_is_not_saved(of_pictures, tmp_path):
    broken = copy.deepcopy(of_pictures.candidate)
    with torch.no_grad():
        next(broken.head.parameters()).fill_(torch.nan)
    with collect_images([write_picture(tmp_path / "0.png", 0)]) as (images, _):
        (row,) = predict(broken, images, DecisionPolicy()).to_dict("records")
    assert "no finite probabilities" in row["problem"] and row["decision"] == ""
    with pytest.raises(DcubeError, match=r"weights that are not finite \(head\..*\): lower the learning rate"):
        save_candidate(tmp_path / "broken", broken.head.state_dict(), None, broken.config)
    assert not (tmp_path / "broken").exists()


def packed_evil(file: Path) -> Path:
    with tarfile.open(file, "w") as archive:
        archive.addfile(tarfile.TarInfo("../escaped.png"))
    return file


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "nowhere", "does not exist"),
        (lambda folder: (folder / "notes.txt").write_text("x") and folder / "notes.txt", "contains no image"),
        (lambda folder: folder, "contains no image"),
        (lambda folder: os.mkfifo(folder / "pipe") or folder / "pipe", "pipe is a named pipe: give a file"),
        (lambda folder: os.mkfifo(folder / "pipe") or folder, "pipe is a named pipe: remove"),
        (lambda folder: (folder / "again").symlink_to(folder) or folder, "again is a link to a folder: remove"),
        (lambda folder: packed_evil(folder / "evil.tar"), "points outside"),
    ],
)
def test_wrong_path_is_refused_in_one_line(of_pictures, capsys, tmp_path, make, words):
    folder = tmp_path / "given"
    folder.mkdir()
    code, out, err = of_pictures.command(capsys, make(folder))
    assert (code, out) == (2, "") and err.startswith("error: ") and words in err and err.count("\n") == 0
    assert not (tmp_path / "escaped.png").exists()


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (f"{NAME}@nobody", "has no alias 'nobody'"),
        (f"{NAME}/77", "has no version '77'"),
        ("other@champion", "no registered model"),
        ("champion", "names no version"),
    ],
)
def test_wrong_model_reference_is_refused_in_one_line(of_pictures, capsys, tmp_path, reference, words):
    file = write_picture(tmp_path / "0.png", 0)
    code, out, err = Asking(reference, of_pictures.candidate).command(capsys, file)
    assert (code, out) == (2, "") and words in err and "\n" not in err
