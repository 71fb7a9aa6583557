"""Every stage as DVC runs it, in one small working copy: what it reads, writes and refuses."""

import copy
import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from dcube.artifacts.checksums import dvc_hash
from dcube.artifacts.layout import (
    DIFFUSION,
    EVALUATION,
    FEATURES,
    FID,
    LOCK,
    MODELS,
    PARAMS,
    PREPARED,
    PROBE,
    REGISTERED,
    SELECTION,
    SYNTHETIC,
)
from dcube.artifacts.schemas.selection import Selection
from dcube.classifier import candidate_training
from dcube.config.loading import load_params
from dcube.config.schema import Group, HeadSettings, Optimisation, Params
from dcube.data.prepared import PreparedDataset
from dcube.errors import DcubeError
from dcube.repository.graph import stages_in_order
from dcube.runtime.settings import read_settings
from dcube.stages.process.command import main as start
from dcube.stages.process.command import main_of
from dcube.stages.process.running import run
from tests.support.checkout import ROOT, outs_of
from tests.support.discs import CLASSES, TINY, write_dataset
from tests.support.raw_sets import save, write_metadata

pytestmark = pytest.mark.slow  # all stages run first

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CANDIDATES = STAGES["evaluate"]["matrix"]["model"]


def items(stage: str) -> list[str]:
    return STAGES[stage].get("matrix", {}).get("model", [""])


def stage_names() -> list[str]:
    """In the order of `dvc repro`."""
    return [stage.name for stage in stages_in_order(ROOT)]


def words_of(name: str) -> list[str]:
    """Stage and arguments of a stage's command in dvc.yaml."""
    stage, _, item = name.partition("@")
    return STAGES[stage]["cmd"].replace("${item.model}", item).removeprefix("python -m dcube.stages ").split()


def run_stage(name: str) -> None:
    stage, *words = words_of(name)
    main_of(stage)(*words)


class Reads:
    """Which parameters each stage reads, as `group.field`. Only the parameters of params.yaml count: not their
    copies in a model's config, nor that a whole group is logged or hashed."""

    def __init__(self) -> None:
        self.of: dict[str, set[str]] = defaultdict(set)
        self.yielded: set[str] = set()  # what is read of the models that groups yield
        self.stage = ""
        self._owners: dict[int, str] = {}
        self._kept: list[Group] = []  # an id is only unique while its object lives

    def watch(self, group: Group, owner: str) -> None:
        self._kept.append(group)
        self._owners[id(group)] = owner
        for name in type(group).model_fields:
            value = object.__getattribute__(group, name)
            if isinstance(value, Group):
                self.watch(value, f"{owner}.{name}" if owner else name)

    def note(self, group: Group, name: str) -> None:
        owner = self._owners.get(id(group))
        if owner and name in type(group).model_fields:
            self.of[self.stage].add(f"{owner}.{name}")
        if type(group) in (Optimisation, HeadSettings) and name in type(group).model_fields:
            self.yielded.add(f"{type(group).__name__}.{name}")


@contextmanager
def recorded(reads: Reads) -> Iterator[None]:
    def load(path: Path) -> Params:
        params = load_params(path)
        reads.watch(params, "")
        return params

    def read(group: Group, name: str) -> object:
        reads.note(group, name)
        return object.__getattribute__(group, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dcube.stages.process.running.load_params", load)
        patch.setattr(Group, "__getattribute__", read, raising=False)
        # It reads parameters of later stages, but only to decide whether the training begins.
        patch.setattr("dcube.stages.process.feasible_params.refuse_infeasible", lambda *_: None)
        yield


def fields(group: type[Group], owner: str = "") -> set[str]:
    """Every parameter as `group.field`, however deep."""
    found = set()
    for name, info in group.model_fields.items():
        path = f"{owner}.{name}" if owner else name
        nested = isinstance(info.annotation, type) and issubclass(info.annotation, Group)
        found |= fields(info.annotation, path) if nested else {path}
    return found


def covers(declared: str, field: str) -> bool:
    return field == declared or field.startswith(f"{declared}.")


def write_raw(folder: Path, scratch: Path) -> None:
    """The discs of tests/support as people have them: files, and a table with patients, some without a label."""
    dataset = write_dataset(scratch)
    images = dataset.images(32)
    rows = []
    for row, pixels in zip(dataset.manifest.to_dict("records"), images[:, 0], strict=True):
        save(folder / row["file"], pixels)
        rows.append({"file": row["file"], "label": row["label"], "patient_id": row["patient"]})
    write_metadata(folder, rows)


def set_params(**groups: dict) -> None:
    values = copy.deepcopy(TINY)
    for group, changes in groups.items():
        values[group] = values.get(group, {}) | changes
    PARAMS.write_text(Params.model_validate(values).to_yaml())


@dataclass(frozen=True)
class Pipeline:
    folder: Path
    reads: Reads


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """All stages, once, in the order of dvc.yaml."""
    folder, reads = tmp_path_factory.mktemp("working copy"), Reads()
    write_raw(folder / "data" / "discs", tmp_path_factory.mktemp("discs"))
    with pytest.MonkeyPatch.context() as patch, recorded(reads):
        patch.chdir(folder)
        for variable in ("MLFLOW_TRACKING_URI", "DCUBE_PIPELINE", "DVC_EXP_NAME", "DCUBE_CHECKPOINTS"):
            patch.delenv(variable, raising=False)
        patch.setenv("DCUBE_CHECKPOINT_SECONDS", "0")
        set_params()
        for name in stage_names():
            reads.stage = name.partition("@")[0]
            run_stage(name)
    return Pipeline(folder, reads)


@pytest.fixture
def inside(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished working copy, for looking at."""
    monkeypatch.chdir(pipeline.folder)
    return pipeline.folder


@pytest.fixture
def own(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished working copy, for changing things."""
    folder = tmp_path / "own"
    shutil.copytree(pipeline.folder, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


# --- parameters


@pytest.fixture(scope="module")
def reads(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What the stages read with the small parameters, with few labels, with folds, and where weights are in a file."""
    folder = tmp_path_factory.mktemp("weights") / "own"
    shutil.copytree(pipeline.folder, folder)
    file = {"weights_file": "absent.safetensors", "weights_sha256": "0" * 64}
    pretrained = {"weights": "file", **file}
    with pytest.MonkeyPatch.context() as patch, recorded(pipeline.reads):
        patch.chdir(folder)
        set_params(
            fid={"extractor": "inception", **file},
            baseline=pretrained,
            classifier={"sub_features": TINY["classifier"]["sub_features"] | pretrained},
        )
        for name in ("train_diffusion", "track_fid", "train_classifier", "train_baseline"):
            pipeline.reads.stage = name.partition("@")[0]
            with pytest.raises(DcubeError, match=r"weights file absent\.safetensors is missing"):
                run_stage(name)
        set_params(labels={"count": 24}, baseline={"epochs": 1})
        run_stage("train_baseline")
        settings = {"operating_point": "sensitivity", "positive_class": CLASSES[0], "operating_target": 0.5}
        set_params(evaluation=settings | {"prevalence": 0.1})
        pipeline.reads.stage = "evaluate"
        run_stage("evaluate@sub_features")
        set_params(data={"folds": 3})
        pipeline.reads.stage = "prepare"
        run_stage("prepare")
    return pipeline.reads.of


def test_every_parameter_that_a_stage_reads_is_declared_in_dvc_yaml(reads: dict[str, set[str]]) -> None:
    for stage, read in reads.items():
        untracked = {field for field in read if not any(covers(declared, field) for declared in tracked(stage))}
        assert not untracked, f"{stage} reads them, and dvc.yaml does not say so"


def test_every_parameter_is_read_by_some_stage(reads: dict[str, set[str]], pipeline: Pipeline) -> None:
    assert fields(Params) - set().union(*reads.values()) == set()
    assert pipeline.reads.yielded == fields(Optimisation, "Optimisation") | fields(HeadSettings, "HeadSettings")


@pytest.mark.parametrize("stage", STAGES)
def test_stage_reads_every_parameter_group_that_it_declares(stage: str, reads: dict[str, set[str]]) -> None:
    for declared in tracked(stage):
        assert any(covers(declared, field) for field in reads[stage]), declared


def tracked(stage: str) -> list[str]:
    return STAGES[stage].get("params", [])


# --- what is left behind


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def loaded(file: Path) -> dict:
    return json.loads(file.read_text())


def test_declared_outputs_exist_and_no_partial_files_are_left(inside: Path) -> None:
    outs = {out.replace("${item.model}", item) for s in STAGES for item in items(s) for out in outs_of(STAGES[s])}
    assert all(any(Path(out).iterdir()) for out in outs)
    assert not list(inside.rglob("*.partial"))
    assert not list(inside.glob(".dcube/unsent/*"))


def test_prepared_and_synthetic_images_match_their_manifests(inside: Path) -> None:
    dataset = PreparedDataset.load(PREPARED)
    assert dataset.classes == CLASSES and dataset.info.unlabelled == 6 and not dataset.info.is_phantom
    assert sum(sum(classes.values()) for classes in dataset.info.counts.values()) == 84
    assert len(dataset.images(32)) == len(dataset.images(16)) == len(dataset.manifest) == 90
    assert (dataset.manifest.groupby("patient")["split"].nunique() == 1).all()
    synthetic = pd.read_csv(SYNTHETIC / "manifest.csv")
    assert 0 < len(synthetic) == loaded(SYNTHETIC / "audit.json")["n_synthetic"] <= TINY["synthesis"]["maximum"]
    for size in (32, 16):
        assert np.load(SYNTHETIC / f"images-{size}.npy").shape == (len(synthetic), 1, size, size)


def test_diffusion_model_and_its_measurements_agree(inside: Path) -> None:
    config, dataset = loaded(DIFFUSION / "config.json"), PreparedDataset.load(PREPARED)
    assert config["weights_sha256"] == sha256(DIFFUSION / "model.safetensors")
    assert config["data_fingerprint"] == dataset.fingerprint
    measured, fid = pd.read_csv(DIFFUSION / "validation.csv"), loaded(FID / "fid.json")
    assert fid["overall"]["fid"] == pytest.approx(measured["fid"].min())
    assert config["best_step"] == measured["step"][measured["fid"].idxmin()]
    assert set(fid["classes"]) == set(CLASSES)
    assert fid["definition"]["n_real"] == len(dataset.indices("train"))
    selection, blocks = Selection.load(FEATURES / SELECTION), pd.read_csv(FEATURES / "blocks.csv")
    assert len(blocks) == TINY["diffusion"]["depth"] + 1
    assert selection.best == blocks["block"][blocks["kept"]].to_list() and len(selection.best) >= 2


def test_probe_reads_every_block_and_records_its_settings(inside: Path) -> None:
    definition, dataset = loaded(PROBE / "probe.json"), PreparedDataset.load(PREPARED)
    labelled = len(dataset.indices("train"))
    assert definition["labels"]["counts"] == [9, labelled] and definition["labels"]["skipped"] == [500]
    assert definition["weights_sha256"] == sha256(DIFFUSION / "model.safetensors")
    table, blocks = pd.read_csv(PROBE / "map.csv"), len(Selection.load(FEATURES / SELECTION).statistic)
    assert len(table) == 2 * blocks * len(TINY["probe"]["timesteps"]) * 3 * 2
    by_source = table.drop(columns="source").groupby(table["source"])["auroc"].apply(tuple)
    assert by_source["trained"] != by_source["untrained"]
    curves = pd.read_csv(PROBE / "labels.csv")
    assert set(curves["features"]) == set(definition["labels"]["dimensions"])
    fits = curves.groupby("chosen_on").size().to_dict()
    assert fits == {"the drawn labels": 5 * 2 * 2, "the validation split": 5 * (2 + 1) * 2}


def test_probe_is_reproducible_bit_for_bit(pipeline: Pipeline, own: Path) -> None:
    shutil.rmtree(own / PROBE)
    run_stage("probe")
    for file in (pipeline.folder / PROBE).iterdir():
        assert (own / PROBE / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("name", CANDIDATES)
def test_candidate_and_its_evaluation_agree(name: str, inside: Path) -> None:
    dataset, config = PreparedDataset.load(PREPARED), loaded(MODELS / name / "config.json")
    assert config["kind"] == (TINY["baseline"]["method"] if name == "baseline" else name)
    assert config["data_fingerprint"] == dataset.fingerprint
    assert config["weights_sha256"] == sha256(MODELS / name / "model.safetensors")
    best = pd.read_csv(MODELS / name / "validation.csv").sort_values("score").iloc[-1]
    assert config["validation"]["auroc"] == pytest.approx(best["auroc"])
    metrics = loaded(EVALUATION / name / "metrics.json")
    assert metrics["weights_sha256"] == config["weights_sha256"]
    assert metrics["dataset_fingerprint"] == dataset.fingerprint
    assert metrics["validation"] == config["validation"]
    predictions = pd.read_csv(EVALUATION / name / "predictions.csv")
    assert len(predictions) == len(dataset.indices("test")) == metrics["test_images"]
    assert metrics["test"]["accuracy"] == pytest.approx((predictions["label"] == predictions["prediction"]).mean())
    card = (EVALUATION / name / "model_card.md").read_text()
    assert name in card and dataset.fingerprint[:12] in card


def test_every_stage_has_one_mlflow_run_under_one_parent(inside: Path) -> None:
    client = MlflowClient(f"sqlite:///{inside / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dcube/discs")
    found = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in found if run.info.run_name.startswith("pipeline "))
    candidates = [run for run in found if run.data.tags["dcube.stage"].startswith("register@")]
    stages = {run.info.run_name: run for run in found if run is not parent and run not in candidates}
    assert sorted(stages) == sorted(stage_names())
    assert sorted(run.data.tags["dcube.model"] for run in candidates) == sorted(CANDIDATES)
    assert len(found) == len(stage_names()) + len(CANDIDATES) + 1
    assert {run.info.status for run in found} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in stages.values()} == {parent.info.run_id}
    digests = {run.inputs.dataset_inputs[0].dataset.digest for run in stages.values()}
    assert digests == {PreparedDataset.load(PREPARED).fingerprint[:36]}


def test_every_candidate_is_registered_and_the_aliases_name_the_best(inside: Path) -> None:
    client, registered = MlflowClient(f"sqlite:///{inside / 'mlflow.db'}"), loaded(REGISTERED / "registered.json")
    made = client.search_model_versions("name = 'dcube-discs'")
    origins = {version.version: client.get_run(version.run_id).data.tags for version in made}
    versions = {origins[version.version]["dcube.model"]: version for version in made}
    assert {name: int(version.version) for name, version in versions.items()} == registered["versions"]
    assert sorted(versions) == sorted(CANDIDATES)
    challenger = client.get_model_version_by_alias("dcube-discs", "challenger")
    eligible = set(CANDIDATES) - {"untrained_uvit", "sub_features"}
    best = max(eligible, key=lambda name: loaded(EVALUATION / name / "metrics.json")["validation"]["auroc"])
    assert origins[challenger.version]["dcube.model"] == best
    assert client.get_model_version_by_alias("dcube-discs", "champion").version == challenger.version
    for name, version in versions.items():
        origin = origins[version.version]
        runs = [client.get_run(origin[f"dcube.{what}_run_id"]) for what in ("training", "evaluation")]
        assert {run.data.tags["dcube.weights_sha256"] for run in runs} == {origin["dcube.weights_sha256"]}, name


# --- trainings


def test_training_in_another_folder_is_bit_for_bit_identical(pipeline: Pipeline, own: Path) -> None:
    for leftover in (own / ".dcube", own / DIFFUSION):
        shutil.rmtree(leftover)
    run_stage("train_diffusion")
    for file in (pipeline.folder / DIFFUSION).iterdir():
        assert (own / DIFFUSION / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("name", [name for name in STAGES if name.startswith("train_")])
def test_training_without_its_last_checkpoint_ends_bit_for_bit_identical(
    name: str, pipeline: Pipeline, own: Path
) -> None:
    (folder,) = read_settings().checkpoints.glob(f"{name}-*")
    earlier, last = sorted(folder.glob("*.sha256"))
    last.unlink()
    (out,) = map(Path, STAGES[name]["outs"])
    shutil.rmtree(out)
    run_stage(name)
    assert earlier.exists()
    for file in (pipeline.folder / out).iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("words", ["", "nope", "candidates", "../prepare", "evaluate", "prepare now"])
def test_unknown_stage_command_ends_in_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        start(*words.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: `{words}` is no stage's command: dvc.yaml lists them\n"


def test_ctrl_c_ends_in_one_line(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run(interrupted)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted: `dvc repro` continues this stage\n"


def trainings() -> set[str]:
    return {folder.name for folder in read_settings().checkpoints.iterdir()}


def test_checkpoints_stay_until_dvc_has_recorded_the_training(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unended = read_settings().checkpoints / "train_diffusion-cut-off"
    unended.mkdir()

    run_another_stage = partial(run, lambda: None)
    before = trainings()
    run_another_stage()
    assert trainings() == before
    LOCK.touch()  # newer, as after a checkout or with a clock that is ahead
    run_another_stage()
    assert trainings() == before

    def record() -> None:
        """Write dvc.lock, as DVC does after every stage."""
        outs = [out for name in STAGES if name.startswith("train_") for out in outs_of(STAGES[name])]
        entries = {out: {"outs": [{"path": out, "md5": dvc_hash(Path(out))}]} for out in outs}
        LOCK.write_text(yaml.safe_dump({"schema": "2.0", "stages": entries}))

    record()
    monkeypatch.setenv("DCUBE_KEEP_CHECKPOINTS", "1")
    run_another_stage()
    assert trainings() == before
    monkeypatch.delenv("DCUBE_KEEP_CHECKPOINTS")
    run_another_stage()
    assert trainings() == {unended.name}
    LOCK.unlink()
    run_stage("train_classifier")
    run_another_stage()
    assert len(trainings()) == 2, "it ended after what DVC has recorded last"


def test_changed_synthetic_images_start_a_new_training(own: Path) -> None:
    set_params(baseline={"extra_images": "synthetic", "epochs": 1})
    run_stage("train_baseline")
    before, images = trainings(), SYNTHETIC / "images-32.npy"
    np.save(images, 255 - np.load(images))
    run_stage("train_baseline")
    assert len(trainings() - before) == 1


def test_pretrained_weights_start_a_new_training(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, build = trainings(), candidate_training.build_head
    monkeypatch.setattr(
        candidate_training, "build_head", lambda *arguments, **_: build(*arguments, load_pretrained=False)
    )
    monkeypatch.setattr("dcube.stages.process.feasible_params.refuse_infeasible", lambda *_: None)  # it would download
    set_params(baseline={"weights": "download"})
    run_stage("train_baseline")
    assert len(trainings() - before) == 1


# --- bad input


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def damaged_diffusion() -> None:
    flip_a_byte(DIFFUSION / "model.safetensors")


def half_a_candidate() -> None:
    file = MODELS / "dcube" / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def nothing_prepared() -> None:
    shutil.rmtree(PREPARED)


def damaged_checkpoints() -> None:
    for file in read_settings().checkpoints.glob("*/*.safetensors"):
        flip_a_byte(file)


def unknown_parameter() -> None:
    PARAMS.write_text(PARAMS.read_text().replace("learning_rate", "learningrate", 1))


def unknown_baseline() -> None:
    PARAMS.write_text(PARAMS.read_text().replace("method: resnet18", "method: nonesuch", 1))


def no_selection() -> None:
    shutil.rmtree(FEATURES)


@pytest.mark.parametrize(
    "name, harm, said",
    [
        ("select_features", damaged_diffusion, "outputs/diffusion/model.safetensors is damaged"),
        ("train_classifier", damaged_diffusion, "outputs/diffusion/model.safetensors is damaged"),
        ("evaluate@dcube", half_a_candidate, "outputs/models/dcube/model.safetensors is damaged"),
        ("train_diffusion", nothing_prepared, "outputs/prepared/dataset.json is missing: run `dvc repro prepare`"),
        ("train_classifier", no_selection, "outputs/features/selection.json is missing"),
        ("train_diffusion", damaged_checkpoints, "are damaged: remove that folder to train from the start"),
        ("train_classifier", unknown_baseline, "error: baseline: "),  # a later stage's parameter
        ("prepare", unknown_parameter, "unknown key diffusion.learningrate (did you mean learning_rate?)"),
    ],
)
def test_bad_input_ends_in_one_line_and_exit_code_2(
    name: str,
    harm: Callable[[], None],
    said: str,
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harm()
    stage, *words = words_of(name)
    with pytest.raises(SystemExit) as ended:
        run(main_of(stage), *words)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert ended.value.code == 2
    assert len(errors) == 1 and said in errors[0]
    assert not list(own.glob("outputs/**/*.partial"))
