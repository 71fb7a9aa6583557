"""The platform as a person sees it: Chromium on the pages of a real server, with a worker behind it."""

import io
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect

from dcube.config.loading import load_preset
from dcube.config.schema import Params
from dcube.tracking.outbox import PIPELINE
from flows.stack.__main__ import set_up
from flows.stack.servers import worker
from flows.stack.settings import ADMINISTRATOR, Stack
from flows.stack.supervision import supervised
from tests.support.browser import needs_chromium
from tests.support.checkout import ROOT
from tests.support.small_pipeline import STAGE, build, rewrite
from tests.support.waiting import wait_until

PATIENCE = 60_000  # ms: the page and the worker share a few cores with the servers
expect.set_options(timeout=PATIENCE)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    needs_chromium,
]

STAGES = ["prepare", "train", "evaluate@dcube", "evaluate@control"]
PHANTOM = load_preset("phantom")

# The stage works for half a second an epoch, and reports as the real stages do.
WORK = """
import time
import yaml
from matplotlib.figure import Figure
from dcube.engine.progress import progress
from dcube.tracking.run import tracked_run

params = yaml.safe_load(open("params.yaml"))
with tracked_run(os.environ["DVC_STAGE"], params) as run:
    epochs = params["diffusion"]["epochs"] if out.name == "model" else 1
    with progress("Training", total=epochs, unit="epochs") as advance:
        for _ in range(epochs):
            time.sleep(0.5)
            advance(loss=0.25)
    if out.name == "model":
        figure = Figure(figsize=(2, 2))
        figure.add_subplot().plot([0, 1])
        run.log_figure(figure, "samples/step-0000001.png")
"""


@pytest.fixture(scope="module")
def address(platform: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Prefect server with all deployments, and a worker on a repository whose stages take seconds."""
    folder = tmp_path_factory.mktemp("worked-on")
    repository = folder / "repository"
    repository.mkdir()
    build(repository)
    reporting = STAGE[STAGE.index("record = ") : STAGE.index("with Path(os")]
    rewrite(repository, "stage.py", reporting, WORK)
    (repository / "flows").symlink_to(ROOT / "flows")  # the worker finds the flow in its repository
    with (repository / ".git/info/exclude").open("a") as file:
        file.write("/flows\n")
    with ExitStack() as until_end:
        environment = until_end.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("PYTHONPATH", str(ROOT))
        environment.setenv("DCUBE_REPOSITORY", str(repository))
        environment.setenv("RAN", str(folder / "ran.txt"))
        set_up(platform, ROOT)
        server = worker(platform, repository)
        until_end.enter_context(supervised(folder, [server])).start(server)
        yield platform.prefect_address


@pytest.fixture
def page(browser: Browser, platform: Stack, address: str) -> Iterator[Page]:
    """A page signed in to Prefect, which also answers MLflow's prompt for a password."""
    account = {"username": ADMINISTRATOR, "password": platform.secrets.mlflow_password}
    context = browser.new_context(
        viewport={"width": 1400, "height": 1000}, http_credentials={**account, "origin": platform.mlflow_address}
    )
    context.set_default_timeout(PATIENCE)
    with context:
        page = context.new_page()
        page.goto(address)
        page.locator("input[type=password]").fill(platform.client["PREFECT_API_AUTH_STRING"])
        page.get_by_role("button", name="Login").click()
        page.wait_for_url("**/dashboard*")
        yield page


def open_form(page: Page, address: str) -> None:
    page.goto(f"{address}/v2/deployments")
    page.get_by_role("link", name="phantom").click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    expect(field(page, "Width")).to_have_value(str(PHANTOM.diffusion.width))


def field(page: Page, title: str) -> Locator:
    """The input of the first parameter with this title."""
    return page.get_by_label(f"{title} (Optional)", exact=True).first


def submit(page: Page) -> None:
    page.get_by_role("button", name="Submit").click()


def start(page: Page, epochs: int) -> str:
    """Fill in the open form's one value, click, go to the run's page, and give the run's id."""
    field(page, "Epochs").fill(str(epochs))
    submit(page)
    page.get_by_role("link", name="View run").click()
    page.wait_for_url("**/runs/flow-run/*")
    run = page.url.split("/flow-run/")[1].split("?")[0]
    page.goto("about:blank")  # the chart of an active run keeps a whole core busy
    return run


def open_run(page: Page, run: str, address: str) -> None:
    page.goto(f"{address}/v2/runs/flow-run/{run}")


def open_artifact(page: Page, run: str, address: str, key: str) -> None:
    """From the run's page to the newest artifact of this key, once there is one."""
    card = page.get_by_role("link", name=key).first

    def shown() -> bool:  # the page shows later artifacts only when it is opened again
        open_run(page, run, address)
        page.get_by_role("tab", name="Artifacts").click()
        with suppress(TimeoutError):
            card.wait_for(timeout=PATIENCE / 10)
        return card.is_visible()

    wait_until(shown)
    card.click()
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    page.wait_for_url("**/artifacts/artifact/*")


def test_form_explains_every_parameter_and_refuses_wrong_values(page, prefect_api, address):
    open_form(page, address)
    shown, position = " ".join(page.inner_text("body").split()), 0
    for text in texts_of(Params.model_json_schema()):
        position = shown.find(" ".join(text.split()), position)
        assert position >= 0, f"not there, or not in the order of params.yaml: {text}"

    for title, value in {"Margin": PHANTOM.diffusion.margin, "Image size": PHANTOM.data.image_size}.items():
        assert float(field(page, title).input_value()) == value
    choice = page.get_by_role("button", name="Select Fit")
    assert choice.inner_text() == PHANTOM.data.fit
    choice.click()
    assert page.get_by_role("option").all_inner_texts() == ["crop", "pad", "stretch"]
    page.keyboard.press("Escape")

    width = field(page, "Width")
    width.fill("8")
    submit(page)
    assert "greater than or equal to 16" in width.evaluate("input => input.validationMessage")
    width.fill("97")
    submit(page)
    expect(page.get_by_text("97 is not a multiple of 8", exact=True)).to_be_visible()
    width.fill("96")
    field(page, "Name").fill("$(touch pwned)")
    submit(page)
    expect(page.get_by_text("does not match").first).to_be_visible()
    runs = prefect_api.post("/flow_runs/filter", json={"flows": {"name": {"any_": ["pipeline"]}}})
    assert (runs.status_code, runs.json()) == (200, [])


def texts_of(schema: dict[str, Any], group: dict[str, Any] | None = None) -> Iterator[str]:
    """Title and help text of every parameter, in order."""
    for each in (group or schema)["properties"].values():
        inner = schema["$defs"][each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else {}
        yield f"{each.get('title') or inner['title']} (Optional)"
        yield each.get("description") or inner["description"]
        if inner:
            yield from texts_of(schema, inner)


def test_run_cancelled_in_the_page_ends_completely_within_15_seconds(page, platform, address):
    open_form(page, address)
    run = start(page, epochs=1200)
    wait_until(lambda: "train" in mlflow_states(platform, run))
    assert processes_of(run)

    open_run(page, run, address)
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Cancel").click()
    page.get_by_role("alertdialog").or_(page.get_by_role("dialog")).get_by_role("button").last.click()
    clicked = time.monotonic()
    wait_until(lambda: not processes_of(run) and "RUNNING" not in mlflow_states(platform, run).values())
    busy = max(1, os.getloadavg()[0] / (os.cpu_count() or 1))  # other load on this machine makes it slower
    assert time.monotonic() - clicked < 15 * busy
    assert mlflow_states(platform, run)["train"] == "KILLED"
    expect(page.get_by_text("Cancelled", exact=True).first).to_be_visible()


def test_run_started_in_the_page_shows_progress_pictures_and_results(page, platform, prefect_api, address):
    open_form(page, address)
    run = start(page, epochs=60)

    wait_until(lambda: "train" in mlflow_states(platform, run))
    open_artifact(page, run, address, "progress-train")
    seen: set[str] = set()
    while len(seen) < 2:
        page.reload()  # the page does not update itself
        seen.add(page.get_by_text("Progress:").inner_text())
        assert "Progress: 100%" not in seen

    page.goto("about:blank")
    wait_until(lambda: prefect_api.get(f"/flow_runs/{run}").raise_for_status().json()["state"]["name"] == "Completed")
    with page.expect_response("**/graph-v2*") as graph:
        open_run(page, run, address)
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible()
    assert {node["label"] for _, node in graph.value.json()["nodes"]} == {*STAGES, "share_results"}
    wait_until(lambda: GREEN in colours(page.locator("canvas")))

    open_artifact(page, run, address, "train-samples")
    expect(page.get_by_role("img", name="samples")).to_be_visible()
    assert page.get_by_role("img", name="samples").evaluate("image => image.naturalWidth") > 100

    open_artifact(page, run, address, "results")
    expect(page.get_by_role("row", name="control 0.500 (0.400–0.600)")).to_be_visible()

    open_artifact(page, run, address, "mlflow")
    link = page.get_by_role("link", name="This run in MLflow")
    assert link.get_attribute("href").startswith(platform.mlflow_address)
    link.click()
    expect(page.get_by_text(f"pipeline {run}").first).to_be_visible()
    trained = [one["data"] for one in mlflow_runs(platform, run) if one["info"]["run_name"] == "train"]
    assert {"key": "diffusion.epochs", "value": "60"} in trained[0]["params"]


GREEN = (0x21, 0x9D, 0x4B)  # of completed stages


def colours(drawing: Locator) -> set[tuple[int, ...]]:
    """The colours of more than a few pixels."""
    with Image.open(io.BytesIO(drawing.screenshot())) as image:
        found = image.convert("RGB").getcolors(maxcolors=2**24) or []
    return {colour for count, colour in found if count > 100}


def mlflow_runs(platform: Stack, run: str) -> list[dict[str, Any]]:
    """MLflow's runs of one run of Prefect: the pipeline's own and one a stage."""
    account = (ADMINISTRATOR, platform.secrets.mlflow_password)
    with httpx.Client(base_url=f"{platform.mlflow_address}/api/2.0/mlflow", auth=account, timeout=30) as client:
        experiments = client.get("/experiments/search", params={"max_results": 100}).raise_for_status().json()
        found = client.post(
            "/runs/search",
            json={
                "experiment_ids": [one["experiment_id"] for one in experiments["experiments"]],
                "filter": f"tags.`{PIPELINE}` = '{run}'",
            },
        )
        return found.raise_for_status().json().get("runs", [])


def mlflow_states(platform: Stack, run: str) -> dict[str, str]:
    return {one["info"]["run_name"]: one["info"]["status"] for one in mlflow_runs(platform, run)}


def processes_of(run: str) -> list[psutil.Process]:
    """The flow's process and those of its stages."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environment = process.environ()
            if run in (environment.get("DCUBE_PIPELINE"), environment.get("PREFECT__FLOW_RUN_ID")):
                found.append(process)
    return found
