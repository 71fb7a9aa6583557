"""Stage probe: what a linear probe reads from the frozen features, by block, noise level and number of labels."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import DIFFUSION, FEATURES, PREPARED, PROBE, PROBE_REPORT, SELECTION
from dcube.artifacts.schemas.probe import Agreement, BlockMap, LabelCurves, ProbeReport
from dcube.artifacts.schemas.selection import Selection
from dcube.classifier.candidate import FrozenUViT, build_sub_network, untrained
from dcube.classifier.head import ImageNetwork
from dcube.config.schema import Classifier, Probe
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.ranges import to_model_range
from dcube.diffusion.weights import load_diffusion, load_diffusion_config
from dcube.engine.device import autocast, choose_device
from dcube.engine.progress import progress
from dcube.engine.rng import torch_generator
from dcube.engine.seeds import derived_seed
from dcube.features.pooling import POOLINGS, Vectors, pooled_maps, side_by_side
from dcube.features.probe_plots import labels_figure, map_figure
from dcube.features.probing import (
    MAP_STRENGTH,
    SCORED,
    STRENGTHS,
    ProbeImages,
    against_controls,
    curves_fitted,
    label_efficiency,
    map_poolings,
    over_draws,
    probe_blocks,
    rank_agreement,
)
from dcube.stages import params, run
from dcube.tracking.run import tracked_run

Shown = Callable[[Tensor, Tensor, np.ndarray], Tensor]  # of clean images, at t, of rows of the data set
MAP_COLUMNS = ["source", "block", "timestep", "pooling", "split", "auroc", "accuracy"]


def main() -> None:
    settings, dataset = params(), PreparedDataset.load(PREPARED)
    classifier, probe, device = settings.classifier, settings.probe, choose_device(settings.compute)
    groups = {"probe": probe, "classifier": classifier, "compute": settings.compute}
    with tracked_run("probe", groups, dataset) as tracked:
        selection, images = Selection.load(FEATURES / SELECTION), ProbeImages.of(dataset)
        trained, control = both_models(classifier, probe, device)
        with autocast(device, settings.compute):
            the_map = pd.concat(
                [
                    map_of(uvit, dataset, images.for_the_map(), probe).assign(source=name)
                    for name, uvit in (("trained", trained), ("untrained", control))
                ],
                ignore_index=True,
            )
            vectors = {
                name: stage_2_vectors(uvit, dataset, images, classifier, probe)
                for name, uvit in (("diffusion", trained), ("untrained", control))
            }
            sub_features = sub_feature_vectors(dataset, images, classifier, probe, device)
        counts, skipped = images.counts(probe.labels)
        curves = curves_fitted(len(vectors), len(POOLINGS), sub_features is not None)
        total = curves * ((len(counts) - 1) * probe.draws + 1)
        with progress("Fitting probes", total=total, unit="draws") as advance:
            table, poolings, dimensions = label_efficiency(vectors, sub_features, images, counts, probe.draws, advance)
        shown = trained_map(the_map)
        compared_at = min(probe.timesteps, key=lambda t: abs(t - selection.definition.timestep))
        read = shown["auroc"][shown["timestep"] == compared_at].to_list()
        agreement = rank_agreement(selection.statistic, read)
        report = ProbeReport(
            map=BlockMap(images=len(images.for_the_map().labelled), C=MAP_STRENGTH, poolings=map_poolings(the_map)),
            labels=LabelCurves(
                counts=counts, skipped=skipped, draws=probe.draws, C_tried=list(STRENGTHS),
                timesteps=classifier.evaluation_timesteps, poolings=poolings, dimensions=dimensions,
            ),
            selection=Agreement(timestep=compared_at, spearman=agreement),
            images={split: len(dataset.indices(split)) for split in ("train", *SCORED)},
            unlabelled=len(images.train) - len(images.labelled),
            seed=probe.seed,
            data_fingerprint=dataset.fingerprint,
            weights_sha256=load_diffusion_config(DIFFUSION).weights_sha256,
        )  # fmt: skip
        with atomic_folder(PROBE) as folder:
            the_map[MAP_COLUMNS].to_csv(folder / "map.csv", index=False)
            table.to_csv(folder / "labels.csv", index=False)
            over_draws(table).to_csv(folder / "summary.csv", index=False)
            against_controls(table).to_csv(folder / "differences.csv", index=False)
            report.save(folder / PROBE_REPORT)
            labels_figure(table).savefig(folder / "labels.png", dpi=150)
            map_figure(shown, selection.statistic, compared_at, agreement).savefig(folder / "map.png", dpi=150)
        tracked.log_artifacts(PROBE, "probe")
        tracked.log_metrics(means_by_labels(table))


def both_models(classifier: Classifier, probe: Probe, device: torch.device) -> tuple[FrozenUViT, FrozenUViT]:
    """The trained U-ViT with all its blocks as stage 2 sees it, and its untrained control."""
    model, schedule = load_diffusion(DIFFUSION, device)
    uvit = FrozenUViT(model, schedule, tuple(range(len(model.blocks))), noised=classifier.input == "noised")
    return uvit, untrained(uvit, load_diffusion_config(DIFFUSION).diffusion, probe.seed)


def map_of(uvit: FrozenUViT, dataset: PreparedDataset, images: ProbeImages, probe: Probe) -> pd.DataFrame:
    """Scores of every block at every noise level; an image has one noise, the same at all levels and for all models."""
    shape = (dataset.channels, dataset.diffusion_image_size, dataset.diffusion_image_size)

    def noised(clean: Tensor, t: Tensor, rows: np.ndarray) -> Tensor:
        generators = [torch_generator("cpu", probe.seed, "noise of the probe", int(row)) for row in rows]
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        return uvit.schedule.add_noise(clean, noise.to(clean), t)

    parts = []
    with progress("Mapping blocks and noise levels", len(probe.timesteps) * len(images.rows), "images") as advance:
        for t in probe.timesteps:
            blocks = pooled_maps(block_maps(uvit, dataset, t, noised), images.rows, probe.batch_size, advance)
            parts.append(probe_blocks(blocks, images).assign(timestep=t))
    return pd.concat(parts, ignore_index=True)


def stage_2_vectors(
    uvit: FrozenUViT, dataset: PreparedDataset, images: ProbeImages, classifier: Classifier, probe: Probe
) -> Vectors:
    """All blocks at all of the evaluation's noise levels, side by side, of images shown as stage 2 shows them."""
    levels = classifier.evaluation_timesteps

    def as_in_stage_2(clean: Tensor, t: Tensor, rows: np.ndarray) -> Tensor:
        return uvit.shown(clean, t)

    with progress("Reading the features", len(levels) * len(images.rows), "images") as advance:
        maps = [block_maps(uvit, dataset, t, as_in_stage_2) for t in levels]
        parts = [pooled_maps(maps_of, images.rows, probe.batch_size, advance) for maps_of in maps]
    return side_by_side(vectors for part in parts for vectors in part)


def block_maps(
    uvit: FrozenUViT, dataset: PreparedDataset, timestep: int, shown: Shown
) -> Callable[[np.ndarray], list[Tensor]]:
    """What gives the maps of all blocks at one noise level for rows of the data set."""
    stored, device = dataset.images(dataset.diffusion_image_size), next(uvit.model.parameters()).device

    def maps_of(rows: np.ndarray) -> list[Tensor]:
        clean = to_model_range(torch.from_numpy(stored[rows]).to(device))
        t = torch.full((len(rows),), timestep, device=device)
        return uvit.features(shown(clean, t, rows), t)

    return maps_of


def sub_feature_vectors(
    dataset: PreparedDataset, images: ProbeImages, classifier: Classifier, probe: Probe, device: torch.device
) -> np.ndarray | None:
    """(n, channels): the sub-feature network's map, before any fine-tuning, in the mean; None where none is used."""
    if not classifier.use_sub_features:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(probe.seed, "first weights"))
        network, _ = build_sub_network(classifier.sub_features, dataset.image_size, load_pretrained=True)
    shown = ImageNetwork(network).to(device).eval()
    stored = dataset.images(dataset.image_size)

    def maps_of(rows: np.ndarray) -> list[Tensor]:
        return shown(torch.from_numpy(stored[rows]).to(device))

    with progress("Reading the sub-features", len(images.rows), "images") as advance:
        (vectors,) = pooled_maps(maps_of, images.rows, probe.batch_size, advance, poolings=["mean"])
    return vectors["mean"]


def trained_map(the_map: pd.DataFrame) -> pd.DataFrame:
    """The validation scores of the trained model at its best pooling."""
    trained = the_map["source"] == "trained"
    pooling = map_poolings(the_map)["trained"]
    return the_map[trained & (the_map["pooling"] == pooling) & (the_map["split"] == "validation")]


def means_by_labels(table: pd.DataFrame) -> list[dict[str, float]]:
    """AUROC in the mean over the draws, with the number of labels as the step."""
    means = table.groupby(["labels", "features", "split"], as_index=False)["auroc"].mean()
    return [
        {"step": row.labels, f"{row.split}_auroc_{row.features}": row.auroc} for row in means.itertuples(index=False)
    ]


if __name__ == "__main__":
    run(main)
