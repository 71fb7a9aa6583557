"""`dcube plan`: the parameters that it writes and keeps, and its time estimates. The speeds are simulated."""

import os
import re
import shutil
import subprocess
import sys
import time
from itertools import count

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dcube.artifacts.layout import PARAMS, PLAN, PLAN_PAGE
from dcube.artifacts.schemas.plan import Decision, PlanSummary
from dcube.config.loading import load_params, load_preset, with_overrides
from dcube.config.schema import Params
from dcube.planning import busy_cores, dataset_and_machine, time_planner
from dcube.planning.busy_cores import BUSY, CoreWatch
from dcube.planning.sizes import UVITS
from dcube.planning.throughput import CandidateSpeed, DiffusionSpeed, candidate_speed, diffusion_speed
from dcube.planning.time_planner import SHARES
from dcube.planning.writing import params_text

STAGES = (
    "prepare", "train_imagenet_probe", "evaluate@imagenet_probe", "train_diffusion", "select_features",
    "synthesize", "train_classifier", "evaluate@dcube", "train_untrained_uvit", "evaluate@untrained_uvit",
    "train_sub_features", "evaluate@sub_features", "train_baseline", "evaluate@baseline",
    "track_fid", "probe", "register",
)  # fmt: skip
STEP = 0.25  # seconds a step on the simulated machine


def draw_images(folder, side=(80, 60), patients=0):
    rng = np.random.default_rng(0)
    for name, level in (("benign", 60), ("malignant", 140)):
        for number in range(150):
            owner = (
                folder / name / f"patient{number // 5:02d}_{number}" if patients else folder / name / f"{number:03d}"
            )
            owner.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(0, 80, side[::-1]) + level
            if patients:  # the image shows its patient, and no class
                noise += np.random.default_rng(number // 5 + level).integers(0, 100, side[::-1]) - level
            Image.fromarray(noise.astype(np.uint8)).save(owner.with_suffix(".png"))


@pytest.fixture
def machine(monkeypatch):
    """A simulated machine: step time is proportional to the network size, `step` seconds for a medium network."""

    monkeypatch.setattr(busy_cores, "waited_seconds", lambda: 0.0)

    def make(step, stage=1.0):
        def diffusion(params, classes):
            tokens = (params.data.diffusion_image_size // params.diffusion.patch_size) ** 2
            work = tokens * params.diffusion.width**2 * params.diffusion.depth / (64 * 128**2 * 4)
            return DiffusionSpeed(step * work, step * work / 200, step / 100)

        def candidate(recipe, params, classes):
            work = (params.data.image_size / 64) ** 2
            seconds = step * work / 50
            return CandidateSpeed(step * work, seconds, seconds / params.compute.processes, seconds)

        monkeypatch.setattr(time_planner, "diffusion_speed", diffusion)
        monkeypatch.setattr(time_planner, "candidate_speed", candidate)
        monkeypatch.setattr(dataset_and_machine, "stage_start_seconds", lambda: stage)

    make(STEP)
    return make


@pytest.fixture
def planned(run_dcube, machine, tmp_path, monkeypatch):
    """`dcube plan small …` in a working copy with 300 images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dcube.repository.graph.stages_in_order", lambda folder: [Named(name) for name in STAGES])
    draw_images(tmp_path / "data/small")
    PARAMS.write_text(load_preset("phantom").to_yaml())
    return lambda *words: run_dcube("plan", "small", *words)


class Named:
    def __init__(self, name):
        self.name = name


def test_plan_writes_valid_parameters_and_a_reason_for_each(planned):
    code, printed = planned("--minutes", "10")
    assert code == 0 and "dvc repro" in printed
    params, record = load_params(PARAMS), PlanSummary.load(PLAN)
    assert params.data.name == "small" and (params.data.channels, params.data.fit) == (1, "pad")
    assert params.data.identifiers == "hashed"
    assert with_overrides(Params(), {one.parameter: one.value for one in record.decisions}, "") == with_overrides(
        params, {"data.name": "phantom"}, ""
    )
    page, comments = PLAN_PAGE.read_text(), PARAMS.read_text()
    assert "| near duplicates | 0 images |" in page and "| stored as | 8-bit grey (300) |" in page
    assert "| images | 300, none of them without a label |" in page and "| `data.folds` | `null` |" in page
    assert f"| `diffusion.epochs` | `{params.diffusion.epochs:g}` |" in page and "1 CPU threads" not in page
    for decision in record.decisions:
        assert decision.reason and decision.reason in page and f"# {decision.reason}" in comments
    assert list(record.estimate) == list(STAGES)
    assert sum(record.estimate.values()) <= 600


@pytest.mark.slow
def test_more_time_or_a_faster_machine_gives_larger_networks(planned, machine):
    def sizes_and_time(*words):
        assert planned(*words, "--replace")[0] == 0
        params = load_params(PARAMS)
        return params.diffusion.width, params.data.image_size, sum(PlanSummary.load(PLAN).estimate.values())

    short, long = sizes_and_time("--minutes", "20"), sizes_and_time("--hours", "8")
    assert all(a <= b for a, b in zip(short, long, strict=True)) and short[2] < long[2]
    machine(0.001)
    assert sizes_and_time("--hours", "8")[:2] == (UVITS[-1].width, 128) == (512, 128)
    machine(STEP, stage=20.0)
    code, printed = planned("--minutes", "5", "--replace")
    assert code == 2 and "5 min are too short for any training" in printed


def test_busy_cores_are_not_blamed_on_the_machine(planned, machine, monkeypatch):
    assert planned("--minutes", "30")[0] == 0 and "Other programs" not in PLAN_PAGE.read_text()
    ever_more = count(step=1000)
    monkeypatch.setattr("dcube.planning.busy_cores.waited_seconds", lambda: next(ever_more))
    code, printed = planned("--minutes", "30")
    said = "Other programs use the cores: the measurements waited for a core"
    assert code == 0 and said in printed and said in PLAN_PAGE.read_text()
    machine(10.0)
    code, printed = planned("--minutes", "8")
    assert code == 2 and "because other programs use the cores: try again when they are idle" in printed
    assert "faster machine" not in printed


def test_waiting_for_a_core_is_measured():
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        cores, end = CoreWatch(), time.monotonic() + 1
        while time.monotonic() < end:
            pass
        assert BUSY < cores.waiting() < 1
    finally:
        for burner in burners:
            burner.kill()


def test_one_minute_and_equal_epochs_are_said_correctly(planned):
    code, printed = planned("--minutes", "1")
    assert code == 2 and re.search(r"1 min is too short .* give at least \d+ minutes, or", printed)
    code, printed = planned("--minutes", "8")
    assert code == 0 and "data.folds: null" in printed and ".0 " not in printed and "FID is measured 4 times" in printed
    reasons = {one.parameter: (one.value, one.reason) for one in PlanSummary.load(PLAN).decisions}
    assert reasons["data.image_size"] == (
        64,
        "the smallest of 3 sides: on 128 pixels, 8.33 epochs do not fit into the time",
    )
    assert reasons["features.images"] == (194, "194 of 194 training images")
    assert reasons["data.folds"][1].startswith("one split is one training")


@pytest.mark.parametrize("step", [2.0, 10.0])
@pytest.mark.parametrize("goal", SHARES)
def test_too_short_time_is_refused_with_a_sufficient_time(planned, machine, step, goal):
    """A plan never has only a few steps, nor a stage 1 that is little longer than its warm-up."""
    machine(step)
    code, printed = planned("--minutes", "8", "--goal", goal)
    assert code == 2 and "are too short for" in printed and not PLAN.exists()
    (enough,) = re.findall(r"give at least (\d+)", printed)
    assert planned("--minutes", enough, "--goal", goal)[0] == 0
    params = load_params(PARAMS)
    assert min(params.classifier.epochs, params.baseline.epochs) * (195 // 32) >= 45  # 50, less rounding of epochs
    assert (params.diffusion.epochs or 0) * (195 // 32) >= 280  # 300, less rounding to multiples of FID measurements
    assert sum(PlanSummary.load(PLAN).estimate.values()) <= 60 * int(enough)


def test_network_sizes_that_contradict_a_set_parameter_are_skipped(planned, machine):
    machine(0.001)
    code, printed = planned("--hours", "8", "--set", "diffusion.heads=6")
    assert code == 0, printed
    assert load_params(PARAMS).diffusion.width == 96
    code, printed = planned("--hours", "8", "--replace", "--set", "diffusion.heads=7")
    assert code == 2 and "heads" in printed


@pytest.mark.parametrize(("words", "processes"), [((), 4), (("--set", "diffusion.batch_size=10"), 2)])
def test_number_of_processes_divides_the_batch_size(planned, monkeypatch, words, processes):
    def machine_facts(compute):
        return dataset_and_machine.Machine("4 × GPU", 4, 80, True, 1.0)

    monkeypatch.setattr("dcube.planning.plan.machine_facts", machine_facts)
    assert planned("--minutes", "30", *words)[0] == 0
    assert load_params(PARAMS).compute.processes == processes


def test_goal_shifts_time_between_diffusion_and_classifiers(planned):
    def diffusion_to_classifiers(goal):
        assert planned("--minutes", "30", "--goal", goal, "--replace")[0] == 0
        seconds = PlanSummary.load(PLAN).estimate
        classifiers = ("train_classifier", "train_untrained_uvit", "train_sub_features")
        return seconds["train_diffusion"] / sum(seconds[name] for name in classifiers)

    few_labels, balanced, best = map(diffusion_to_classifiers, SHARES)
    assert few_labels > 1.5 * balanced > 2 * best


def test_time_that_classifiers_of_a_tiny_set_do_not_need_goes_to_stage_1(planned, tmp_path):
    for file in [file for file in (tmp_path / "data/small").rglob("*.png") if int(file.stem) >= 15]:
        file.unlink()
    code, printed = planned("--minutes", "5")
    assert code == 0 and "will take about 4 of 5 minutes" in printed
    params, record = load_params(PARAMS), PlanSummary.load(PLAN)
    assert params.classifier.epochs == 70 and params.diffusion.epochs >= 800  # one step each
    assert 0.85 * 300 < sum(record.estimate.values()) < 300
    reasons = {one.parameter: one.reason for one in record.decisions}
    assert reasons["classifier.epochs"].startswith("70 steps of 18 images; ")
    said = "the time would allow more than 70 epochs, the most of a plan"
    assert said in reasons["classifier.epochs"] and said not in reasons["diffusion.epochs"]


@pytest.mark.parametrize("baseline", [0.1, 1.0, 3.0])
def test_baseline_sees_as_many_images_as_dcube_whichever_is_faster(planned, monkeypatch, baseline):
    def candidate(recipe, params, classes):
        seconds = STEP * (baseline if recipe.kind == "baseline" else 1)
        return CandidateSpeed(seconds, seconds / 50, seconds / 50, seconds / 50)

    monkeypatch.setattr(time_planner, "candidate_speed", candidate)
    code, printed = planned("--minutes", "30", "--goal", "best")
    assert code == 0, printed
    params = load_params(PARAMS)
    assert params.baseline.epochs == params.classifier.epochs
    reasons = {one.parameter: one.reason for one in PlanSummary.load(PLAN).decisions}
    assert reasons["baseline.epochs"].startswith("as many epochs as D-Cube: ")
    seen = f"{32 * 6 * int(params.classifier.epochs):,}"
    assert f"In training, D-Cube sees {seen} images and the baseline {seen}.\n" in PLAN_PAGE.read_text()
    assert 0.85 * 1800 < sum(PlanSummary.load(PLAN).estimate.values()) <= 1800


@pytest.mark.parametrize(
    ("by_hand", "baseline", "said"),
    [
        ("classifier.epochs=300", 100, "the time allows no more: "),
        ("classifier.epochs=5", 5, "as many epochs as D-Cube: "),
        ("baseline.epochs=70", 70, "set by hand"),
    ],
)
def test_plan_says_who_sees_more_images_if_epochs_are_set_by_hand(planned, by_hand, baseline, said):
    assert planned("--minutes", "20", "--set", by_hand)[0] == 0
    params, page = load_params(PARAMS), PLAN_PAGE.read_text()
    reasons = {one.parameter: one.reason for one in PlanSummary.load(PLAN).decisions}
    assert reasons["baseline.epochs"].startswith(said) and params.baseline.epochs <= baseline
    ratio = params.classifier.epochs / params.baseline.epochs
    favoured = "D-Cube" if ratio > 1 else "the baseline"
    said = f"{max(ratio, 1 / ratio):.1f} times as many favour {favoured} in a comparison."
    assert (said in page) == (ratio != 1) and page.count("In training, D-Cube sees") == 1


def test_reasons_for_sizes_say_what_limits_them(planned, machine, tmp_path):
    def reasons(*words):
        assert planned(*words, "--replace")[0] == 0
        of_all = {one.parameter: one.reason for one in PlanSummary.load(PLAN).decisions}
        return of_all["diffusion.width"], of_all["data.image_size"]

    short = reasons("--minutes", "8")[0]
    assert re.fullmatch(
        r"the smallest of 5 sizes, \S+ s a step: 1000 steps of the next larger one do not fit into the time", short
    )
    machine(0.0001)
    uvit, side = reasons("--hours", "8")
    assert re.fullmatch(r"the largest of 5 sizes, \S+ s a step", uvit)
    assert side == "number 2 from the smallest of 3 sides: larger ones are not for images of about 80 pixels"
    assert "larger ones contradict what is set by hand" in reasons("--hours", "8", "--set", "diffusion.heads=6")[0]
    draw_images(tmp_path / "data/small", side=(30, 20))
    uvit, side = reasons("--hours", "8")
    assert (
        uvit.startswith("number 2 from the smallest of 5 sizes")
        and "larger ones are not for images of about 30 pixels" in uvit
    )
    assert side == "the smallest of 3 sides: larger ones are not for images of about 30 pixels"
    draw_images(tmp_path / "data/small", side=(300, 200))
    assert reasons("--hours", "8")[1] == "the largest of 3 sides"


def test_planning_again_keeps_parameters_set_by_hand(planned):
    assert planned("--minutes", "10", "--set", "baseline.method=resnet50")[0] == 0
    text = PARAMS.read_text()
    changed = text.replace(f"margin: {load_params(PARAMS).diffusion.margin}", "margin: 0.25")
    assert changed != text
    PARAMS.write_text(changed)
    assert planned("--minutes", "60")[0] == 0
    params = load_params(PARAMS)
    assert (params.diffusion.margin, params.baseline.method) == (0.25, "resnet50")
    assert "set by hand" in PLAN_PAGE.read_text()
    assert planned("--minutes", "60", "--replace")[0] == 0
    assert load_params(PARAMS).diffusion.margin == 1.0


def test_preset_used_between_plans_is_not_called_set_by_hand(planned):
    assert planned("--minutes", "10")[0] == 0
    PARAMS.write_text(load_preset("phantom").to_yaml())
    assert planned("--minutes", "10")[0] == 0
    assert "set by hand" not in PLAN_PAGE.read_text()


def test_edited_params_without_a_plan_are_not_overwritten(planned):
    PARAMS.write_text(load_preset("phantom").to_yaml().replace("margin: 1.0", "margin: 0.5"))
    code, printed = planned("--minutes", "10")
    assert code == 2 and "--replace" in printed and not PLAN.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--minutes", "10", "--hours", "1"), "not both"),
        (("--minutes", "10", "--set", "diffusion.width"), "expected group.key=value"),
        (("--minutes", "10", "--set", "diffusion.wdth=64"), "did you mean width?"),
    ],
)
def test_wrong_arguments_are_refused_with_one_line_and_write_nothing(planned, words, said):
    before = PARAMS.read_text()
    code, printed = planned(*words)
    assert code == 2 and said in printed and len(printed.strip().splitlines()) == 1
    assert PARAMS.read_text() == before and not PLAN.exists()


def test_unknown_patients_are_grouped_if_their_images_are_similar(planned, tmp_path):
    shutil.rmtree(tmp_path / "data/small")
    draw_images(tmp_path / "data/small", patients=10)
    code, printed = planned("--minutes", "10")
    assert code == 0 and "data.group_by is a guess from file names" in printed
    reasons = {one.parameter: one.reason for one in PlanSummary.load(PLAN).decisions}
    assert "patients are unknown" in reasons["data.group_by"]
    guessed = load_params(PARAMS).data.group_by
    assert guessed.startswith("guessed:")  # until a person confirms it, here by editing the file
    PARAMS.write_text(PARAMS.read_text().replace(guessed, guessed.removeprefix("guessed:")))
    assert planned("--minutes", "10")[0] == 0
    assert load_params(PARAMS).data.group_by == guessed.removeprefix("guessed:")


def test_names_that_say_patient_are_used_without_a_leak_and_other_proposals_are_counted(planned, tmp_path):
    def group_by():
        assert planned("--minutes", "10", "--replace")[0] == 0
        return next(one for one in PlanSummary.load(PLAN).decisions if one.parameter == "data.group_by")

    numbered = group_by()
    assert numbered.value is None
    assert numbered.reason.startswith("patients are unknown; proposed groups: 2 of `dcube data check`, none leaks")
    for number, file in enumerate(sorted((tmp_path / "data/small").rglob("*.png"))):
        file.rename(file.with_name(f"Patient_{number // 3}_{number}.png"))
    named = group_by()
    assert named.value == "guessed:pattern:(?i)(patient[_ -]?[0-9]+)"
    assert "the file names seem to name 100 patients" in named.reason and "begin again" not in named.reason
    for file in sorted((tmp_path / "data/small").rglob("*.png")):
        file.rename(file.with_name(f"case_{1 + int(file.stem.split('_')[-1]) % 150}_{file.stem.split('_')[-1]}.png"))
    again = group_by()
    assert again.value == "guessed:pattern:(?i)(case[_ -]?[0-9]+)"
    assert "set data.group_by to pattern:(?i)^(.*?case[_ -]?[0-9]+)" in again.reason
    for file in sorted((tmp_path / "data/small").rglob("*.png")):
        file.rename(file.with_name(f"scan{7 * int(file.stem.split('_')[-1]) % 150 * 3}.png"))
    shared = group_by()
    assert shared.value == r"guessed:pattern:([^/]+)\.\w+$" and "name 150 patients" in shared.reason
    for number, file in enumerate(sorted((tmp_path / "data/small").rglob("*.png"))):
        letters = str(number).translate(str.maketrans("0123456789", "abcdefghij"))
        file.rename(file.with_name(f"{letters}.png"))
    assert "proposed groups: none in the file names" in group_by().reason


@pytest.mark.parametrize(("pixels", "channels"), [(1, 1), (4000, 3)])
def test_single_coloured_pixel_does_not_make_colour_images(planned, tmp_path, pixels, channels):
    for file in (tmp_path / "data/small").rglob("*.png"):
        values = np.array(Image.open(file).convert("RGB"))
        values.reshape(-1, 3)[:pixels, 0] = 255
        Image.fromarray(values).save(file)
    assert planned("--minutes", "10")[0] == 0
    assert load_params(PARAMS).data.channels == channels


def test_class_balance_follows_the_class_frequencies(planned, tmp_path):
    assert planned("--minutes", "10")[0] == 0
    assert load_params(PARAMS).classifier.class_balance == "none"
    for file in sorted((tmp_path / "data/small/malignant").iterdir())[40:]:
        file.unlink()
    assert planned("--minutes", "10")[0] == 0
    params = load_params(PARAMS)
    assert params.classifier.class_balance == params.baseline.class_balance == "logit_adjustment"
    assert params.classifier.augmentation == "none"  # lowered AUROC in short trainings (docs/how-to/rare-classes.md)
    reasons = {one.parameter: one.reason for one in PlanSummary.load(PLAN).decisions}
    assert "26 of malignant (1:3." in reasons["classifier.class_balance"]


def test_identifiers_are_kept_only_on_request(planned):
    assert planned("--minutes", "10", "--keep-names")[0] == 0
    assert load_params(PARAMS).data.identifiers == "kept"


def test_time_estimate_is_steps_times_seconds(planned):
    """The expected seconds are computed again from the written files."""
    planned("--minutes", "30")
    params, seconds = load_params(PARAMS), PlanSummary.load(PLAN).estimate
    train, validation = 195, 45  # of 300 images, 60 are for the test split
    work = STEP * (params.data.image_size / 64) ** 2
    epoch = train // 32 * work + (train + validation) * work / 50
    assert seconds["train_classifier"] == pytest.approx(0.3 + params.classifier.epochs * epoch, rel=0.05)
    assert seconds["train_baseline"] == pytest.approx(0.3 + params.baseline.epochs * epoch, rel=0.05)
    assert seconds["probe"] < 0.3 < seconds["select_features"]
    steps = params.diffusion.epochs * (train // 32)
    tokens = (params.data.diffusion_image_size // params.diffusion.patch_size) ** 2
    network = STEP * tokens * params.diffusion.width**2 * params.diffusion.depth / (64 * 128**2 * 4)
    generated = 4 * params.fid.samples * (network / 10 + STEP / 100)
    assert seconds["train_diffusion"] == pytest.approx(0.3 + steps * network + generated + train * STEP / 100, rel=0.05)


@pytest.mark.slow
def test_time_estimate_includes_synthesis_and_probes(planned):
    assert planned("--minutes", "30")[0] == 0
    without = PlanSummary.load(PLAN).estimate
    words = ("--set", "synthesis.ratio={benign: 1, malignant: 3}", "--set", "probe.labels=[20, 50]")
    assert planned("--minutes", "30", "--replace", "--set", "synthesis.maximum=100000", *words)[0] == 0
    params, seconds = load_params(PARAMS), PlanSummary.load(PLAN).estimate
    tokens = (params.data.diffusion_image_size // params.diffusion.patch_size) ** 2
    network = STEP * tokens * params.diffusion.width**2 * params.diffusion.depth / (64 * 128**2 * 4)
    benign = malignant = 150 * 195 // 300
    wanted = 3 * max(benign, malignant) - malignant  # 1:3
    assert seconds["synthesize"] == pytest.approx(0.3 + wanted * 20 * network / 200, rel=0.05)
    shown = 2 * (6 + 1) * 300 * network / 200  # two models, six timesteps for the map and one for the curves
    assert seconds["probe"] > 0.3 + shown and without["probe"] < 0.3
    assert sum(seconds.values()) - seconds["synthesize"] <= 30 * 60


@given(st.lists(st.sampled_from(["diffusion.margin", "data.fit", "classifier.sub_features.stage"]), unique=True))
def test_comments_do_not_change_parameters(names):
    decisions = [Decision(parameter=name, value=0, reason="because: # of 'it'") for name in names]
    plan = PlanSummary(dataset="x", seconds=60, goal="best", machine="m", decisions=decisions, estimate={})
    params = load_preset("phantom")
    assert yaml.safe_load(params_text(params, plan)) == params.model_dump(mode="json")


@pytest.mark.slow
def test_measured_speeds_depend_on_the_network_size():
    small = with_overrides(
        load_preset("phantom"), {"data.image_size": 32, "data.diffusion_image_size": 16, "diffusion.width": 32}, ""
    )
    wide = with_overrides(small, {"diffusion.width": 256, "diffusion.depth": 8}, "")
    slow, fast = diffusion_speed(wide, 3), diffusion_speed(small, 3)
    assert slow.step > 2 * fast.step > 0 and slow.solver_step > fast.solver_step > 0
    recipes = time_planner.recipes(small)
    head, probe = (candidate_speed(recipes[name], small, 3) for name in ("dcube", "imagenet_probe"))
    assert head.step > probe.step > 0 and head.evaluation > 0
    assert head.statistics == head.evaluation and probe.encoding > 0
    augmented = with_overrides(small, {"baseline.method": "imagenet_probe", "baseline.augmentation": "radiograph"}, "")
    assert candidate_speed(time_planner.recipes(augmented)["baseline"], augmented, 3).encoding == 0
