"""Figures of generated images."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

COLUMNS = 8


def sample_grid(images: Tensor, labels: Tensor, classes: list[str]) -> Figure:
    """Draw the first images (n, C, S, S) uint8 with labels (n,), one row per class that has any."""
    rows = {name: images[labels == index][:COLUMNS].numpy() for index, name in enumerate(classes)}
    return image_rows({name: row for name, row in rows.items() if len(row)})


def image_rows(rows: dict[str, np.ndarray]) -> Figure:
    """Draw named rows of grey or colour images, (k, C, S, S) uint8 each."""
    columns = max(1, *(len(images) for images in rows.values()))
    figure = Figure(figsize=(1.2 * columns + 1.2, 1.25 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].text(-0.1, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    return figure
