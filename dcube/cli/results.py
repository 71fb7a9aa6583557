"""`dcube results`: the results of a run in the terminal."""

from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dcube.artifacts.candidates import BASELINE, DCUBE, STAGES
from dcube.artifacts.layout import DATA_RECORD, EVALUATION, LOCK, PARAMS, PLAN, PLAN_PAGE, PREDICTIONS
from dcube.cli.terminal import print_rich, quiet_mlflow
from dcube.errors import DcubeError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from dcube.artifacts.schemas.metrics import Metrics


def results() -> None:
    """Show the metrics of all evaluated models, and which differences between them are significant."""
    from dcube.evaluation.conclusions import evaluations
    from dcube.registry.staleness import stale_results

    if reason := next(stale_results(), None):
        print_rich(_bold(f"{reason}.\n"))
    metrics = evaluations(EVALUATION)
    for content in (*_results(metrics), *_not_evaluated(metrics), *_next_steps()):
        print_rich(content)


def _bold(text: str) -> "Text":
    from rich.text import Text

    return Text(text, style="bold")


def _results(metrics: "dict[str, Metrics]") -> "Iterator[RenderableType]":
    from dcube.cli.results_tables import differences_table, published_table, results_table
    from dcube.evaluation.conclusions import comparison_notes, comparisons, conclusions, holm_corrected
    from dcube.evaluation.model_card import NO_ERROR, PHANTOM, candidate_in_words, majority_class_in_words
    from dcube.evaluation.operating_point import decision_in_words, table_rows, threshold_in_words
    from dcube.evaluation.prediction_sets import sets_compared
    from dcube.evaluation.predictions import Predictions
    from dcube.evaluation.published import published_on
    from dcube.evaluation.split_notice import split_notice
    from dcube.evaluation.subgroups import in_short

    first = next(iter(metrics.values()))
    predictions = {name: Predictions.load(EVALUATION / name / PREDICTIONS) for name in metrics}
    yield results_table(metrics)
    yield f"Data: {first.dataset}, fingerprint {first.dataset_fingerprint[:12]}."
    if notice := split_notice(first):
        yield _bold(notice)
    points = {name: its.operating_point for name, its in metrics.items()}
    yield from dict.fromkeys(
        decision_in_words(point, first.confidence, "each model's own threshold") for point in points.values()
    )
    for name, point in points.items():
        if point.rule.of_class is not None:
            rates = ", ".join(f"{rate} {test}" for rate, _, test in table_rows(point))
            yield f"{name}: threshold {threshold_in_words(point)}. On test: {rates}."
    if sets := {name: its.prediction_sets for name, its in metrics.items() if its.prediction_sets.calibrated_on}:
        yield sets_compared(sets, first.resampled)
    yield from in_short(metrics.get(DCUBE, first))
    if BASELINE in metrics:
        yield candidate_in_words(BASELINE, metrics[BASELINE].kind)
    yield majority_class_in_words(next(iter(predictions.values())).table["label"])
    if any(its.test["accuracy"] == 1 for its in metrics.values()):
        yield f"Without an error on the test, {NO_ERROR}."
    if DCUBE in metrics and len(metrics) > 1:
        made = comparisons(predictions, metrics[DCUBE])
        p_values = holm_corrected(made)
        yield differences_table(made, p_values)
        yield "\n".join(comparison_notes(made))
        yield _bold("\n" + "\n".join(conclusions(made, p_values, metrics[DCUBE])))
    if published := published_on(first):
        yield published_table(published)
        yield published.note
    if any(its.is_phantom for its in metrics.values()):
        yield _bold(f"\n{PHANTOM}")


def _not_evaluated(names: Container[str]) -> Iterator[str]:
    if missing := [name for name in STAGES if name not in names]:
        yield f"\nNot yet trained or evaluated: {', '.join(missing)} (`dvc repro`)."


def _next_steps() -> "Iterator[str | Text]":
    from dcube.repository.commands import uncommitted_files

    yield from _registration()
    yield f"\nPictures and model cards: {EVALUATION}/*/"
    yield "One page with everything, images included: dcube report"
    yield "Runs, curves and registered models: make ui"
    with suppress(DcubeError):  # no git repository, nothing to commit
        if changed := uncommitted_files(Path.cwd(), DATA_RECORD, LOCK, PARAMS, PLAN, PLAN_PAGE):
            files = " ".join(line[3:] for line in changed)
            yield "DVC cannot compare this result before it is committed:"
            yield f"git add {files} && git commit"
            return
        yield "Compared with experiments: dvc exp show --only-changed --drop 'outputs/|Created'"


def _registration() -> "Iterator[str | Text]":
    """Yield a warning if the registry has lost these models or is another one, which DVC cannot know."""
    from dcube.registry.presence import REMEDY, lost_versions
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

    quiet_mlflow()
    try:
        with mlflow_errors_in_one_line():
            lost = lost_versions()
    except DcubeError as error:
        yield f"\nWhether these models are registered is not known: {error}"
        return
    if lost:
        yield _bold(f"\n{lost}. {REMEDY}")
