"""The figures of an evaluation, in the colours of Okabe and Ito, which colour-blind readers can distinguish."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from dcube.artifacts.tables import to_csv
from dcube.engine.classification_metrics import confusion
from dcube.evaluation.metrics import calibration_bins
from dcube.evaluation.predictions import Predictions

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
BESIDE_MATRIX, IN_LEGEND = 14, 40  # longest class name, in letters
STYLES = ("-", "--", "-.", ":")


def draw_figures(predictions: Predictions, bins: int, folder: Path, title: str) -> None:
    """Write every figure as `NAME.png`, and `roc.csv`, into `folder`.

    Args:
        bins: number of bins of the reliability diagram.
        title: title of the figures, before the number of images.
    """
    figures = {
        "confusion": confusion_figure(predictions),
        "roc": roc_figure(predictions),
        "precision_recall": precision_recall_figure(predictions),
        "reliability": reliability_figure(predictions, bins),
        "decision_curves": decision_curve_figure(predictions),
    }
    for name, figure in figures.items():
        figure.suptitle(f"{title}, {len(predictions.labels)} images")
        figure.savefig(folder / f"{name}.png", dpi=150)
    to_csv(roc_table(predictions), folder / "roc.csv")


def confusion_figure(predictions: Predictions) -> Figure:
    """Draw the confusion matrix: counts, shaded by the share of the true class."""
    classes = predictions.classes
    ones = np.ones((1, len(predictions.labels)))
    counts = confusion(predictions.labels, predictions.probabilities, ones)[0].astype(int)
    shares = counts / counts.sum(1, keepdims=True)
    side = 2.5 + 0.8 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        ink = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{count}\n{share:.0%}", ha="center", va="center", color=ink)
    axes.set(xlabel="prediction", ylabel="truth", title="Confusion matrix (test)")
    names = [_shortened(name, BESIDE_MATRIX) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(classes)), names)
    figure.colorbar(picture, label="share of the true class", shrink=0.8)
    return figure


def roc_figure(predictions: Predictions) -> Figure:
    figure, axes = _square("false positive rate (1 − specificity)", "true positive rate (sensitivity)", "ROC (test)")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="chance")
    for name, truth, score, look in _one_against_rest(predictions):
        false, true, _ = roc_curve(truth, score)
        axes.plot(false, true, label=f"{_shortened(name)}: {roc_auc_score(truth, score):.3f}", **look)
    _legend(figure, "area")
    return figure


def precision_recall_figure(predictions: Predictions) -> Figure:
    title = "Precision and recall (test)"
    figure, axes = _square("recall (sensitivity)", "precision (positive predictive value)", title)
    for name, truth, score, look in _one_against_rest(predictions):
        precision, recall, _ = precision_recall_curve(truth, score)
        area = average_precision_score(truth, score)
        axes.plot(recall, precision, label=f"{_shortened(name)}: {area:.3f}", drawstyle="steps-post", **look)
        axes.axhline(truth.mean(), color=look["color"], linewidth=0.8, alpha=0.5)
    _legend(figure, "area (thin line: chance)")
    return figure


def reliability_figure(predictions: Predictions, bins: int) -> Figure:
    """Draw accuracy by confidence, with Wilson's 95% intervals, and the number of predictions of each bin."""
    place, confidence, correct = calibration_bins(predictions.labels, predictions.probabilities, bins)
    counts = np.bincount(place, minlength=bins)
    used = counts > 0
    mean_confidence = np.bincount(place, confidence, bins)[used] / counts[used]
    hits = np.bincount(place, correct, bins)[used]
    accuracy = hits / counts[used]
    ranges = [binomtest(int(k), int(n)).proportion_ci(method="wilson") for k, n in zip(hits, counts[used], strict=True)]
    reach = np.abs(np.array([(it.low, it.high) for it in ranges]).T - accuracy)
    figure = Figure(figsize=(5, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfect")
    upper.errorbar(mean_confidence, accuracy, reach, fmt="o", capsize=3, color=COLOURS[0], label="model, 95% interval")
    upper.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), ylabel="share that is right", title="Reliability (test)")
    upper.legend(loc="upper left")
    lower.bar((np.arange(bins) + 0.5) / bins, counts, width=0.9 / bins, color=COLOURS[0])
    lower.set(xlabel="confidence of the prediction", ylabel="images")
    return figure


def net_benefit(truth: np.ndarray, score: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the net benefit per image (k,) for thresholds (k,) below 1 (Vickers and Elkin, 2006).

    It is the share of true positives minus that of false positives times the odds p / (1 − p) of the threshold p.
    Acting from the probability p means that a miss is as bad as (1 − p) / p false alarms.
    """
    called = score >= thresholds[:, None]
    return (called & truth).mean(axis=1) - (called & ~truth).mean(axis=1) * thresholds / (1 - thresholds)


def decision_curve_figure(predictions: Predictions) -> Figure:
    """Draw the net benefit of acting on each class's probability; thin lines: of acting on all images."""
    figure, axes = _square("threshold probability", "net benefit", "Decision curves (test)")
    thresholds, top = np.linspace(0.01, 0.99, 99), 0.0
    for name, truth, score, look in _one_against_rest(predictions):
        axes.plot(thresholds, net_benefit(truth, score, thresholds), label=_shortened(name), **look)
        on_all = net_benefit(truth, np.ones_like(score), thresholds)
        axes.plot(thresholds, on_all, color=look["color"], linewidth=0.8, alpha=0.5)
        top = max(top, float(truth.mean()))
    axes.axhline(0, color="0.7", linewidth=1, label="act on none")
    axes.set(ylim=(-top / 5, 1.1 * top))
    _legend(figure, "act on (thin line: act on all)")
    return figure


def roc_table(predictions: Predictions) -> pd.DataFrame:
    """Return the ROC curves as columns `class`, `false_positive_rate`, `true_positive_rate`, for other tools."""
    parts = []
    for name, truth, score, _ in _one_against_rest(predictions):
        false, true, _ = roc_curve(truth, score)
        parts.append(pd.DataFrame({"class": name, "false_positive_rate": false, "true_positive_rate": true}))
    return pd.concat(parts, ignore_index=True)


def _one_against_rest(predictions: Predictions):
    """Yield name, truth (n,), score (n,) and line style of every class against the rest."""
    for index, name in enumerate(predictions.classes):
        look = {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[index // len(COLOURS) % len(STYLES)]}
        yield name, predictions.labels == index, predictions.probabilities[:, index], look


def _legend(figure: Figure, title: str) -> None:
    """Draw the legend below the axes, where it does not cover a curve."""
    labels = [line.get_label() for axes in figure.axes for line in axes.get_lines()]
    columns = 1 if max(len(str(label)) for label in labels) > IN_LEGEND / 2 else 2
    figure.legend(title=title, loc="outside lower center", ncols=columns)


def _shortened(name: str, longest: int = IN_LEGEND) -> str:
    """Shorten a name to fit into a figure; a wide letter (Chinese, Japanese, Korean) counts as two."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in name)
    most = longest // 2 if wide > len(name) / 2 else longest
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _square(xlabel: str, ylabel: str, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=xlabel, ylabel=ylabel, title=title)
    return figure, axes
