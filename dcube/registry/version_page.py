"""A version's page in MLflow: a few rounded tags and a description. Everything else is in the source run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from dcube.artifacts.layout import REPORT, REPORT_PAGE
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.artifacts.schemas.metrics import PARTLY_KNOWN, Metrics
from dcube.evaluation.comparison import compare
from dcube.evaluation.data_warnings import data_warnings
from dcube.evaluation.metrics import metric_of
from dcube.evaluation.model_card import PHANTOM, intended, kind_in_words, short_kind
from dcube.evaluation.operating_point import decision_in_words
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.split_notice import split_notice
from dcube.evaluation.summary import interval_text, tested_on
from dcube.registry.version import Version
from dcube.tracking import tags
from dcube.tracking.pages import run_page

AUROC, MACRO_F1 = metric_of("auroc"), metric_of("macro_f1")
KIND, VS_CHAMPION = "kind", "vs champion"  # tags of a version
SHORT = 12  # number of characters of a hash to display
LONGEST_WARNING = 240  # characters: two lines of the page


@dataclass(frozen=True)
class Champion:
    """The champion at the time of a registration, with its predictions."""

    version: Version
    predictions: Predictions


def page_tags(
    metrics: Metrics, predictions: Predictions, dataset: str, origin: Mapping[str, str], champion: Champion | None
) -> dict[str, str]:
    """Return the tags that a version's page shows.

    Args:
        dataset: name of the data set.
        origin: tags with the version's origin.
    """
    data, commit = (origin.get(tag, "none")[:SHORT] for tag in (tags.DATA, tags.COMMIT))
    return {
        KIND: short_kind(metrics.kind),
        **{metric.label: _with_interval(metrics, metric.name) for metric in (AUROC, MACRO_F1)},
        **({VS_CHAMPION: _difference(predictions, champion, metrics)} if champion else {}),
        "data set": f"{dataset} ({data})",
        "commit": commit,
        "patients": {"images": "unknown", PARTLY_KNOWN: "partly known"}.get(metrics.resampled, "known"),
    }


def _with_interval(metrics: Metrics, name: str) -> str:
    if math.isnan(metrics.test[name]):
        return "undefined"
    return f"{metrics.test[name]:.3f} ({interval_text(metrics, name)})"


def _difference(predictions: Predictions, champion: Champion, metrics: Metrics) -> str:
    number = champion.version.version
    if predictions.fingerprint != champion.predictions.fingerprint:
        return f"none: version {number} was tested on other images"
    found = compare(predictions, champion.predictions, metrics.evaluation, [MACRO_F1.name]).differences[MACRO_F1.name]
    return f"{found.value:+.3f} (uncorrected p = {found.p:.2g}) in {MACRO_F1.label} (version {number})"


def description(
    entry: ModelVersion, metrics: Metrics, dataset: DatasetInfo, run: Run, evaluation: str, shared: Run
) -> str:
    """Return metrics, warnings, intended use and links to everything else in Markdown, short enough for one screen.

    Args:
        entry: registered version with its tags from `page_tags`.
        dataset: data set on which the model was trained and tested.
        run: source run of the version.
        evaluation: artifact folder of the evaluation in `run`.
        shared: run that registered all candidates.
    """
    named = [name for name in (AUROC.label, MACRO_F1.label, VS_CHAMPION) if name in entry.tags]
    measured = [*(f"{name} {entry.tags[name]}" for name in named), f"test: {tested_on(metrics)}"]
    links = [
        f"[Report]({run_page('', shared, f'{REPORT}/{REPORT_PAGE}')})",
        f"[model card]({run_page('', run, f'{evaluation}/model_card.md')})",
        f"[pictures]({run_page('', run, f'{evaluation}/confusion.png')})",
        f"[parameters, metrics and origin]({run_page('', run)})",
    ]
    notices = (PHANTOM if metrics.is_phantom else "", split_notice(metrics), _doubts(data_warnings(dataset)))
    doubts = " ".join(notice for notice in notices if notice)
    use = (
        f"{kind_in_words(metrics.kind)} **Intended use.** {intended(dataset.classes)} Not for diagnosis. "
        f"**Decision.** {decision_in_words(metrics.operating_point, metrics.confidence)}"
    )
    parts = (" · ".join(measured), f"**{doubts}**" if doubts else "", use, " · ".join(links))
    return "\n\n".join(part for part in parts if part)


def _doubts(warnings: Sequence[str]) -> str:
    """Return the first warning, shortened, and the number of the others, so that the page fits on a screen."""
    if not warnings:
        return ""
    more = f" More warnings in the model card: {len(warnings) - 1}." if len(warnings) > 1 else ""
    return shorten(warnings[0], LONGEST_WARNING, placeholder=" …") + more
