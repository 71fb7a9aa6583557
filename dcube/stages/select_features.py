"""Stage select_features: find the blocks with the least Gaussian features."""

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import DIFFUSION, FEATURES, PREPARED, SELECTION
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.weights import load_diffusion
from dcube.engine.device import choose_device
from dcube.features.selection import blocks_table, select_blocks, selection_figure
from dcube.stages.process.running import params
from dcube.tracking import tags
from dcube.tracking.run import tracked_run


def main() -> None:
    settings, dataset = params(), PreparedDataset.load(PREPARED)
    groups = {"features": settings.features, "compute": settings.compute}
    device = choose_device(settings.compute)
    with tracked_run("select_features", groups, dataset) as tracked:
        model, _ = load_diffusion(DIFFUSION, device)
        selection = select_blocks(model, dataset, settings.features, device)
        with atomic_folder(FEATURES) as folder:
            selection.save(folder / SELECTION)
            blocks_table(selection).to_csv(folder / "blocks.csv", index=False)
            selection_figure(selection).savefig(folder / "blocks.png", dpi=150)
        tracked.log_artifacts(FEATURES, "features")
        tracked.log_metrics(
            {"step": block, "ks_statistic": statistic, "ks_p_value": p_value}
            for block, (statistic, p_value) in enumerate(zip(selection.statistic, selection.p_value, strict=True))
        )
        tracked.set_tags({tags.BEST_BLOCKS: selection.best, tags.WORST_BLOCKS: selection.worst})
