"""Results on the page of a finished run: its candidates, a comparison with the champion, and links to MLflow."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from prefect.artifacts import create_markdown_artifact

from dcube.artifacts.candidates import DCUBE
from dcube.artifacts.layout import EVALUATION, METRICS_FILE, PREDICTIONS, REGISTERED, REPORT, REPORT_PAGE, VERSIONS
from dcube.artifacts.markdown import markdown_table
from dcube.artifacts.schemas.metrics import Metrics
from dcube.artifacts.schemas.registered import Registered
from dcube.errors import DcubeError
from dcube.evaluation.comparison import compare
from dcube.evaluation.conclusions import (
    TEST_TITLES,
    TestedDifference,
    comparison_notes,
    comparisons,
    conclusions,
    evaluations,
    holm_corrected,
    results_title,
    tested_differences,
)
from dcube.evaluation.metrics import HEADLINES
from dcube.evaluation.model_card import PHANTOM
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.split_notice import split_notice
from dcube.evaluation.summary import interval_text
from dcube.registry.promotion import Proposal, propose
from dcube.registry.promotion_policy import COLUMNS, PromotionPolicy
from dcube.registry.versions import CHAMPION, RegisteredModel
from dcube.runtime.settings import library_defaults
from dcube.tracking.mlflow_client import FAIL_FAST, tracking_client
from dcube.tracking.pages import compare_page, run_page, version_page

PROMOTABLE, NOT_PROMOTED = "May be promoted", "Is not promoted"

logger = logging.getLogger(__name__)


def show_results(folder: Path, tracking_address: str) -> None:
    """Show the evaluations in the workspace `folder`, if there are any, on the run's page."""
    if any((folder / EVALUATION).glob(f"*/{METRICS_FILE}")):
        text = "\n\n".join(results_page(folder, tracking_address))
        create_markdown_artifact(text, key="results", description=headline(text, evaluations(folder / EVALUATION)))


def results_page(folder: Path, tracking_address: str) -> Iterator[str]:
    """Yield the parts of the page in Markdown, without the champion if MLflow does not answer."""
    metrics = evaluations(folder / EVALUATION)
    predictions = {name: Predictions.load(folder / EVALUATION / name / PREDICTIONS) for name in metrics}
    if any(its.is_phantom for its in metrics.values()):
        yield f"**{PHANTOM}**"
    first = next(iter(metrics.values()))
    if notice := split_notice(first):
        yield f"**{notice}**"
    yield f"### {results_title(first)}"
    yield _metrics_table(metrics)
    if DCUBE in metrics and len(metrics) > 1:
        made = comparisons(predictions, metrics[DCUBE])
        yield "\n".join(f"- {sentence}" for sentence in conclusions(made, holm_corrected(made), metrics[DCUBE]))
    if (folder / REGISTERED / VERSIONS).exists():
        registered = Registered.load(folder / REGISTERED / VERSIONS)
        try:
            with library_defaults(FAIL_FAST):
                yield from _registered(registered, metrics, predictions, tracking_address)
        except DcubeError as error:  # a version was deleted, for example
            yield f"The champion is not shown: {error}."
        except MlflowException as error:
            logger.warning("The results are shown without the champion: %s", error)
            yield f"The champion is not shown: MLflow ({tracking_address}) gave no answer. This run's log says why."


def headline(page: str, metrics: Mapping[str, Metrics]) -> str:
    """Return a short text for the artifact's card on the run's page, with the conclusion first."""
    verdict = next((f"{it}. " for it in (PROMOTABLE, NOT_PROMOTED) if f"**{it}:**" in page), "")
    return f"{verdict}Test AUROC: " + ", ".join(f"{name} {its.test['auroc']:.3f}" for name, its in metrics.items())


def proposal_text(proposal: Proposal) -> str:
    """Return the comparison of challenger and champion in Markdown."""
    verdict = proposal.verdict
    table = markdown_table(COLUMNS, verdict.rows) if verdict.criteria else ""
    conclusion = f"**{PROMOTABLE if verdict.promoted else NOT_PROMOTED}:** {verdict.reason}."
    return "\n\n".join(part for part in (f"### {proposal.title}", table, conclusion) if part)


def with_interval(metrics: Metrics, name: str) -> str:
    """Return value and interval of a metric as text."""
    return f"{metrics.test[name]:.3f} ({interval_text(metrics, name)})"


def _metrics_table(metrics: Mapping[str, Metrics]) -> str:
    rows = ([name, *(with_interval(its, metric.name) for metric in HEADLINES)] for name, its in metrics.items())
    return markdown_table(["model", *(metric.title for metric in HEADLINES)], rows)


def _registered(
    registered: Registered, metrics: Mapping[str, Metrics], predictions: Mapping[str, Predictions], address: str
) -> Iterator[str]:
    registered_model = RegisteredModel(tracking_client(address), registered.name)
    versions = [registered_model.version(str(number)) for number in sorted(registered.versions.values())]
    runs = {version.version: version.run_id for version in versions}
    champion = registered_model.holder(CHAMPION)
    if champion is not None:
        number = champion.version
        runs[number] = champion.run_id
        others = {name: its for name, its in predictions.items() if str(registered.versions.get(name)) != number}
        yield f"### Minus the champion, version {number} of {registered.name}"
        try:
            yield _differences(others, registered_model.predictions(champion), next(iter(metrics.values())))
            yield from _promotion(registered_model)
        except DcubeError as error:  # tested on other images, for example
            yield f"Not compared: {error}."
    if address.startswith("http"):
        shared = registered_model.client.get_run(versions[-1].registration_run_id)
        yield "\n".join(f"- {link}" for link in _links(registered, runs, shared, address))


def _promotion(registered_model: RegisteredModel) -> Iterator[str]:
    """Yield whether the default policy would promote the challenger, and how to do it."""
    proposal = propose(registered_model, PromotionPolicy())
    yield proposal_text(proposal)
    if proposal.verdict.promoted:
        yield f"To promote it: `dcube promote {registered_model.name}`, or the deployment `promote`."


def _differences(candidates: Mapping[str, Predictions], champion: Predictions, metrics: Metrics) -> str:
    """Return a table of the candidates' differences from the champion on the same images."""
    made = {name: compare(theirs, champion, metrics.evaluation) for name, theirs in candidates.items()}
    if not made:
        return "The champion is the only candidate of this run."
    p_values = holm_corrected(made)
    rows = [
        [name, *(_in_a_line(it) for it in tested_differences(comparison, p_values[name]))]
        for name, comparison in made.items()
    ]
    table = markdown_table(["model", *TEST_TITLES], rows)
    return f"{table}\n\n{' '.join(comparison_notes(made, 'the model', 'the champion'))}"


def _in_a_line(test: TestedDifference) -> str:
    interval = f" ({test.interval})" if test.interval else ""
    return f"{test.value}{interval}, {test.p}"


def _links(registered: Registered, runs: Mapping[str, str], shared: Run, address: str) -> Iterator[str]:
    """Yield links to MLflow's pages: the report in the run `shared`, the comparison, and every version."""
    name, versions = registered.name, registered.versions
    yield f"[Report on all candidates]({run_page(address, shared, f'{REPORT}/{REPORT_PAGE}')})"
    yield f"[All these versions side by side in MLflow]({compare_page(address, name, runs)})"
    for model, number in versions.items():
        yield f"[{model}, version {number}]({version_page(address, name, str(number))})"
