"""Models compared on MLflow's own pages: in Chromium, on a real server, with the versions of two pipelines.

What the pages ask PostgreSQL to sort is tested in `tests/stack/test_roles.py`.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from dcube.artifacts.layout import PREPARED
from dcube.cli.ui import addresses
from dcube.config.loading import load_preset
from dcube.config.schema import Params
from dcube.registry.versions import CHALLENGER, RegisteredModel
from dcube.studies.mlflow_runs import log
from dcube.studies.output import write
from dcube.studies.study import study_from
from tests.support.browser import needs_chromium
from tests.support.discs import TINY, write_dataset
from tests.support.evaluated_candidates import CANDIDATES, NAME, run_candidates
from tests.support.mlflow_servers import running_mlflow_server
from tests.support.study_results import METRICS, table_of
from tests.support.waiting import wait_until

SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a folder for new screenshots of the documentation
STUDY = {
    "title": "A study", "reference": "good", "metrics": METRICS, "repeats": 2,
    "rows": [{"name": "good"}, {"name": "poor", "model": "baseline", "settings": {"baseline.method": "resnet18"}}],
}  # fmt: skip
expect.set_options(timeout=30_000)
pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def registered_model(mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegisteredModel]:
    """The versions of two pipelines in a working copy, on a server of this file's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("copy"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        shutil.copyfile(mlflow_database, "mlflow.db")
        write_dataset(PREPARED)
        for number, (right, epochs, names) in enumerate([(22, 4, ["dcube"]), (26, 9, [*CANDIDATES])]):
            patch.setenv("DCUBE_PIPELINE", f"pipeline-{number}")
            params = Params.model_validate(TINY | {"classifier": TINY["classifier"] | {"epochs": epochs}})
            run_candidates(params, number, right, names)
        with running_mlflow_server(Path("mlflow.db"), tmp_path_factory.mktemp("mlflow")) as (address, _):
            patch.setenv("MLFLOW_TRACKING_URI", address)
            yield RegisteredModel.existing(NAME)


@pytest.fixture
def address(registered_model: RegisteredModel) -> str:
    return registered_model.client.tracking_uri


@pytest.fixture
def links(registered_model: RegisteredModel, address: str) -> dict[str, str]:
    return dict(re.split(r":\s+", line, maxsplit=1) for line in addresses(registered_model, address))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    with context:
        yield context.new_page()


def keep(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(SCREENSHOTS, f"{name}.png"))


def values_of(page: Page, name: str) -> list[str]:
    """The values beside a parameter's or metric's name."""
    row = page.locator("tr", has=page.get_by_text(name, exact=True)).first
    expect(row).to_be_visible()
    expect(row.get_by_text("Invalid Run")).to_have_count(0)  # shown while the page loads
    return [text.strip() for text in row.locator("td, th").all_inner_texts()[1:]]


def refuse_unusable_plots(page: Page, metric: str, values: list[float]) -> None:
    """Check the plots that compare two trainings; `values` are the metric's after 4 and after 9 epochs."""
    parallel = page.get_by_role("tabpanel", name="Parallel Coordinates Plot")

    def axes() -> dict[str, list[float]]:
        dimensions = parallel.locator(".js-plotly-plot").evaluate("plot => plot.data[0].dimensions")
        return {axis["label"]: [float(value) for value in axis["values"]] for axis in dimensions}

    wait_until(lambda: "classifier.epochs" in axes(), seconds=30)  # it is drawn several times
    parallel.locator("[class*=select-selector]").last.click(position={"x": 230, "y": 12})  # beside the chosen items
    options = page.locator("[class*=item-option-content]")
    expect(options.first).to_be_visible()
    another = next(option for option in options.all() if option.inner_text() not in axes())
    name = another.inner_text()
    another.click()
    expect(parallel.locator(".axis-title").get_by_text(name, exact=True)).to_have_count(1)
    wait_until(lambda: {"classifier.epochs", name} <= axes().keys(), seconds=30)
    assert sorted(axes()["classifier.epochs"]) == [4, 9] and len(axes()[name]) == 2

    page.get_by_role("tab", name="Scatter Plot").click()
    for axis, name in {"X-axis:": "classifier.epochs", "Y-axis:": metric}.items():
        page.get_by_label(axis).click()
        page.get_by_role("option", name=name, exact=True).click()
    scatter = page.get_by_role("tabpanel", name="Scatter Plot")
    expect(scatter.locator(".xtitle")).to_have_text("classifier.epochs")
    expect(scatter.locator(".ytitle")).to_have_text(metric)
    points = scatter.locator(".js-plotly-plot").evaluate("plot => plot.data[0]")
    assert sorted(zip(map(float, points["x"]), points["y"], strict=True)) == list(zip([4, 9], values, strict=True))


def test_two_selected_versions_are_compared(
    page: Page, registered_model: RegisteredModel, links: dict[str, str]
) -> None:
    page.goto(links["versions"])
    for version in (registered_model.aliases()[CHALLENGER], "1"):  # D-Cube of the second and of the first pipeline
        link = page.get_by_role("link", name=f"Version {version}", exact=True)
        box = page.get_by_role("row").filter(has=link).get_by_role("checkbox")
        box.check(force=True)  # invisible until the mouse is over it
    page.get_by_test_id("compareButton").click()
    expect(page.get_by_text("Comparing 2 Versions")).to_be_visible()
    assert values_of(page, "Run Name:") == ["dcube", "dcube"]
    assert values_of(page, "classifier.epochs") == ["4", "9"]
    assert values_of(page, "test.macro_f1") == ["0.733", "0.867"]
    expect(page.get_by_text("classifier.dropout")).to_be_hidden()  # the same in both
    keep(page, "mlflow-compare")
    refuse_unusable_plots(page, "test.macro_f1", [0.733333, 0.866667])


def test_candidates_of_a_pipeline_are_compared_with_the_champion(page: Page, links: dict[str, str]) -> None:
    page.goto(links["compared"])
    expect(page.get_by_text("Comparing 5 Versions")).to_be_visible()
    names = ["dcube", "resnet18 baseline", "dcube", "sub-features control", "untrained U-ViT control"]
    assert values_of(page, "Run Name:") == names
    assert values_of(page, "test.macro_f1") == ["0.733", "0.667", "0.867", "0.733", "0.8"]


def test_pipelines_are_sorted_by_auroc(page: Page, links: dict[str, str]) -> None:
    page.goto(links["pipelines"])
    first = page.get_by_role("link", name="pipeline pipeline-1")
    second = page.get_by_role("link", name="pipeline pipeline-0")
    expect(first).to_be_visible()  # before that, the menu offers no metrics
    page.get_by_role("button", name="Columns", exact=True).click()
    for name in ("Dataset", "Source", "challenger.auroc", "challenger.macro_f1", "best.auroc"):
        page.get_by_title(name, exact=True).click()
    page.keyboard.press("Escape")
    assert first.bounding_box()["y"] < second.bounding_box()["y"]
    expect(page.get_by_role("gridcell", name="0.9", exact=True).first).to_be_visible()
    keep(page, "mlflow-runs")
    for box in page.locator(".ag-row .ag-checkbox-input").all()[:2]:
        box.check()
    page.get_by_test_id("runs-compare-button").click()
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    assert sorted(values_of(page, "classifier.epochs")) == ["4", "9"]
    expect(page.get_by_role("link", name="challenger.auroc")).to_be_visible()
    refuse_unusable_plots(page, "challenger.accuracy", [0.733333, 0.866667])


def test_experiment_lists_its_models(page: Page, registered_model: RegisteredModel, links: dict[str, str]) -> None:
    page.goto(links["models"])
    expect(page.get_by_role("link", name="dcube", exact=True)).to_have_count(4)  # two models and their runs
    expect(page.get_by_text(f"v{registered_model.aliases()[CHALLENGER]}", exact=True)).to_be_visible()
    keep(page, "mlflow-models")
    experiment = registered_model.holder(CHALLENGER).run.info.experiment_id
    best = registered_model.client.search_logged_models(
        [experiment], order_by=[{"field_name": "metrics.test.auroc", "ascending": False}]
    )[0]
    assert best.tags["mlflow.source.name"] == "dcube.stages.register"
    assert best.source_run_id == registered_model.holder(CHALLENGER).run_id and best.params["classifier.epochs"] == "9"


def test_version_shows_its_results_and_links_to_its_pictures(
    page: Page, registered_model: RegisteredModel, address: str
) -> None:
    page.goto(f"{address}/#/models/{NAME}/versions/3?workflowType=machine_learning")
    told = "AUROC 0.900 (0.847–0.979) · macro F1 0.867 (0.791–0.974) · vs champion +0.133 (uncorrected p = 0.02)"
    expect(page.get_by_text(told)).to_be_in_viewport()
    keep(page, "mlflow-version")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="pictures").click()
    expect(opened.value.locator("img").first).to_be_visible()


def test_version_shows_readable_tags_and_no_hashes(page: Page, registered_model: RegisteredModel, address: str) -> None:
    """Also the champion, whose history is stored in its tags."""
    (event,) = registered_model.history()
    tags = registered_model.version(event.version).entry.tags
    assert event.key in tags and len([name for name in tags if not name.startswith("mlflow.")]) <= 7
    page.goto(f"{address}/#/models/{NAME}/versions/{event.version}?workflowType=machine_learning")
    for name in ("AUROC", "data set", "kind", "patients"):
        expect(page.get_by_role("cell", name=name, exact=True)).to_be_visible()  # MLflow's table scrolls
    expect(page.get_by_text("Schema", exact=True)).to_be_in_viewport()  # the section after the tags
    for hidden in ("champion.2", "sha256", '"how"'):
        expect(page.get_by_text(hidden)).to_have_count(0)
    keep(page, "mlflow-champion")


def test_champion_is_visible_without_scrolling(page: Page, links: dict[str, str], address: str) -> None:
    page.goto(links["versions"])
    expect(page.get_by_role("link", name="version 1", exact=True)).to_be_in_viewport()
    keep(page, "mlflow-model")
    page.goto(f"{address}/#/models?workflowType=machine_learning")
    expect(page.get_by_role("row").filter(has_text="champion: version 1")).to_be_in_viewport()


def test_repeats_of_a_study_are_compared(
    page: Page, registered_model: RegisteredModel, address: str, tmp_path: Path
) -> None:
    """The repeats are children of their line, and are ticked after the line is expanded."""
    table = table_of(tmp_path / "results", study_from(STUDY, "s"), {"good": 2.5, "poor": 0.5})
    write(table, tmp_path / "out")
    experiment = registered_model.client.get_experiment_by_name(log(table, load_preset("phantom"), tmp_path / "out"))
    page.goto(f"{address}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning")
    expect(page.get_by_role("link", name="good", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="good, seed 0")).to_have_count(0)
    for line in ("good", "poor"):
        row = page.locator(".ag-row", has=page.get_by_role("link", name=line, exact=True))
        row.get_by_role("button").first.click()
        child = page.locator(".ag-row", has=page.get_by_role("link", name=f"{line}, seed 0"))
        child.locator(".ag-checkbox-input").check()
    keep(page, "mlflow-study")
    page.get_by_test_id("runs-compare-button").click()
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    assert values_of(page, "kind") == ["dcube", "resnet18"]
    expect(page.get_by_role("link", name="test.auroc")).to_be_visible()
    for value in ("2.5", "0.5"):
        expect(page.get_by_text(value, exact=True).first).to_be_visible()
