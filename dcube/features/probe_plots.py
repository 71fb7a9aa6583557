"""Plots of the linear probes, in the colours of Okabe and Ito, which colour-blind readers can distinguish."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from dcube.features.label_efficiency import DRAWN_LABELS, VALIDATION

# Lines are solid with sub-features and dashed without. Blue: trained U-ViT; orange: untrained control; green: neither.
STYLES = {
    "diffusion": {"color": "#0072B2", "linestyle": "--", "marker": "o"},
    "untrained": {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    "sub_features": {"color": "#009E73", "linestyle": "-", "marker": "^"},
    "diffusion+sub_features": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "untrained+sub_features": {"color": "#D55E00", "linestyle": "-", "marker": "s"},
}
OFFSET = 1.03
NAMES = {
    "diffusion": "diffusion features",
    "untrained": "untrained U-ViT",
    "sub_features": "sub-features",
    "diffusion+sub_features": "diffusion + sub-features",
    "untrained+sub_features": "untrained + sub-features",
}


def labels_figure(table: pd.DataFrame) -> Figure:
    """Plot test AUROC by number of labels for both protocols: mean and standard deviation over the draws."""
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    counts, test = sorted(table["labels"].unique()), table[table["split"] == "test"]
    for axis, chosen_on in zip(axes, (DRAWN_LABELS, VALIDATION), strict=True):
        for index, (name, rows) in enumerate(test[test["chosen_on"] == chosen_on].groupby("features", sort=False)):
            over_draws = rows.groupby("labels")["auroc"]
            mean, spread = over_draws.mean(), over_draws.std(ddof=0)
            beside = mean.index * OFFSET ** (index - 2)  # so that no line hides another's spread
            style = STYLES[str(name)]
            axis.errorbar(
                beside, mean, spread, label=NAMES[str(name)], markersize=4, capsize=2, elinewidth=0.8, **style
            )
        axis.set(xscale="log", xlabel="labelled training images", title=f"probe chosen on {chosen_on}")
        axis.set_xticks(counts, [f"{count:,}" for count in counts])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test AUROC")
    figure.suptitle("Linear probes on frozen features: mean and standard deviation over draws of the labels")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def map_figure(table: pd.DataFrame, statistic: list[float], compared_at: int, agreement: float | None) -> Figure:
    """Plot validation AUROC by block and timestep beside the statistic D of each block.

    Args:
        table: validation rows of the map for the trained model and one pooling.
        statistic: D of each block.
        compared_at: timestep whose AUROC is compared with D.
        agreement: Spearman's correlation between AUROC and D across blocks; None if it is undefined.
    """
    grid = table.pivot(index="block", columns="timestep", values="auroc")
    figure = Figure(figsize=(4.5 + 0.8 * grid.shape[1], 2.5 + 0.4 * len(grid)), layout="constrained")
    heat, bars = figure.subplots(1, 2, sharey=True, width_ratios=(2 + grid.shape[1], 3))
    _heat_map(figure, heat, grid)
    bars.barh(range(len(statistic)), statistic, color="0.6")
    bars.set(xlabel="median D", title="Kolmogorov–Smirnov")
    bars.grid(alpha=0.3, axis="x")
    value = "undefined" if agreement is None else f"{agreement:+.2f}"
    figure.suptitle(f"What a linear probe reads; Spearman's correlation with D at t = {compared_at}: {value}")
    return figure


def _heat_map(figure: Figure, axis: Axes, grid: pd.DataFrame) -> None:
    picture = axis.imshow(grid, cmap="viridis", aspect="auto", origin="lower")
    middle = (grid.to_numpy().min() + grid.to_numpy().max()) / 2
    for (row, column), value in np.ndenumerate(grid.to_numpy()):
        ink = "black" if value > middle else "white"
        axis.text(column, row, f"{value:.3f}", ha="center", va="center", color=ink, fontsize="small")
    axis.set_xticks(range(grid.shape[1]), [str(t) for t in grid.columns])
    axis.set_yticks(range(len(grid)), [str(block) for block in grid.index])
    axis.set(xlabel="timestep", ylabel="block", title="validation AUROC")
    figure.colorbar(picture, ax=axis)
