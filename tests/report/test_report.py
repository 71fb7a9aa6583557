"""`dcube report`: the content of the page, in a working copy and from the registry alone."""

import re
import shutil
import sys
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dcube.artifacts.checksums import dvc_hash
from dcube.artifacts.layout import (
    DATASET,
    EVALUATION,
    FEATURES,
    FID,
    METRICS_FILE,
    MODELS,
    PARAMS,
    PREDICTIONS,
    PREPARED,
    REPORTED,
    SAMPLES,
)
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.artifacts.schemas.metrics import Metrics
from dcube.cli import main as cli
from dcube.config.loading import with_overrides
from dcube.config.schema import Diffusion, Params
from dcube.evaluation.metrics import HEADLINES
from dcube.evaluation.predictions import Predictions
from dcube.report.checklist import FOR_A_PERSON
from dcube.report.checklist_facts import ensemble, first_weights, model_selection, network, training
from dcube.report.hard_images import largest_errors, most_uncertain
from dcube.report.origins import material_here
from dcube.stages import register
from tests.support.discs import TINY
from tests.support.finished_run import HOSTILE, NAMES, write_run

LARGEST = 5_000_000  # bytes


@dataclass
class Page(HTMLParser):
    """What a screen reader sees: text, pictures, headings, and every address that the file names."""

    text: str = ""
    alts: list[str] = field(default_factory=list)
    headings: list[int] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    addresses: list[str] = field(default_factory=list)
    hidden: bool = False

    @classmethod
    def of(cls, file: Path) -> "Page":
        found = cls()
        HTMLParser.__init__(found)
        found.feed(file.read_text(encoding="utf-8"))
        return found

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.add(tag)
        self.hidden = tag == "style"
        self.addresses += [values[name] or "" for name in ("src", "href", "srcset", "action") if name in values]
        assert not [name for name in values if name.startswith("on")], values
        if tag == "img":
            self.alts.append(values["alt"] or "")
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.text += data


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dcube", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its page."""
    folder = tmp_path_factory.mktemp("reported")
    write_run(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(patch, "report") == 0
    return folder


@pytest.fixture
def inside(reported: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run, to read."""
    monkeypatch.chdir(reported)
    return reported


@pytest.fixture
def own(reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, to change."""
    folder = tmp_path / "own"
    shutil.copytree(reported, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def test_page_is_complete_and_loads_nothing_from_elsewhere(inside: Path) -> None:
    file = inside / "report.html"
    assert file.stat().st_size < LARGEST
    page = Page.of(file)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not page.tags & {"script", "iframe", "object", "form", "base"}
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert min(map(len, page.alts)) > 20  # every picture has a description
    for kind in ("dcube", "sub_features"):
        metrics = Metrics.load(EVALUATION / kind / METRICS_FILE)
        for name in (metric.name for metric in HEADLINES):
            interval = metrics.interval[name]
            shown = f"{metrics.test[name]:.3f}\n{interval.low:.2f}–{interval.high:.2f}"
            assert shown in page.text
    for said in (
        HOSTILE, "Phantom data", "Not intended for diagnosis", "f" * 64, "1 (training images", "45",
        "6 more have no label", "share block 2", "Block 1 is significantly not Gaussian (p < 0.05).", "30.0", "width",
        Diffusion.model_fields["width"].description,
    ):  # fmt: skip
        assert said in page.text, said
    assert "not shown" not in page.text


def test_pictures_have_descriptions_of_their_content(inside: Path) -> None:
    alts = Page.of(inside / "report.html").alts
    table = pd.read_csv(EVALUATION / "dcube" / "predictions.csv")
    malignant = table[table["label"] == "malignant"]["prediction"].value_counts()
    (confusion,) = (alt for alt in alts if alt.startswith("Confusion matrix of dcube."))
    assert f"Of {malignant.sum()} malignant" in confusion and f"{malignant['malignant']} as malignant" in confusion
    (curves,) = (alt for alt in alts if alt.startswith("Stage 1"))
    assert "the loss falls from 0.2 to 0.04" in curves and "The chosen weights, of step 40, have 35." in curves
    assert sum(f"images of the class {HOSTILE}." in alt for alt in alts) == 2  # real, and synthetic
    hard = [alt for alt in alts if alt.startswith("Test image")]
    wrong = (table["label"] != table["prediction"]).sum()
    assert len(hard) == min(6, wrong) + 6 and all("the parts that support" in alt for alt in hard)


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("best", "uses the best."),
        ("worst", "uses the worst."),
        ("last", "uses the last block, whatever"),
    ],
)
def test_page_says_which_blocks_the_classifier_uses(
    own: Path, monkeypatch: pytest.MonkeyPatch, selection: str, words: str
) -> None:
    params = with_overrides(Params.model_validate(TINY), {"classifier.selection": selection}, where="test")
    (own / PARAMS).write_text(params.to_yaml())
    assert run(monkeypatch, "report") == 0
    assert f"The classifier {words}" in Page.of(own / "report.html").text


@pytest.mark.parametrize(
    ("name", "uvit", "blocks", "stage_1"),
    [("dcube", "seed 3", True, True), ("untrained_uvit", "seed 5", True, False), ("sub_features", "", False, False)],
)
def test_checklist_describes_only_parts_of_its_candidate(
    own: Path, name: str, uvit: str, blocks: bool, stage_1: bool
) -> None:
    seeds = {"diffusion.seed": 3, "classifier.seed": 5, "classifier.selection": "last"}
    (own / PARAMS).write_text(with_overrides(Params.model_validate(TINY), seeds, where="test").to_yaml())
    if name == "untrained_uvit":
        for folder in (EVALUATION, MODELS):
            shutil.copytree(folder / "sub_features", folder / name)
    material = replace(material_here(), wanted=name)
    last = len(material.selection.statistic) - 1
    assert material.selection.best != [last]
    assert (f" Blocks: {last}." in network(material)) == ("Blocks" in network(material)) == blocks
    assert ("U-ViT" in first_weights(material)) == bool(uvit) and uvit in first_weights(material)
    assert ("Diffusion model" in training(material)) == stage_1
    assert ("diffusion model" in model_selection(material)) == stage_1
    assert "averaged over the steps" in ensemble(material)


def test_ensemble_is_described_by_what_the_candidate_is(own: Path) -> None:
    (own / PARAMS).write_text(
        with_overrides(Params.model_validate(TINY), {"classifier.ema_decay": 0}, where="test").to_yaml()
    )
    assert ensemble(material_here()) == "None: one network."
    file = EVALUATION / "dcube" / METRICS_FILE
    Metrics.load(file).model_copy(update={"folds": 3}).save(file)
    assert ensemble(material_here()).startswith("The mean of the calibrated probabilities of 3 networks")


def test_reliability_is_drawn_with_the_bins_of_the_evaluation(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = EVALUATION / "dcube" / METRICS_FILE
    metrics = Metrics.load(file)
    seven = metrics.evaluation.model_copy(update={"calibration_bins": 7})
    metrics.model_copy(update={"evaluation": seven}).save(file)
    assert run(monkeypatch, "report") == 0
    alts = [alt for alt in Page.of(own / "report.html").alts if alt.startswith("Reliability of dcube")]
    assert len(alts) == 1 and "in 7 steps" in alts[0]


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        (
            {"grouping": "none", "split_origin": "generated"},
            ["Split by image: metrics are likely too high", "was made here, by image"],
            "by patient",
        ),
        (
            {"grouping": "none", "split_origin": "official"},
            ["Official split by image", "with the data, by image"],
            "by patient",
        ),
        (
            {"grouping": "none", "without_patient": 2},
            ["2 labelled images name no patient: if other images", "by patient (2 labelled images name no patient)"],
            "by image",
        ),
        (
            {"grouping": "guessed"},
            ["Groups guessed from file names: metrics may still be too high", "by groups that are guessed"],
            "by patient",
        ),
        ({"grouping": "group_by"}, ["by group (data.group_by)"], "by patient"),
        (
            {"grouping": "group_by", "without_patient": 1},
            ["1 labelled image belongs to no group: if other images", "(data.group_by) (1 labelled image belongs"],
            "by patient",
        ),
        ({"grouping": "patients", "split_origin": "generated"}, ["was made here, by patient"], "too high"),
    ],
)
def test_page_explains_how_the_split_was_grouped(
    own: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], said: list[str], unsaid: str
) -> None:
    info = DatasetInfo.load(PREPARED / DATASET)
    info.model_copy(update=changes).save(PREPARED / DATASET)
    for kind in ("dcube", "sub_features"):
        file = EVALUATION / kind / METRICS_FILE
        Metrics.load(file).model_copy(update=changes).save(file)
    assert run(monkeypatch, "report") == 0
    text = Page.of(own / "report.html").text
    assert [words for words in said if words not in text] == [] and unsaid not in text
    assert "better in" not in text or changes["grouping"] not in ("none", "guessed")


def test_page_and_checklist_show_data_warnings(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"warnings": ["what tells the classes apart by itself: file format"]}
    DatasetInfo.load(PREPARED / DATASET).model_copy(update=changes).save(PREPARED / DATASET)
    assert run(monkeypatch, "report") == 0
    assert "What tells the classes apart by itself: file format." in Page.of(own / "report.html").text
    assert run(monkeypatch, "report", "--checklist", "-o", str(own / "filled.md")) == 0
    assert "by itself: file format." in (own / "filled.md").read_text()


def test_hard_images_match_a_plain_search() -> None:
    generator = np.random.default_rng(1)
    chances = generator.dirichlet([0.6] * 3, size=40)
    truth = generator.integers(0, 3, 40)
    columns = {"id": range(40), "file": "", "patient": "", "sha256": "", "label": [NAMES[i] for i in truth]}
    table = pd.DataFrame(columns | {f"probability_{name}": chances[:, i] for i, name in enumerate(NAMES)})
    found = Predictions(table)
    wrong = sorted((chances[i, truth[i]], i) for i in range(40) if max(chances[i]) > chances[i, truth[i]])
    assert largest_errors(found).tolist() == [i for _, i in wrong[:6]]
    unsure = sorted((sum(p * np.log(p) for p in chances[i]), i) for i in range(40))
    assert most_uncertain(found).tolist() == [i for _, i in unsure[:6]]


def test_missing_parts_are_marked_as_not_shown(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / FID / SAMPLES).unlink()
    (own / MODELS / "dcube" / "model.safetensors").unlink()
    assert run(monkeypatch, "report", "-o", "pages/other.html") == 0
    page = Page.of(own / "pages/other.html")
    assert "Real images beside synthetic ones: not shown." in page.text
    assert "Heatmaps: not shown." in page.text
    assert page.text.count("not shown") == 2


LOCK = """
stages:
  select_features:
    deps: [{{path: outputs/prepared, md5: a}}]
    params: {{params.yaml: {{features.keep: {keep}}}}}
    outs: [{{path: outputs/features, md5: {made}}}]
  train_classifier:
    deps: [{{path: outputs/features, md5: {features}}}]
"""


@pytest.mark.slow
def test_mixed_results_of_two_runs_are_refused(own: Path, monkeypatch, capsys) -> None:
    def refused() -> str:
        (own / "report.html").unlink(missing_ok=True)
        code, error = run(monkeypatch, "report"), capsys.readouterr().err
        assert (code == 2) == bool(error) == (not (own / "report.html").exists())
        return error

    keep, made = TINY["features"]["keep"], dvc_hash(own / FEATURES)
    for features, kept, words in (
        (made, keep, ""),
        ("c", keep, "outputs/features changed after the results were made of it"),
        (made, keep + 1, "params.yaml: features.keep changed after the results were made of it"),
    ):
        (own / "dvc.lock").write_text(LOCK.format(features=features, keep=kept, made=made))
        assert words in refused() if words else refused() == ""
    (own / "dvc.lock").write_text(LOCK.format(features="b", keep=keep, made="b"))  # as of another branch
    assert "outputs/features: not as dvc.lock records" in refused()
    (own / "dvc.lock").unlink()

    config = own / MODELS / "sub_features/config.json"
    content = config.read_text()
    config.write_text(
        content.replace(Metrics.load(EVALUATION / "sub_features" / METRICS_FILE).weights_sha256, "0" * 64)
    )
    assert "the metrics of sub_features are of other weights than those in" in refused()
    config.unlink()
    assert "the weights of sub_features are missing" in refused()
    config.write_text(content)
    assert refused() == ""


@pytest.mark.slow
def test_origin_shows_the_commit_of_the_results(own: Path, monkeypatch) -> None:
    assert run(monkeypatch, "report") == 0
    assert "these results were not registered" in Page.of(own / "report.html").text
    monkeypatch.setattr("dcube.tracking.lineage.git_commit", lambda: "a" * 40)
    register.main()
    monkeypatch.setattr("dcube.tracking.lineage.git_commit", lambda: "b" * 40)
    assert run(monkeypatch, "report") == 0
    text = Page.of(own / "report.html").text
    assert "a" * 40 in text and "dcube-discs/1" in text
    assert "today's checkout has another commit" in text and "b" * 40 in text


def test_report_refuses_images_with_other_contents(own: Path, monkeypatch, capsys) -> None:
    """With the same fingerprint but other rows, a picture could be shown with the label of another one."""
    manifest = pd.read_csv(own / PREPARED / "manifest.csv", dtype=str, keep_default_na=False)
    manifest["sha256"] = [f"other {number}" for number in range(len(manifest))]
    manifest.to_csv(own / PREPARED / "manifest.csv", index=False)
    assert run(monkeypatch, "report") == 2
    assert "it holds another data set by now" in capsys.readouterr().err


def test_results_name_their_data_set(own: Path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "results") == 0 and f"fingerprint {'f' * 12}." in capsys.readouterr().out
    info = DatasetInfo.load(own / PREPARED / DATASET)
    info.model_copy(update={"fingerprint": "0" * 64}).save(own / PREPARED / DATASET)
    assert run(monkeypatch, "results") == 0
    assert "are of another data set than the prepared one" in " ".join(capsys.readouterr().out.split())


def test_report_without_a_run_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "report") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_report_from_the_registry_lacks_only_the_images(
    own: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.main()
    assert all((own / file).exists() for file in REPORTED)
    here = Page.of(own / "report.html")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{own / 'mlflow.db'}")
    (own / PREPARED).rename(own / "away")
    monkeypatch.chdir(elsewhere)
    assert run(monkeypatch, "report", "dcube-discs@champion") == 0
    (file,) = elsewhere.iterdir()
    assert file.name == "report-dcube-discs-1.html"
    page = Page.of(file)
    assert "dcube-discs, version 1 (dcube)" in page.text and "champion" in page.text
    missing = {alt for alt in here.alts if alt not in page.alts}
    assert missing and all(
        alt.startswith(("Test image", "The synthetic", "The 3 syn", "The training")) for alt in missing
    )
    assert set(page.alts) <= set(here.alts)
    assert "The images themselves: not shown." in page.text and page.text.count("not shown") == 1
    assert "patient-" not in file.read_text(encoding="utf-8")
    assert run(monkeypatch, "report", "dcube-discs@champion", "--checklist") == 0
    filled = (elsewhere / "checklist-dcube-discs-1.md").read_text(encoding="utf-8")
    assert re.findall(r"\d+ of \d+ items", filled) == ["29 of 44 items", "26 of 52 items"], "as the run knew"


def test_checklist_fills_in_what_the_run_knows_and_leaves_the_rest(
    inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "report", "--checklist", "-o", str(tmp_path / "filled.md")) == 0
    assert re.search(r"filled\.md, [1-9]\d* kB: ", capsys.readouterr().out)
    rows = re.findall(r"^\| (\d+[a-g]?) \| (.+?) \| (.+) \|$", (tmp_path / "filled.md").read_text(), re.MULTILINE)
    assert [number for number, _, _ in rows[:44]] == [str(number) for number in range(1, 45)], "CLAIM 2024"
    assert len(rows) == 44 + 52 and rows[-1][0] == "27c", "TRIPOD+AI"
    answers = {asked: answer for _, asked, answer in rows}
    assert answers["Funding"] == FOR_A_PERSON
    metrics = Metrics.load(EVALUATION / "dcube" / METRICS_FILE)
    low, high = metrics.interval["auroc"].low, metrics.interval["auroc"].high
    performance = answers["Diagnostic performance with its precision"]
    assert f"AUROC {metrics.test['auroc']:.3f} ({low:.3f}–{high:.3f})" in performance
    wrong = Predictions.load(EVALUATION / "dcube" / PREDICTIONS)
    errors = int((wrong.probabilities.argmax(1) != wrong.labels).sum())
    counted = re.findall(r"(\d+) of \d+ ", answers["Analysis of failures"])
    assert sum(map(int, counted)) == errors > 0
