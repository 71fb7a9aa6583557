"""`python -m benchmarks.registry_size`: how long people wait for a registry of 200 versions among 2,000 runs."""

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from statistics import median
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Page, sync_playwright

from dcube.config.loading import flattened, load_preset
from dcube.config.schema import Params
from dcube.registry.candidate_run import candidate_run, log_metrics
from dcube.registry.promotion import appoint_first
from dcube.registry.versions import CHALLENGER, RegisteredModel
from dcube.runtime.processes import process_group
from dcube.tracking import tags
from dcube.tracking.batches import send_params
from dcube.tracking.pages import compare_page, models_page, registered_model_page, runs_page
from tests.support.browser import CHROMIUM
from tests.support.ports import free_port

NAME, CANDIDATES = "dcube-many", 4
PAGE_TAGS = {"kind": "dcube", "AUROC": "0.900 (0.847–0.979)", "macro F1": "0.867 (0.791–0.974)", "commit": "0" * 12}
LIMIT = 2.0  # seconds that a person waits


def fill(client: MlflowClient, versions: int, runs: int) -> RegisteredModel:
    """Pipelines of four candidates, whose other runs are those of the stages."""
    registered_model = RegisteredModel.created(client, NAME)
    experiment = client.create_experiment("dcube/many")
    params = flattened(Params().model_dump(mode="json"))
    changed = flattened(load_preset("breastmnist").model_dump(mode="json", exclude_defaults=True))
    pipelines = versions // CANDIDATES
    for number in range(pipelines):
        shared = {tags.PIPELINE: f"pipeline-{number}", tags.TEST: "t" * 64}
        parent = client.create_run(experiment, tags=shared, run_name=f"pipeline {number}")
        for place in range(CANDIDATES):
            _version(registered_model, parent, params, number + place / 10, shared)
        for _ in range(runs // pipelines - CANDIDATES - 1):
            with candidate_run(client, parent, "stage", shared) as run_id:
                log_metrics(client, run_id, {f"loss/{name}": 0.1 for name in range(10)})
        send_params(client, parent.info.run_id, changed)
        log_metrics(client, parent.info.run_id, {"challenger.auroc": number / pipelines})
        client.set_terminated(parent.info.run_id)
    appoint_first(registered_model, registered_model.version("1"), "benchmark")
    registered_model.client.set_registered_model_alias(NAME, CHALLENGER, str(versions))
    return registered_model


def _version(
    registered_model: RegisteredModel, parent: Run, params: dict, value: float, shared: dict[str, str]
) -> None:
    origin = shared | {tags.MODEL: "dcube", tags.KIND: "dcube", tags.WEIGHTS: f"{value:064.1f}"}
    with candidate_run(registered_model.client, parent, "dcube", origin) as run_id:
        send_params(registered_model.client, run_id, params | {"classifier.seed": value})
        log_metrics(
            registered_model.client,
            run_id,
            {f"test.{name}": value for name in ("auroc", "macro_f1", *map(str, range(20)))},
        )
        registered_model.client.create_model_version(NAME, f"runs:/{run_id}/model", run_id, tags=PAGE_TAGS)
        registered_model.client.set_tag(run_id, tags.REGISTERED_MODEL, NAME)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken)


def measured(address: str, registered_model: RegisteredModel, page: Page, repeats: int) -> dict[str, float]:
    versions = registered_model.versions()
    experiment = versions[0].run.info.experiment_id
    runs = {version.version: version.run_id for version in versions[:6]}
    command = [sys.executable, "-c", "from dcube.cli.main import main; main()"]

    def opened(url: str, text: str) -> Callable[[], None]:
        def work() -> None:
            page.goto("about:blank")
            page.goto(url)
            page.get_by_text(text, exact=True).first.wait_for()

        return work

    def identity() -> None:
        assert registered_model.find({tags.WEIGHTS: versions[-1].tags[tags.WEIGHTS]})

    work: dict[str, Callable[[], object]] = {
        "page of the versions": opened(registered_model_page(address, NAME), f"Version {len(versions)}"),
        "page that compares 6 versions": opened(compare_page(address, NAME, runs), "test.macro_f1"),
        "page of the runs, by AUROC": opened(runs_page(address, experiment, "challenger.auroc"), "pipeline 49"),
        "page of the models": opened(models_page(address, experiment), "Models"),
        "all versions with their metrics (Python)": registered_model.versions,
        "the newest 20 (Python)": lambda: registered_model.versions(20),
        "whether a candidate is registered (Python)": identity,
        "`dcube models`": lambda: subprocess.run([*command, "models", NAME], check=True, stdout=subprocess.DEVNULL),
        "of that, `import mlflow`": lambda: subprocess.run([sys.executable, "-c", "import mlflow"], check=True),
    }
    return {name: seconds(one, repeats) for name, one in work.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=200)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        database = f"sqlite:///{folder}/mlflow.db"
        fill(MlflowClient(database), arguments.versions, arguments.runs)
        address = f"http://127.0.0.1:{free_port()}"
        port = address.rpartition(":")[2]
        server = [sys.executable, "-m", "mlflow", "server", "--port", port, "--workers", "1"]
        os.environ["MLFLOW_TRACKING_URI"] = address
        with (
            process_group(
                [*server, "--backend-store-uri", database], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ),
            playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False) as chromium,
        ):
            _wait_for(address)
            page = chromium.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(120_000)
            taken = measured(address, RegisteredModel(MlflowClient(address), NAME), page, arguments.repeats)
    print(f"| {arguments.versions} versions, {arguments.runs} runs, SQLite | seconds |\n| --- | --- |")
    for name, value in taken.items():
        print(f"| {name} | {value:.2f} |{'' if value <= LIMIT else ' too slow'}")


def _wait_for(address: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=1)
            return
        except OSError:
            time.sleep(0.1)


if __name__ == "__main__":
    main()
