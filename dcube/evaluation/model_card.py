"""The model card: a Markdown page with what users must know before they use a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dcube.artifacts.candidates import BASELINE, DCUBE, SUB_FEATURES, UNTRAINED
from dcube.artifacts.markdown import markdown_table
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.dataset import SPLITS, owners_of
from dcube.artifacts.schemas.metrics import PARTLY_KNOWN, Metrics
from dcube.classifier.method import probed_network, registered_method
from dcube.config.loading import flattened
from dcube.data.prepared import PreparedDataset
from dcube.evaluation.data_warnings import data_warnings
from dcube.evaluation.metrics import metric_of, names_of, title_of
from dcube.evaluation.operating_point import decision_in_words, table_rows
from dcube.evaluation.prediction_sets import sets_in_words
from dcube.evaluation.split_notice import split_in_words, split_notice
from dcube.evaluation.subgroups import notes_of, rows_of, subgroup_columns
from dcube.evaluation.summary import interval_text, tested_on

KINDS = {  # short name, and description
    DCUBE: (
        "dcube",
        "D-Cube: a head on the semantic features of a frozen diffusion model (U-ViT) and on a sub-feature network",
    ),
    UNTRAINED: ("untrained U-ViT control", "Control: D-Cube's head on a U-ViT that was never trained"),
    SUB_FEATURES: (
        "sub-features control", "Control: D-Cube's sub-feature network alone, without a diffusion model"
    ),
}  # fmt: skip
NO_ERROR = "resampling cannot produce one, and an interval of zero width is not certainty"
NOT_INTENDED = (
    "for diagnosis or for any decision about a patient, for other devices, protocols or populations, or for images of "
    "anything else: the model always names one of its classes."
)
PHANTOM = "Phantom data: invented images. This shows that everything runs and proves nothing about medicine."


def model_card(metrics: Metrics, config: CandidateConfig, dataset: PreparedDataset, lineage: Mapping[str, str]) -> str:
    """Return the model card as Markdown.

    Args:
        metrics: the metrics of the candidate on the test split.
        config: the configuration of the candidate, of which the parameters used by its kind are shown.
        dataset: the data set of training and test.
        lineage: tags about the origin of the model.
    """
    params: dict[str, Any] = config.params.model_dump(exclude_none=True)
    networks = [(name, one) for name, one in zip(_names(config), config.networks, strict=True)]
    params |= {f"selected blocks{name}": one.blocks for name, one in networks if one.blocks is not None}
    params |= {f"temperature{name}": one.calibration.temperature for name, one in networks}
    parts = [
        f"# {metrics.model} on {dataset.name}",
        kind_in_words(metrics.kind),
        f"> **{PHANTOM}**" if metrics.is_phantom else "",
        f"**Intended use.** {intended(dataset.classes)} **Not intended** {NOT_INTENDED}",
        "## Data",
        _data(dataset),
        *(f"> **{warning}**" for warning in data_warnings(dataset.info)),
        "## Metrics on the test split",
        f"> **{notice}**" if (notice := split_notice(metrics)) else "",
        _metrics(metrics),
        majority_class_in_words(dataset.manifest.loc[dataset.manifest["split"] == "test", "label"]),
        "![confusion matrix](confusion.png) ![ROC](roc.png) ![precision and recall](precision_recall.png) "
        "![reliability](reliability.png) ![decision curves](decision_curves.png)",
        "## Decision",
        decision_in_words(metrics.operating_point, metrics.confidence),
        _operating_point(metrics),
        sets_in_words(metrics.prediction_sets, metrics.confidence, metrics.resampled),
        *_subgroups(metrics),
        "## Compared with the controls",
        "A gain of D-Cube counts only against its two controls, the untrained U-ViT and the sub-feature network "
        "alone, on the same test images: `dcube results` shows the differences with intervals and p-values.",
        "## Limits",
        "\n".join(f"- {limit}" for limit in limits_of(metrics)),
        "## Training",
        _table(flattened(params), ("parameter", "value")),
        "## Lineage",
        _table(
            {"weights (sha256)": metrics.weights_sha256, "test (fingerprint)": metrics.test_fingerprint}
            | dict(lineage),
            ("what", "value"),
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _names(config: CandidateConfig) -> list[str]:
    """Return an ending for the parameters of each network: empty for a single one."""
    return [f" of model {number}" for number in range(len(config.members))] or [""]


def title_of_candidate(name: str, kind: str) -> str:
    """Return the title of a candidate in lists: its short kind, preceded by its name if that says more."""
    words = short_kind(kind)
    return words if name in (kind, BASELINE) else f"{name} ({words})"


def short_kind(kind: str) -> str:
    """Return a candidate's kind in a few words."""
    if kind in KINDS:
        return KINDS[kind][0]
    method = registered_method(kind)
    return f"{kind} {'control' if method and method.family == 'Control' else 'baseline'}"


def candidate_in_words(name: str, kind: str) -> str:
    """Return a sentence that begins with the candidate's name, without its role if the name says the same."""
    role, _, rest = kind_in_words(kind).partition(": ")
    same = role.replace("-", "").lower() == name
    return f"{name}: {rest if same else f'{role}: {rest}'}"


def kind_in_words(kind: str) -> str:
    """Return a sentence about a candidate's kind."""
    if kind in KINDS:
        return f"{KINDS[kind][1]}."
    method = registered_method(kind)
    if method is None:
        probed = probed_network(kind)
        return f"Baseline: {f'a linear probe on the frozen {probed}' if probed else kind} from timm."
    role = "Control" if method.family == "Control" else "Baseline"
    return f"{role}: {method.title} ({method.reference})."


def intended(classes: Sequence[str]) -> str:
    """Return a sentence about the intended use of the model."""
    return (
        f"Research: distinguishing {', '.join(classes[:-1])} and {classes[-1]} on images that were acquired and "
        "prepared like those it was trained on."
    )


def _data(dataset: PreparedDataset) -> str:
    manifest = dataset.manifest
    groups = [("no label" if label == "" else label) for label in manifest["label"]]
    counts = pd.crosstab(manifest["split"], np.array(groups))
    counts = counts.reindex(index=list(SPLITS), columns=[*dataset.classes, "no label"], fill_value=0).astype(str)
    if dataset.patients is not None:
        known = manifest[manifest["patient"] != ""]
        patients = known.groupby(["split", "label"])["patient"].nunique().reset_index()
        for split, label, count in patients.itertuples(index=False):
            counts.loc[split, label or "no label"] += f" ({count})"
        counts[dataset.info.owners] = known.groupby("split")["patient"].nunique().reindex(counts.index, fill_value=0)
    rows = [(split, *row) for split, row in zip(counts.index, counts.to_numpy(), strict=True)]
    sources = f", and in brackets the {dataset.info.owners} they come from" if dataset.patients is not None else ""
    colour = "grey" if dataset.channels == 1 else "colour"
    return (
        f"{dataset.name}, {colour}, {dataset.image_size} × {dataset.image_size} pixels "
        f"({dataset.diffusion_image_size} × {dataset.diffusion_image_size} for the diffusion model), brought to a "
        f"square by `{dataset.info.input.fit}`, fingerprint `{dataset.fingerprint}`. "
        f"The split {split_in_words(dataset.info)}. Images by split and class{sources}:\n\n"
        + markdown_table(("split", *counts.columns), rows)
    )


def majority_class_in_words(labels: pd.Series) -> str:
    """Return a sentence about the accuracy of always predicting the most frequent of the true test labels."""
    shares = labels.value_counts(normalize=True)
    return f"Predicting “{shares.index[0]}” for every image gives an accuracy of {shares.iloc[0]:.3f}."


def _metrics(metrics: Metrics) -> str:
    header = ("metric", "value", f"{metrics.confidence:.0%} interval", "validation")
    rows = [
        (title_of(name), f"{metrics.test[name]:.3f}", interval_text(metrics, name), _validation(metrics, name))
        for name in names_of(metrics.test)
    ]
    how = f"Intervals: percentiles of {metrics.resamples} bootstrap resamples of {metrics.resampled}."
    seen = "Weights and temperature were selected on the validation images, so the validation metrics are optimistic."
    below = metrics.evaluation.abstain_below
    abstains = f" It abstains where its confidence is below {below:g}." if below else ""
    return f"{tested_on(metrics)}, evaluated once. {how} {seen}{abstains}\n\n{markdown_table(header, rows)}"


def _operating_point(metrics: Metrics) -> str:
    rows = table_rows(metrics.operating_point)
    name = metrics.operating_point.rule.of_class
    return markdown_table((f"of {name}", "validation", "test"), rows) if rows else ""


def _subgroups(metrics: Metrics) -> list[str]:
    if not metrics.subgroups:
        return []
    rows = list(rows_of(metrics))
    return ["## Subgroups", markdown_table(subgroup_columns(metrics), rows) if rows else "", notes_of(metrics)]


def _validation(metrics: Metrics, name: str) -> str:
    value = metrics.validation.get(metric_of(name).in_validation or name)
    return "" if value is None else f"{value:.3f}"


def limits_of(metrics: Metrics) -> list[str]:
    """Return sentences about the limits of the metrics."""
    limits = [
        "One test set from one source: metrics elsewhere can be worse, and the intervals do not cover that.",
        "One training: another seed gives other weights and other metrics; the intervals do not cover that either.",
    ]
    if metrics.folds:
        limits += [
            f"The {metrics.folds} models were tested one by one, each on its own fold; their mean, which predicts new "
            "images, was not tested itself. Their predictions are pooled, so the metrics differ a little from the "
            "study's means over folds.",
            "Decision and prediction sets were chosen on the patients that test them, by predictions of another of the "
            "models: their rates are slightly optimistic.",
        ]
    if owners_of(metrics.grouping) == "groups":
        limits.append("The groups of data.group_by stand for patients: if they do not, the metrics may be too high.")
    if metrics.test_patients is None:
        which = "Some patients" if metrics.resampled == PARTLY_KNOWN else "Patients"
        limits.append(f"{which} are unknown: if some of them have several images, the intervals are too narrow.")
    if metrics.test["accuracy"] == 1:
        limits.append(f"No error on the test: {NO_ERROR}.")
    if metrics.resamples_without_a_class:
        limits.append(
            f"{metrics.resamples_without_a_class} of {metrics.resamples} resamples lacked a class and were left "
            "out: the test set is small."
        )
    return limits


def _table(values: Mapping[str, object], header: tuple[str, str]) -> str:
    return markdown_table(header, [(key, f"`{value}`") for key, value in values.items()])
