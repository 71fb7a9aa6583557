"""The results page of a finished run, tested with a real MLflow server and its pages."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from dcube.artifacts.layout import EVALUATION, PARAMS, PREPARED
from dcube.config.schema import Params
from dcube.evaluation.conclusions import evaluations
from dcube.registry.versions import CHAMPION, RegisteredModel
from dcube.stages import register
from dcube.tracking.pages import version_page
from flows.results_page import headline, results_page
from tests.support.browser import needs_chromium
from tests.support.discs import TINY, write_dataset
from tests.support.evaluated_candidates import NAME, run_pipeline, write_evaluated
from tests.support.mlflow_servers import remove_models

AWAY = "http://127.0.0.1:9"  # nothing answers there


# Enough bootstrap samples for intervals that agree from run to run.
PARAMETERS = Params.model_validate(TINY | {"evaluation": {"bootstrap_samples": 1000}})


@pytest.fixture(scope="module")
def copy(started_mlflow_server, tmp_path_factory):
    """A working copy after two pipelines; the champion is version 1, from the first one."""
    address, _ = started_mlflow_server
    remove_models(address)
    folder = tmp_path_factory.mktemp("copy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", address)
        write_dataset(PREPARED)
        Path(PARAMS).write_text(PARAMETERS.to_yaml())
        run_pipeline(PARAMETERS, 0, 20)
        write_evaluated("untrained_uvit", 2, auroc=0.9, right=24, params=PARAMETERS)
        run_pipeline(PARAMETERS, 1, 27)
        yield folder


def page_of(copy: Path, address: str = "") -> str:
    return "\n\n".join(results_page(copy, address or os.environ["MLFLOW_TRACKING_URI"]))


@pytest.mark.slow
@needs_chromium
def test_links_open_the_version_comparison_and_the_report(copy, browser):
    links = dict(re.findall(r"\[(.+)\]\((http\S+)\)", page_of(copy)))
    page = browser.new_page()
    page.goto(links["All these versions side by side in MLflow"])
    expect(page.get_by_role("heading", name="Comparing 3 Versions")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Error", exact=False)).to_have_count(0)
    page.goto(links["Report on all candidates"])
    report = page.frame_locator("iframe")
    expect(report.get_by_role("heading", name="Intended use")).to_be_visible(timeout=60_000)
    expect(report.get_by_role("img").first).to_be_visible()
    assert links["Report on all candidates"].split("#")[1] in RegisteredModel.existing(NAME).version("3").description
    page.close()


@pytest.mark.slow
def test_page_shows_what_a_promotion_decision_needs(copy):
    shown = page_of(copy)
    assert re.search(r"^\| dcube \| 0\.900 \(0\.\d+–0\.\d+\) \|", shown, re.M), "with its interval"
    assert re.search(
        r"^- dcube against untrained_uvit: better in accuracy.*Training the diffusion model helped", shown, re.M
    )
    assert f"### Minus the champion, version 1 of {NAME}" in shown
    assert re.search(r"^\| dcube \| \+0\.233 \(\+0\.\d+ … \+0\.\d+\), p (=|<) 0\.\d+ \|", shown, re.M)
    assert "**May be promoted:** macro F1 +0.2" in shown and f"`dcube promote {NAME}`" in shown
    card = headline(shown, evaluations(EVALUATION))
    assert card.startswith("May be promoted. Test AUROC: ") and "dcube 0.925" in card

    registered_model = RegisteredModel.existing(NAME)
    registered_model.client.set_registered_model_alias(NAME, CHAMPION, registered_model.aliases()["challenger"])
    shown = page_of(copy)
    assert re.search(r"^\| untrained_uvit \| -0\.100 \(", shown, re.M), "the champion is a candidate of this run"
    assert "**Is not promoted:** the challenger is the champion already." in shown and "dcube promote" not in shown
    assert headline(shown, {}).startswith("Is not promoted. ")

    write_evaluated("dcube", 3, auroc=0.9, right=30, params=PARAMETERS, test="other-")
    write_evaluated("untrained_uvit", 4, auroc=0.9, right=30, params=PARAMETERS, test="other-")
    register.main()
    shown = page_of(copy)
    assert "Not compared: " in shown and "different images" in shown and "compare-model-versions" in shown

    shown = page_of(copy, AWAY)
    assert "| dcube | 1.000 (" in shown and "The champion is not shown: " in shown


def test_links_use_the_public_address_of_mlflow(monkeypatch):
    assert version_page("http://mlflow:5000", NAME, "1").startswith("http://mlflow:5000/#/models/")
    monkeypatch.setenv("DCUBE_PUBLIC_TRACKING_URI", "https://mlflow.example.org")
    assert version_page("http://mlflow:5000", NAME, "1").startswith("https://mlflow.example.org/#/models/")
    assert version_page("", NAME, "1").startswith("#/models/"), "on MLflow's own pages"
