"""A name planted everywhere in the raw files must not appear in any byte that a run writes outside data/."""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset

from dcube.cli.main import app
from dcube.config.loading import params_from
from dcube.data.checks.clinical import IDENTIFYING
from dcube.data.preparing import prepare
from dcube.data.privacy import pseudonym, read_salt
from dcube.errors import DcubeError
from tests.support.medical_files import dicom_dataset, nifti_file, save_dicom
from tests.support.raw_sets import noise, save, write_metadata

NAME = "Zwieselhuber"  # occurs only where it is planted
PERSONS = [keyword_for_tag(tag) for tag, (vr, *_) in DicomDictionary.items() if vr == "PN"]
SETTINGS = {"name": "ward", "image_size": 24, "diffusion_image_size": 16, "window_center": 2048, "window_width": 4096}


@pytest.fixture
def salt(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "secrets" / "salt"
    monkeypatch.setenv("DCUBE_SALT_FILE", str(path))
    return path


def data_params(**values):
    return params_from({"data": SETTINGS | values}, "test").data


def with_names(number: int, **tags) -> Dataset:
    """A DICOM image with the name in every identifying element: top-level, nested, private and malformed."""
    pixels = np.random.default_rng(number).integers(0, 4096, (24, 24), dtype=np.uint16)
    dataset = dicom_dataset(pixels, BitsStored=12, **tags)
    for keyword in [*PERSONS, *sorted(IDENTIFYING), "StudyDescription", "SeriesDescription", "ProtocolName"]:
        add(dataset, keyword)
    nested = Dataset()
    add(nested, "PatientName")
    dataset.RequestAttributesSequence = [nested]
    block = dataset.private_block(0x0099, f"{NAME} private", create=True)
    block.add_new(0x01, "LO", NAME)
    dataset.PatientID = f"{NAME}-{number // 2}"
    dataset.StudyDate = dataset.PatientBirthDate = NAME  # not a date: readers complain and quote the value
    dataset.SeriesInstanceUID = dataset.StudyInstanceUID = f"1.2.{NAME}"
    dataset.Modality = NAME[:10].upper()
    dataset.RescaleType = NAME
    return dataset


def add(dataset: Dataset, keyword: str) -> None:
    try:
        setattr(dataset, keyword, NAME)
    except Exception:  # a sequence, or a number
        return


def plant(raw: Path) -> Path:
    """DICOM, NIfTI and plain images, all named after the patient, and a table that contains the name."""
    rows = []
    for number in range(24):
        file = f"{NAME} {number // 2}/{NAME}-{number}.dcm"
        save_dicom(raw / file, with_names(number))
        rows.append(
            {"file": file, "label": "ill" if number // 2 % 2 else "well", "patient_id": f"{NAME}-{number // 2}"}
        )
    for number in range(6):
        file = f"{NAME}.{number}.nii.gz"
        values = np.random.default_rng(100 + number).integers(0, 4096, (24, 24, 3)).astype(np.int16)
        image = nibabel.Nifti1Image.from_filename(nifti_file(raw / file, values, display=(0, 4096)))
        for field in ("descrip", "db_name", "aux_file", "intent_name"):
            image.header[field] = NAME.encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", NAME.encode()))
        image.to_filename(raw / file)
        rows.append({"file": file, "label": "ill" if number % 2 else "well", "patient_id": ""})
    save(raw / f"{NAME}.png", noise(7))
    rows.append({"file": f"{NAME}.png", "label": "", "patient_id": NAME})
    (raw / f"{NAME}.txt").write_text(NAME)
    return write_metadata(raw, [row | {"name": NAME} for row in rows])


def variants() -> list[bytes]:
    return [
        form.encode(code) for form in (NAME, NAME.upper(), NAME.lower()) for code in ("utf-8", "utf-16-le", "utf-32-le")
    ]


def leaks(folder: Path) -> list[str]:
    """Files below `folder` that hold the name, in their path or their bytes, plain or packed."""
    return [
        str(path)
        for path in sorted(folder.rglob("*"))
        if NAME.lower() in str(path.relative_to(folder)).lower() or (path.is_file() and found_in(path.read_bytes()))
    ]


def found_in(content: bytes) -> bool:
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if content[:2] == b"PK" and zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(found_in(archive.read(name)) for name in archive.namelist())
    return any(form in content for form in variants())


def stage(folder: Path, salt: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the prepare stage as `dvc repro` does, tracked in the MLflow database in `folder`."""
    environment = os.environ | {
        "DCUBE_SALT_FILE": str(salt), "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "HOME": str(folder),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "dcube.stages", "prepare"], cwd=folder, env=environment, capture_output=True
    )


def test_search_finds_planted_names(tmp_path):
    plant(tmp_path / "raw")
    found = leaks(tmp_path / "raw")
    assert len([file for file in found if file.endswith(".dcm")]) == 24
    assert found_in((tmp_path / "raw" / f"{NAME}.0.nii.gz").read_bytes())
    assert not found_in(b"somebody else")


@pytest.mark.slow
def test_prepare_stage_writes_no_patient_name(tmp_path, salt, mlflow_database):
    work = tmp_path / "work"
    plant(work / "data" / "ward")
    shutil.copyfile(mlflow_database, work / "mlflow.db")
    settings = {"data": SETTINGS, "diffusion": {"patch_size": 4}}
    (work / "params.yaml").write_text(params_from(settings, "test").to_yaml())
    subprocess.run(["git", "init", "-q"], cwd=work, check=True)
    (work / f"{NAME}.zip").touch()  # not committed
    done = stage(work, salt)
    assert done.returncode == 0, done.stderr.decode()
    shutil.rmtree(work / "data")
    (work / f"{NAME}.zip").unlink()
    assert (work / "mlflow.db").read_bytes() != mlflow_database.read_bytes(), "its run is in there"
    assert (work / "outputs" / "prepared" / "manifest.csv").exists()
    assert leaks(work) == []
    assert not found_in(done.stdout + done.stderr)


def cut_a_dicom(raw: Path) -> None:
    file = next(raw.rglob("*.dcm"))
    file.write_bytes(file.read_bytes()[:-300])


def cut_a_volume(raw: Path) -> None:
    file = next(raw.glob("*.nii.gz"))
    file.write_bytes(file.read_bytes()[:600])


def unlist(raw: Path) -> None:
    save(raw / f"{NAME} again.png", noise(9))


def break_the_table(raw: Path) -> None:
    (raw / "metadata.csv").write_text(f"file,label\n{NAME}.png,{NAME}\n{NAME},x,{NAME}\n")


def contradict(raw: Path) -> None:
    shutil.copy(raw / f"{NAME} 0" / f"{NAME}-0.dcm", raw / f"{NAME} copy.dcm")
    with (raw / "metadata.csv").open("a") as table:
        table.write(f"{NAME} copy.dcm,ill,{NAME}-other,{NAME}\n")


def one_patient_in_two_splits(raw: Path) -> None:
    lines = (raw / "metadata.csv").read_text().splitlines()
    splits = [("train", "val", "test")[i % 3] for i in range(len(lines) - 1)]
    rows = [f"{line},{split}" for line, split in zip(lines[1:], splits, strict=True)]
    (raw / "metadata.csv").write_text("\n".join([lines[0] + ",split", *rows]))


@pytest.mark.parametrize(
    "damage", [cut_a_dicom, cut_a_volume, unlist, break_the_table, contradict, one_patient_in_two_splits]
)
def test_errors_of_prepare_contain_no_patient_name(tmp_path, salt, damage, capfd):
    damage(plant(tmp_path / "data" / "ward"))
    with pytest.raises(DcubeError) as caught:
        prepare(tmp_path / "data" / "ward", data_params(), tmp_path / "prepared")
    out, err = capfd.readouterr()
    assert not found_in(f"{caught.value}{out}{err}".encode())
    assert leaks(tmp_path / "prepared") == []


def test_permission_error_contains_no_patient_name(tmp_path, salt, monkeypatch):
    raw = plant(tmp_path / "ward")

    def denied(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("dcube.data.readers.images.read_file", denied)
    with pytest.raises(DcubeError, match="Permission denied") as caught:
        prepare(raw, data_params(), tmp_path / "prepared")
    assert NAME not in str(caught.value)


def test_another_salt_changes_the_pseudonyms_but_not_the_data_set(tmp_path, salt):
    raw = plant(tmp_path / "ward")
    ours = prepare(raw, data_params(), tmp_path / "a")
    salt.unlink()
    theirs = prepare(raw, data_params(), tmp_path / "b")
    assert ours.fingerprint == theirs.fingerprint
    same = ["id", "label", "split", "sha256"]
    assert ours.manifest[same].equals(theirs.manifest[same])
    for column in ("file", "patient"):
        assert not set(ours.manifest[column]) & set(theirs.manifest[column])
        assert ours.manifest[column].nunique() == theirs.manifest[column].nunique()


def test_pseudonyms_keep_images_of_a_patient_together(tmp_path, salt):
    manifest = prepare(plant(tmp_path / "ward"), data_params(), tmp_path / "a").manifest
    assert manifest["file"].nunique() == len(manifest) == 24 + 6 * 3 + 1
    assert manifest["patient"].nunique() == 12 + 6 + 1, "two images a DICOM patient, three slices a volume"
    assert (manifest.groupby("patient")["split"].nunique() == 1).all()


def run(*arguments: object) -> None:
    app([str(argument) for argument in arguments], standalone_mode=False)


def test_data_find_maps_pseudonyms_to_files(tmp_path, salt, capsys):
    raw = plant(tmp_path / "ward")
    manifest = prepare(raw, data_params(), tmp_path / "a").manifest
    dicom = pseudonym(f"{NAME} 3/{NAME}-7.dcm", read_salt())
    assert dicom in set(manifest["file"])
    capsys.readouterr()
    run("data", "find", raw, dicom)
    assert capsys.readouterr().out.split() == [dicom, NAME, f"3/{NAME}-7.dcm", f"{NAME}-3"]
    run("data", "find", raw, pseudonym(f"{NAME}-3", read_salt()))
    assert capsys.readouterr().out.count(f"{NAME} 3/") == 2
    with pytest.raises(DcubeError, match=r"nothing in .* has the pseudonym 0123"):
        run("data", "find", raw, "0123")


def test_check_reports_identifying_tags(tmp_path, salt, capsys):
    raw = plant(tmp_path / "ward")
    burned = with_names(99, BurnedInAnnotation="YES")
    save_dicom(raw / "burned.dcm", burned)
    with (raw / "metadata.csv").open("a") as table:
        table.write("burned.dcm,ill,,\n")
    run("data", "check", raw, "--json")
    said = json.loads(capsys.readouterr().out)["clinical"]
    assert said["kinds"] == {"DICOM": 25, "NIfTI": 6}
    assert said["identifying"]["private tags"] == said["identifying"]["PatientName"] == 25
    assert {"InstitutionName", "OperatorsName", "NIfTI descrip", "NIfTI extensions"} <= set(said["identifying"])
    assert said["burned_in"] == {"unsaid": 24, "yes": 1}
    assert said["modalities"] == {"unsaid": 25}
    assert said["missing"]["WindowCenter"] == 25


def test_kept_identifiers_are_refused_for_medical_files(tmp_path, salt):
    with pytest.raises(DcubeError, match=r"data\.identifiers: kept is for plain images"):
        prepare(plant(tmp_path / "ward"), data_params(identifiers="kept"), tmp_path / "a")


def test_salt_is_created_once_and_readable_only_by_its_owner(tmp_path, salt):
    first = read_salt()
    assert len(first) == 32 and read_salt() == first
    assert salt.stat().st_mode & 0o077 == 0 and list(salt.parent.iterdir()) == [salt]


def test_salt_inside_a_git_repository_or_too_short_is_refused(tmp_path, monkeypatch):
    (tmp_path / "clone" / ".git").mkdir(parents=True)
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "clone" / "deep" / "salt"))
    with pytest.raises(DcubeError, match="git repository"):
        read_salt()
    (tmp_path / "short").write_bytes(b"1234")
    monkeypatch.setenv("DCUBE_SALT_FILE", str(tmp_path / "short"))
    with pytest.raises(DcubeError, match="4 bytes"):
        read_salt()
