"""Figures with the curves of the trainings."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from dcube.evaluation.plots import COLOURS, STYLES

FOR_A_PHONE = (4.5, 4.5)  # inches, so that text of 10 points is readable on a page 390 pixels wide
LOSSES = {"loss": "sum", "diffusion_loss": "noise, Eq. (3)", "contrastive_loss": "contrastive, Eq. (4)"}


def diffusion_figure(history: pd.DataFrame, validation: pd.DataFrame, chosen: pd.Series) -> Figure:
    """Plot losses (above) and Fréchet distance (below) over the steps, with a star at the weights that were kept."""
    figure = Figure(figsize=FOR_A_PHONE, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for (name, words), colour, style in zip(LOSSES.items(), COLOURS, STYLES, strict=False):
        if name in history:
            upper.plot(history["step"], history[name], color=colour, linestyle=style, linewidth=1, label=words)
    upper.set(yscale="log", ylabel="training loss")
    upper.legend(fontsize="small")
    lower.plot(validation["step"], validation["fid"], color=COLOURS[0], marker="o", markersize=4)
    star = {"marker": "*", "markersize": 15, "linestyle": "", "color": COLOURS[1]}
    lower.plot(chosen["step"], chosen["fid"], **star, label="chosen weights")
    lower.set(ylabel="Fréchet distance", xlabel="step")
    lower.legend(fontsize="small")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    return figure


def classifier_figure(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Plot the validation AUROC of every candidate over the steps."""
    figure = Figure(figsize=FOR_A_PHONE, layout="constrained")
    axes = figure.subplots()
    for place, (name, curve) in enumerate(curves.items()):
        colour, style = COLOURS[place % len(COLOURS)], STYLES[place % len(STYLES)]
        axes.plot(curve["step"], curve["auroc"], style, color=colour, marker="o", markersize=3, label=name)
    axes.set(xlabel="step", ylabel="AUROC (validation)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure
