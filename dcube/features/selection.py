"""Selection of the semantic blocks of the frozen U-ViT, whose feature maps are not Gaussian (paper §III-B2)."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from scipy.stats import kstwo

from dcube.artifacts.schemas.selection import Selection, SelectionDefinition
from dcube.config.schema import Features
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.ranges import to_model_range
from dcube.diffusion.uvit import UViT
from dcube.engine.progress import progress
from dcube.engine.seeds import numpy_generator
from dcube.features.gaussianity import ks_p_value, map_statistics
from dcube.features.random_field import null_statistics, p_value_under, power_spectrum

SMALLEST_SHOWN_P = 1e-6


def select_blocks(model: UViT, dataset: PreparedDataset, features: Features, device: torch.device) -> Selection:
    """Test each block on clean training images, labelled or not. The model gets no label.

    Args:
        model: trained model in eval mode on `device`.
    """
    rows = dataset.indices("train", labelled=False)
    count = images_tested(features, len(rows))
    chosen = numpy_generator(features.seed, "images tested for Gaussianity").choice(rows, count, replace=False)
    maps = block_maps(model, dataset, np.sort(chosen), features, device)
    statistic = np.array([np.median(map_statistics(block.reshape(count, -1))) for block in maps])
    p_value, critical = _judged(statistic, maps, features)
    best, worst = choose_blocks(statistic, p_value, features.significance, features.keep)
    definition = SelectionDefinition(
        timestep=features.timestep,
        images=count,
        values_a_map=model.grid**2,
        null=features.null,
        significance=features.significance,
        keep=features.keep,
        seed=features.seed,
    )
    return Selection(
        best=best,
        worst=worst,
        statistic=statistic.tolist(),
        p_value=p_value.tolist(),
        critical=critical.tolist(),
        definition=definition,
    )


def images_tested(features: Features, available: int) -> int:
    """Return the number of images to test: `features.images`, or all available ones if there are fewer."""
    return min(features.images, available)


def _judged(statistic: np.ndarray, maps: np.ndarray, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return the p-value of each block's median D, and the critical D, (n_blocks,) each."""
    blocks, _, side, _ = maps.shape
    if features.null == "as_published":
        values = side**2
        return ks_p_value(statistic, values), np.full(blocks, kstwo.isf(features.significance, values))
    nulls = [
        null_statistics(power_spectrum(block), side, numpy_generator(features.seed, "random field", index))
        for index, block in enumerate(maps)
    ]
    p_values = [p_value_under(null, d) for d, null in zip(statistic, nulls, strict=True)]
    return np.array(p_values), np.quantile(nulls, 1 - features.significance, axis=1)


def blocks_table(selection: Selection) -> pd.DataFrame:
    """Return one row for each block: block, position (in, middle, out), statistic, critical, p_value, kept."""
    blocks = range(len(selection.statistic))
    middle = len(blocks) // 2
    return pd.DataFrame(
        {
            "block": blocks,
            "position": ["in" if b < middle else "middle" if b == middle else "out" for b in blocks],
            "statistic": selection.statistic,
            "critical": selection.critical,
            "p_value": selection.p_value,
            "kept": [b in selection.best for b in blocks],
        }
    )


@torch.inference_mode()
def block_maps(
    model: UViT, dataset: PreparedDataset, rows: np.ndarray, features: Features, device: torch.device
) -> np.ndarray:
    """Return the channel-mean map of each block and image, f of Eq. (6): (n_blocks, n_rows, h, w) float32."""
    images, blocks = dataset.images(dataset.diffusion_image_size), range(len(model.blocks))
    maps = np.empty((len(blocks), len(rows), model.grid, model.grid), dtype=np.float32)
    with progress("Testing the blocks' features", total=len(rows), unit="images") as advance:
        for start in range(0, len(rows), features.batch_size):
            part = slice(start, start + features.batch_size)
            clean = to_model_range(torch.from_numpy(images[rows[part]]).to(device))
            t = torch.full((len(clean),), features.timestep, device=device)
            outputs = model.forward_intermediates(clean, t, indices=blocks)
            maps[:, part] = torch.stack([output.mean(dim=1) for output in outputs]).float().cpu().numpy()
            advance(len(clean))
    return maps


def choose_blocks(
    statistic: np.ndarray, p_value: np.ndarray, significance: float, keep: int
) -> tuple[list[int], list[int]]:
    """Return the best and the worst blocks, each ascending.

    The best blocks are all that are significantly not Gaussian. If these are fewer than `keep`, the blocks with the
    largest D are added. The worst blocks are as many with the smallest D.
    """
    by_statistic = np.argsort(-statistic, kind="stable").tolist()
    significant = [block for block in by_statistic if p_value[block] < significance]
    others = [block for block in by_statistic if block not in significant]
    best = significant + others[: max(0, keep - len(significant))]
    return sorted(best), sorted(by_statistic[-len(best) :])


def selection_figure(selection: Selection) -> Figure:
    """Plot p-value and D of each block like the paper's Fig. 2, and mark the best and worst blocks below."""
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    p_axis, d_axis, chosen_axis = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    p_value, statistic = np.maximum(selection.p_value, SMALLEST_SHOWN_P), np.array(selection.statistic)
    for axis, values in ((p_axis, p_value), (d_axis, statistic)):
        axis.plot(values, color="0.4", marker="o", markersize=4)
        axis.grid(alpha=0.3)
    significance = selection.definition.significance
    p_axis.axhline(
        significance, color="k", linestyle="--", linewidth=1, label=f"below p = {significance:g}: not Gaussian"
    )
    d_axis.plot(selection.critical, color="k", linestyle="--", linewidth=1, label=f"D at p = {significance:g}")
    d_axis.legend(loc="best", fontsize="small")
    p_axis.set(yscale="log", ylabel="p of the median D", title="Kolmogorov–Smirnov test of each block's feature map")
    p_axis.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_locator=NullLocator())
    p_axis.legend(loc="best", fontsize="small")
    d_axis.set(ylabel="median D")
    # Best and worst have separate rows, because a block can be both and its marks must not overlap.
    for row, (blocks, marker, color) in enumerate(((selection.worst, "x", "firebrick"), (selection.best, "*", "gold"))):
        edge = {"edgecolors": "k"} if marker == "*" else {}
        chosen_axis.scatter(blocks, [row] * len(blocks), marker=marker, s=150, c=color, **edge)
    chosen_axis.set(ylim=(-0.6, 1.6), xlabel="block")
    chosen_axis.set_yticks((0, 1), ("worst: smallest D", "best: largest D"))
    chosen_axis.set_xticks(range(len(statistic)))
    chosen_axis.grid(alpha=0.3, axis="x")
    return figure
