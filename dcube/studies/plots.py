"""Plot of a study's table: curves over its sweep, or a line of dots for each row."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dcube.evaluation.metrics import title_of
from dcube.studies.table import Line, StudyTable

MARKERS = "osD^v<>"


def plot(table: StudyTable) -> Figure:
    """Plot the first and the last metric that the study reports, side by side."""
    names = list(dict.fromkeys((table.study.metrics[0], table.study.metrics[-1])))
    sweep = table.study.sweep is not None
    size = (5 * len(names), 4.2) if sweep else (4.2 * len(names) + 2, 0.3 * len(table.lines) + 1.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False, sharey=not sweep)[0]
    for axis, name in zip(axes, names, strict=True):
        (_curves if sweep else _dots)(axis, table, name)
        axis.grid(alpha=0.3)
    if sweep:
        axes[-1].legend(fontsize="small")
    figure.suptitle(f"{table.study.title}: {table.data}")
    return figure


def _curves(axis: Axes, table: StudyTable, name: str) -> None:
    """Plot mean and standard deviation over the sweep, with one curve per row."""
    assert table.study.sweep
    values = [str(value) for value in table.study.sweep.values]
    rows = _by_row(table)
    for number, (title, lines) in enumerate(rows.items()):
        aside = 0.06 * (number - (len(rows) - 1) / 2)
        at = [values.index(str(line.variant.value)) + aside for line in lines]
        means = [line.metrics[name].mean for line in lines]
        spread = np.nan_to_num([line.metrics[name].deviation for line in lines])
        axis.errorbar(at, means, spread, marker=MARKERS[number % len(MARKERS)], capsize=3, label=title)
    axis.set_xticks(range(len(values)), values)
    axis.set(xlabel=table.study.sweep.title, ylabel=title_of(name))


def _dots(axis: Axes, table: StudyTable, name: str) -> None:
    """Plot a dot for each repeat and a bar for their mean, with the reference's mean as a dashed line."""
    groups = list(dict.fromkeys(line.variant.row.group for line in table.lines))
    for height, line in enumerate(table.lines):
        colour = f"C{groups.index(line.variant.row.group) % 10}"
        values = [result.metrics.get(name, np.nan) for result in line.results]
        axis.plot(values, [height] * len(values), "o", color=colour, markerfacecolor="none")
        axis.plot(line.metrics[name].mean, height, "|", color=colour, markersize=14, markeredgewidth=2.5)
        if line.variant.row.name == table.study.reference:
            axis.axvline(line.metrics[name].mean, color="grey", linestyle="--", linewidth=1, zorder=0)
    axis.set_yticks(range(len(table.lines)), [line.title for line in table.lines])
    axis.set_ylim(len(table.lines) - 0.4, -0.6)
    axis.set_xlabel(title_of(name))


def _by_row(table: StudyTable) -> dict[str, list[Line]]:
    rows: dict[str, list[Line]] = {}
    for line in table.lines:
        rows.setdefault(line.variant.row.name, []).append(line)
    return rows
