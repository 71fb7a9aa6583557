"""Heatmaps of the image parts that support a prediction, plotted beside the image.

Method: occlusion (Zeiler and Fergus, 2014; captum). A part of the image is blurred, and the fall of the predicted
class's log-odds is that part's contribution. Occlusion needs no gradient and no layer. One heatmap therefore covers
both inputs of D-Cube (diffusion model and sub-feature network), has the same meaning for every baseline, and can be
explained to a clinician in one sentence. Heatmaps from gradients can look the same for a network with random weights
(Adebayo et al., 2018); a test checks that these do not.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from captum.attr import Occlusion
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from dcube.classifier.candidate import Candidate
from dcube.data.preprocessing import ModelInput
from dcube.inference.prediction import ABSTAIN

GRID = 16  # the image is divided into GRID × GRID cells
WINDOW = 4  # WINDOW × WINDOW cells are hidden at a time
STRIDE = 2  # cells between two positions of the window: 49 predictions per image
BLUR = 1 / 8  # standard deviation of the blur, as a fraction of the image's side
Versions = tuple[Tensor, Tensor]  # (1, C, S, S) floats: the whole image, and the blurred one

OUTSIDE = "__"  # folder name that replaces `..` in paths
FINEST = 1e-7  # probabilities are clamped this far from 0 and 1, because float32 has no values nearer to 1


def heatmaps(candidate: Candidate, images: np.ndarray, diffusion_images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return heatmaps (n, GRID, GRID): how much the log-odds of `classes[i]` fall when a part of image i is blurred.

    Args:
        images, diffusion_images: same as for `Candidate.predict`.
        classes: (n,) class indices.
    """
    device = next(candidate.head.parameters()).device
    results = []
    for image, diffusion_image, index in zip(images, diffusion_images, classes, strict=True):
        large, small = (_with_blurred(one, device) for one in (image, diffusion_image))
        everything = torch.ones(1, GRID, GRID, device=device)
        found = Occlusion(partial(_log_odds, candidate, large, small)).attribute(
            everything,
            sliding_window_shapes=(WINDOW, WINDOW),
            strides=(STRIDE, STRIDE),
            target=int(index),
            perturbations_per_eval=64,
        )
        results.append(found[0].cpu().numpy())
    return np.stack(results)


def save_heatmaps(candidate: Candidate, inputs: Sequence[ModelInput | str], rows: pd.DataFrame, folder: Path) -> None:
    """Save a PNG for every predicted image below `folder`, for example `folder/study/1.dcm.png` for `study/1.dcm`."""
    for found, row in zip(inputs, rows.to_dict("records"), strict=True):
        if isinstance(found, str):
            continue
        index = candidate.classes.index(row["prediction"])
        heatmap = heatmaps(candidate, found.image[None], found.diffusion_image[None], np.array([index]))[0]
        text = f"{row['prediction']} {row['confidence']:.2f}" + (" (abstains)" if row["decision"] == ABSTAIN else "")
        file = folder / _path_below(row["image"])
        file.parent.mkdir(parents=True, exist_ok=True)
        plot_heatmap(found.image, heatmap, text).savefig(file, dpi=120)


def plot_heatmap(image: np.ndarray, heatmap: np.ndarray, title: str) -> Figure:
    """Plot the image (C, S, S) as the model sees it, and the same image with the heatmap on top beside it."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    reach = max(float(np.abs(heatmap).max()), 1e-6)
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
    left.set_title("as the model sees it")
    side = pixels.shape[0]
    extent = (-0.5, side - 0.5, side - 0.5, -0.5)
    strength = np.abs(heatmap) / reach * 0.6
    layer = right.imshow(
        heatmap, cmap="RdBu_r", vmin=-reach, vmax=reach, alpha=strength, extent=extent, interpolation="bilinear"
    )
    right.set_title(title)
    scale = ScalarMappable(layer.norm, layer.cmap)  # a colour bar of the layer itself would be transparent too
    figure.colorbar(scale, ax=right, shrink=0.85, label="log-odds lost without this part")
    return figure


def _log_odds(candidate: Candidate, large: Versions, small: Versions, visible: Tensor) -> Tensor:
    """Return log-odds (B, classes) for masks `visible` (B, GRID, GRID), which are 0 in hidden cells and 1 elsewhere."""
    timesteps = candidate.config.evaluation_timesteps
    shown, small_shown = (_mixed(versions, visible) for versions in (large, small))
    chances = candidate.probabilities_by_timestep(shown, small_shown, timesteps).mean(dim=0)
    chances = chances.double().clamp(FINEST, 1 - FINEST)
    return (chances / (1 - chances)).log()


def _with_blurred(image: np.ndarray, device: torch.device) -> Versions:
    """Return the image (C, S, S) and a blurred copy without small structures, each as (1, C, S, S) floats."""
    whole = torch.tensor(image, dtype=torch.float32, device=device)[None]
    sigma = image.shape[-1] * BLUR
    kernel = 2 * round(2 * sigma) + 1
    return whole, gaussian_blur(whole, [kernel, kernel], [sigma, sigma])


def _mixed(versions: Versions, visible: Tensor) -> Tensor:
    """Mix both versions with soft borders, because a hard border would be an artificial edge."""
    whole, blurred = versions
    mask = F.interpolate(visible[:, None].float(), whole.shape[-2:], mode="bilinear")
    return whole * mask + blurred * (1 - mask)


def _path_below(image: str) -> Path:
    """Return a relative path that differs for every image; a single file name made of the path could be ambiguous."""
    parts = Path(os.path.relpath(image)).parts
    return Path(*(OUTSIDE if part == os.pardir else part for part in parts[:-1]), f"{parts[-1]}.png")
