"""Linear probes on all frozen features: a map of blocks and timesteps, and label-efficiency curves."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from dcube.artifacts.layout import PROBE_REPORT
from dcube.artifacts.schemas.probe import Agreement, BlockMap, LabelCurves, ProbeReport
from dcube.artifacts.schemas.selection import Selection
from dcube.config.schema import Classifier, Compute, Probe
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.weights import load_diffusion, load_diffusion_config
from dcube.engine.device import autocast
from dcube.engine.progress import progress
from dcube.features.frozen_uvit import FrozenUViT, with_random_weights
from dcube.features.label_efficiency import (
    DRAWN_LABELS,
    FOLDS,
    STRENGTHS,
    VALIDATION,
    against_controls,
    draws_of,
    label_efficiency,
    over_draws,
    sets_probed,
)
from dcube.features.pooling import POOLINGS
from dcube.features.probe_features import probe_every_block, stage_2_vectors, sub_feature_vectors
from dcube.features.probe_plots import labels_figure, map_figure
from dcube.features.probing import MAP_STRENGTH, SCORED, ProbeImages, map_poolings, rank_agreement

MAP_COLUMNS = ["source", "block", "timestep", "pooling", "split", "auroc", "accuracy"]


@dataclass(frozen=True)
class ProbeResult:
    """Result of the probes.

    Attributes:
        map: scores by source (trained, untrained), block, timestep, pooling and split.
        labels: scores by how the probe was chosen (`chosen_on`), features, number of labels, draw and split.
        statistic: median D of each block (Eq. 6), with which the map is compared.
        report: contents of `probe.json`, everything that defines the scores.
    """

    map: pd.DataFrame
    labels: pd.DataFrame
    statistic: list[float]
    report: ProbeReport

    def save(self, folder: Path) -> None:
        """Write tables, plots and the report."""
        self.map[MAP_COLUMNS].to_csv(folder / "map.csv", index=False)
        self.labels.to_csv(folder / "labels.csv", index=False)
        over_draws(self.labels).to_csv(folder / "summary.csv", index=False)
        against_controls(self.labels).to_csv(folder / "differences.csv", index=False)
        self.report.save(folder / PROBE_REPORT)
        labels_figure(self.labels).savefig(folder / "labels.png", dpi=150)
        compared = self.report.selection
        figure = map_figure(trained_map(self.map), self.statistic, compared.timestep, compared.spearman)
        figure.savefig(folder / "map.png", dpi=150)

    def mean_aurocs(self) -> list[dict[str, float]]:
        """Return rows of mean AUROC over the draws, with the number of labels as `step`.

        Probes are chosen on the drawn labels; the probe with all labels is chosen on the validation split.
        """
        few, every = (self.labels[self.labels["chosen_on"] == chosen_on] for chosen_on in (DRAWN_LABELS, VALIDATION))
        shown = pd.concat([few, every[every["labels"] == every["labels"].max()]])
        means = shown.groupby(["labels", "features", "split"], as_index=False)["auroc"].mean()
        rows = means.itertuples(index=False)
        return [{"step": row.labels, f"{row.split}_auroc_{row.features}": row.auroc} for row in rows]


def run_probes(
    dataset: PreparedDataset,
    diffusion: Path,
    selection: Selection,
    classifier: Classifier,
    probe: Probe,
    compute: Compute,
    device: torch.device,
) -> ProbeResult:
    """Probe the trained U-ViT, its untrained control and the sub-features.

    Args:
        diffusion: folder of the trained diffusion model.
        classifier: parameters of stage 2: input of the U-ViT, evaluation timesteps, sub-feature network.
    """
    images = ProbeImages.of(dataset)
    model, schedule = load_diffusion(diffusion, device)
    trained = FrozenUViT(model, schedule, tuple(range(len(model.blocks))), noised=classifier.input == "noised")
    diffusion_config = load_diffusion_config(diffusion)
    untrained = with_random_weights(trained, diffusion_config.diffusion, probe.seed)
    with autocast(device, compute):
        maps = [
            probe_every_block(uvit, dataset, images.for_map(), probe).assign(source=name)
            for name, uvit in (("trained", trained), ("untrained", untrained))
        ]
        vectors = {
            name: stage_2_vectors(uvit, dataset, images, classifier, probe)
            for name, uvit in (("diffusion", trained), ("untrained", untrained))
        }
        sub_features = sub_feature_vectors(dataset, images, classifier, probe, device)
    block_map = pd.concat(maps, ignore_index=True)
    counts, skipped = images.counts(probe.labels)
    sets = sets_probed(len(vectors), len(POOLINGS), sub_features is not None)
    total = sets * len(draws_of(counts, len(images.labelled), probe.draws))
    with progress("Fitting probes", total=total, unit="draws") as advance:
        table, dimensions = label_efficiency(vectors, sub_features, images, counts, probe.draws, advance)
    compared_at = min(probe.timesteps, key=lambda t: abs(t - selection.definition.timestep))
    scores = trained_map(block_map)
    auroc = scores["auroc"][scores["timestep"] == compared_at].to_list()
    report = ProbeReport(
        map=BlockMap(images=len(images.for_map().labelled), C=MAP_STRENGTH, poolings=map_poolings(block_map)),
        labels=LabelCurves(
            counts=counts, skipped=skipped, draws=probe.draws, C_tried=list(STRENGTHS),
            folds=FOLDS, timesteps=classifier.evaluation_timesteps, dimensions=dimensions,
        ),
        selection=Agreement(timestep=compared_at, spearman=rank_agreement(selection.statistic, auroc)),
        images={split: len(dataset.indices(split)) for split in ("train", *SCORED)},
        unlabelled=len(images.train) - len(images.labelled),
        seed=probe.seed,
        data_fingerprint=dataset.fingerprint,
        weights_sha256=diffusion_config.weights_sha256,
    )  # fmt: skip
    return ProbeResult(block_map, table, selection.statistic, report)


def trained_map(block_map: pd.DataFrame) -> pd.DataFrame:
    """Return the validation scores of the trained model with its best pooling."""
    trained = block_map["source"] == "trained"
    pooling = map_poolings(block_map)["trained"]
    return block_map[trained & (block_map["pooling"] == pooling) & (block_map["split"] == "validation")]
