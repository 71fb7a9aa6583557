"""Two results of the real graph, compared with DVC's own commands. Nothing is trained: DVC records made-up outputs."""

import csv
import json
import shutil

import pytest
import yaml

from dcube.artifacts.layout import EVALUATION, FID, HEADLINE, PARAMS
from tests.support.browser import needs_chromium
from tests.support.checkout import ROOT, outs_of
from tests.support.working_copy import WorkingCopy

CANDIDATES = ("imagenet_probe", "dcube", "untrained_uvit", "sub_features", "baseline")
UNCHANGED = ("imagenet_probe", "baseline")
IN_120_COLUMNS = ("exp", "show", "--only-changed", "--drop", "outputs/|Created")
PLOTTED = {
    "outputs/diffusion/history.csv": ("step", "loss"),
    "outputs/diffusion/validation.csv": ("step", "fid"),
    "outputs/features/blocks.csv": ("block", "p_value"),
    "outputs/models/dcube/validation.csv": ("step", "auroc"),
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """A committed result, and an experiment with another seed in the workspace."""
    copy = WorkingCopy(tmp_path_factory.mktemp("compared"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", ".dvc/plots.html"):
        (copy.folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy.folder / name)
    shutil.copytree(ROOT / "dcube", copy.folder / "dcube", ignore=shutil.ignore_patterns("__pycache__"))
    copy.set_params()
    copy.run("git", "init", "--quiet")
    (copy.folder / "data").mkdir()
    (copy.folder / "data/raw.txt").write_text("raw")
    copy.dvc("add", "--quiet", "data")
    record(copy, auroc=0.75)
    assert untracked(copy) >= {"data.dvc", "dvc.lock"}
    assert not {name for name in untracked(copy) if name.startswith(("outputs", "data/"))}
    copy.commit()
    copy.set_params(classifier={"seed": 1})
    record(copy, auroc=0.875)
    copy.dvc("exp", "save", "--name", "another-seed")
    return copy


def record(copy: WorkingCopy, auroc: float) -> None:
    """Outputs of all stages, as if they had run."""
    for out in (out for stage in yaml.safe_load((copy.folder / "dvc.yaml").read_text())["stages"].values()
                for out in outs_of(stage) if "${" not in out):  # fmt: skip
        (copy.folder / out).mkdir(parents=True, exist_ok=True)
    for name, (x, y) in PLOTTED.items():
        (copy.folder / name).write_text(f"{x},{y}\n1,{auroc}\n2,{auroc / 2}\n3,{auroc / 3}\n")
    for name in ("prepared/dataset.json", "diffusion/config.json", "features/selection.json", "synthetic/audit.json"):
        (copy.folder / "outputs" / name).write_text("{}")
    (copy.folder / FID / HEADLINE).write_text(json.dumps({"fid": {"efficientnet_lite0": 30.0}}))
    for name in CANDIDATES:
        folder = copy.folder / EVALUATION / name
        folder.mkdir(parents=True, exist_ok=True)
        value = 0.5 if name in UNCHANGED else auroc
        (folder / HEADLINE).write_text(json.dumps({name: {"auroc": value}}))
        (folder / "metrics.json").write_text(json.dumps({"test": dict.fromkeys("abcdefgh", value)}))
    for picture in ("probe/labels.png", "evaluation/dcube/confusion.png", "evaluation/dcube/roc.png"):
        shutil.copy(ROOT / "docs/images/predict-heatmap.png", copy.folder / "outputs" / picture)
    copy.dvc("commit", "--force", "--quiet")


def untracked(copy: WorkingCopy) -> set[str]:
    listed = copy.run("git", "status", "--porcelain", "--untracked-files=all").output
    return {line[3:] for line in listed.splitlines()}


@pytest.mark.slow
def test_experiment_table_shows_both_results_in_120_columns(compared: WorkingCopy) -> None:
    shown = compared.dvc(*IN_120_COLUMNS, "--csv").output.splitlines()
    table = {row["Experiment"] or row["rev"]: row for row in csv.DictReader(shown)}
    columns = {"dcube.auroc", "untrained_uvit.auroc", "sub_features.auroc", "classifier.seed"}
    assert set(table["another-seed"]) - {"Experiment", "rev", "typ", "parent"} == columns
    assert (table["another-seed"]["dcube.auroc"], table["another-seed"]["classifier.seed"]) == ("0.875", "1")
    branch = compared.run("git", "branch", "--show-current").output.strip()
    assert (table[branch]["dcube.auroc"], table[branch]["classifier.seed"]) == ("0.75", "0")

    compared.environment["COLUMNS"] = "120"
    lines = compared.dvc(*IN_120_COLUMNS, "--no-pager").output.splitlines()
    assert max(map(len, lines)) <= 120 and "another-seed" in "".join(lines)
    assert not any(mark in "".join(lines) for mark in ("!", "…"))


@pytest.mark.slow
def test_diffs_show_only_changed_metrics_and_parameters(compared: WorkingCopy) -> None:
    metrics = json.loads(compared.dvc("metrics", "diff", "--json").output)
    assert set(metrics) == {f"{EVALUATION}/{name}/{HEADLINE}" for name in CANDIDATES if name not in UNCHANGED}
    assert metrics[f"{EVALUATION}/dcube/{HEADLINE}"] == {"dcube.auroc": {"old": 0.75, "new": 0.875, "diff": 0.125}}
    changed = json.loads(compared.dvc("params", "diff", "--json").output)
    assert changed == {str(PARAMS): {"classifier.seed": {"old": 0, "new": 1, "diff": 1}}}


@pytest.mark.slow
@needs_chromium
def test_plots_are_drawn_without_a_network(compared: WorkingCopy, browser) -> None:
    compared.dvc("plots", "diff", "HEAD")
    assert untracked(compared) == {"dvc.lock", "params.yaml"}, "git ignores what DVC writes"
    context = browser.new_context(offline=True)
    with context:
        page, asked, errors = context.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        page.goto((compared.folder / "dvc_plots/index.html").as_uri())
        assert errors == [] and all(url.startswith("file://") for url in asked)
        for title in ("diffusion loss (loss)", "FID while training (fid)", "validation AUROC (auroc)"):
            drawing = page.locator("svg", has_text=title)
            lines = drawing.locator("polyline")
            assert lines.count() == 2, "one a revision"
            assert lines.nth(0).get_attribute("points") != lines.nth(1).get_attribute("points")
            assert drawing.get_by_text("workspace", exact=True).count() == 1
        widths = page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
        assert len(widths) == 6 and all(width > 100 for width in widths), widths


def test_every_plot_has_a_type_that_the_page_draws() -> None:
    for plot in yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]:
        assert (isinstance(plot, str) and plot.endswith(".png")) or not any("template" in it for it in plot.values())
