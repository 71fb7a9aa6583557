"""Sections with the metrics of all candidates, their comparison, and the curves of one candidate."""

from collections.abc import Iterator

import numpy as np

from dcube.artifacts.candidates import DCUBE
from dcube.artifacts.layout import EVALUATION
from dcube.artifacts.schemas.metrics import Metrics
from dcube.engine.classification_metrics import confusion
from dcube.evaluation import plots
from dcube.evaluation.comparison import ModelComparison
from dcube.evaluation.conclusions import (
    TEST_TITLES,
    comparison_notes,
    comparisons,
    conclusions,
    holm_corrected,
    results_title,
    tested_differences,
)
from dcube.evaluation.metrics import HEADLINES, names_of, title_of
from dcube.evaluation.model_card import candidate_in_words, limits_of, majority_class_in_words
from dcube.evaluation.predictions import Predictions
from dcube.evaluation.published import COLUMNS, published_on
from dcube.evaluation.split_notice import split_notice
from dcube.evaluation.subgroups import notes_of, rows_of, subgroup_columns
from dcube.evaluation.summary import interval_text
from dcube.report.material import Material
from dcube.report.page_images import stored_plot_image
from dcube.report.parts import Fold, Gallery, Items, Notice, PageImage, Part, Section, Table, Text


def results_section(material: Material) -> Section:
    """Return the section that compares all candidates on the same test images."""
    metrics = material.evaluations
    first = metrics[material.model]
    rows = [(name, *(_with_interval(its, metric.name) for metric in HEADLINES)) for name, its in metrics.items()]
    notice = split_notice(first)
    parts: list[Part] = [
        *([Notice(notice)] if notice else []),
        Table(results_title(first), ("model", *(metric.title for metric in HEADLINES)), rows, numbers=True),
        Text(majority_class_in_words(material.predictions[material.model].table["label"])),
        Items([candidate_in_words(name, its.kind) for name, its in metrics.items()]),
    ]
    if DCUBE in metrics and len({its.test_fingerprint for its in metrics.values()}) == 1 < len(metrics):
        parts += _compared(comparisons(material.predictions, metrics[DCUBE]), metrics[DCUBE])
    if published := published_on(first):
        parts += [Table("Published results on the same test split", COLUMNS, published.rows, numbers=True)]
        parts += [Text(published.note)]
    return Section("results", "Results", [*parts, Fold("What these metrics do not say", [Items(limits_of(first))])])


def test_section(material: Material) -> Section:
    """Return the section with the curves of the page's candidate; those of the others are folded."""
    name, *others = material.evaluations
    folded = [Fold(f"The same of {other}", list(_curves(material, other))) for other in others]
    return Section(
        "test",
        f"On the test split: {name}",
        [*_curves(material, name), *_subgroups(material.evaluations[name]), *folded],
    )


def _subgroups(metrics: Metrics) -> Iterator[Part]:
    if rows := list(rows_of(metrics)):
        yield Table("Subgroups", subgroup_columns(metrics), rows, numbers=True)
    if notes := notes_of(metrics):
        yield Text(notes)


def _compared(made: dict[str, ModelComparison], metrics: Metrics) -> Iterator[Part]:
    p_values = holm_corrected(made)
    rows = [
        (other, *("\n".join(filter(None, it)) for it in tested_differences(comparison, p_values[other])))
        for other, comparison in made.items()
    ]
    title = f"{DCUBE} minus each other model, on the same images"
    yield Table(title, (f"{DCUBE} minus", *TEST_TITLES), rows, numbers=True)
    yield Text(" ".join(conclusions(made, p_values, metrics)))
    yield Text(" ".join(comparison_notes(made)))


def _curves(material: Material, name: str) -> Iterator[Part]:
    metrics = material.evaluations[name]
    yield Gallery(list(_pictures(material, name)))
    rows = [
        (title_of(metric), f"{metrics.test[metric]:.3f}", interval_text(metrics, metric))
        for metric in names_of(metrics.test)
    ]
    columns = ("metric", "value", f"{metrics.confidence:.0%} interval")
    yield Fold(f"All metrics of {name}", [Table(f"{name}, test split", columns, rows, numbers=True)])


def _pictures(material: Material, name: str) -> Iterator[PageImage]:
    """Yield the figures of the stage `evaluate` that exist."""
    for figure, (alt, caption) in _words(name, material.evaluations[name], material.predictions[name]).items():
        file = material.folder / EVALUATION / name / f"{figure}.png"
        if file.exists():
            yield stored_plot_image(file, alt, caption)


def _words(name: str, metrics: Metrics, predictions: Predictions) -> dict[str, tuple[str, str]]:
    """Return figure → alternative text and caption."""
    classes, test, confidence = predictions.classes, metrics.test, predictions.probabilities.max(1)
    curves = ", ".join(plots.roc_table(predictions)["class"].unique())
    counts = confusion(predictions.labels, predictions.probabilities, np.ones((1, len(predictions.labels))))[0]
    return {
        "roc": (
            f"ROC curves of {name} on the test split, one for each class against the rest: {curves}. "
            f"The mean of their areas (AUROC) is {test['auroc']:.3f}; chance is the diagonal with 0.5.",
            "ROC: sensitivity against false alarms",
        ),
        "precision_recall": (
            f"Precision against recall of {name} on the test split, one curve for each class: {curves}. "
            f"The mean of their areas (average precision) is {test['auprc']:.3f}; chance is a class's share of the "
            "images.",
            "Precision and recall",
        ),
        "reliability": (
            f"Reliability of {name}: share of right predictions against their confidence in "
            f"{metrics.evaluation.calibration_bins} steps. Mean confidence {confidence.mean():.3f}, share that is "
            f"right {test['accuracy']:.3f}, expected calibration error {test['ece']:.3f}.",
            "Reliability: is 80% sure right in 80%?",
        ),
        "decision_curves": (
            f"Decision curves of {name} on the test split: net benefit of acting on {curves} over the threshold "
            "probability, beside acting on all images and on none.",
            "Decision curves: from which threshold on does it pay to act on the model?",
        ),
        "confusion": (
            f"Confusion matrix of {name}. " + " ".join(_row_in_words(classes, i, row) for i, row in enumerate(counts)),
            "Confusion: truth in rows, predictions in columns",
        ),
    }


def _row_in_words(classes: list[str], truth: int, row: np.ndarray) -> str:
    predicted = ", ".join(f"{int(count)} as {name}" for name, count in zip(classes, row, strict=True) if count)
    return f"Of {int(row.sum())} {classes[truth]}: {predicted}."


def _with_interval(metrics: Metrics, name: str) -> str:
    return f"{metrics.test[name]:.3f}\n{interval_text(metrics, name, 2)}"
