"""Stage track_fid: how far images of the chosen weights are from real ones, overall and per class."""

import json

import numpy as np
from matplotlib.figure import Figure

from dcube.data.prepared import PreparedDataset
from dcube.diffusion.figures import image_rows
from dcube.diffusion.sampler import sample
from dcube.diffusion.weights import load_diffusion, load_diffusion_config
from dcube.engine.device import autocast, choose_device
from dcube.engine.progress import progress
from dcube.engine.publish import published
from dcube.stages import params, run
from dcube.stages.paths import CACHE, DIFFUSION, FID, PREPARED
from dcube.synthesis.blockiness import blockiness
from dcube.synthesis.frechet import FrechetTracker
from dcube.tracking import flattened, tracked_run

SAMPLING_BATCH = 256
SHOWN = 8


def main() -> None:
    settings, dataset = params(), PreparedDataset.load(PREPARED)
    device = choose_device(settings.compute)
    groups = {"fid": settings.fid, "compute": settings.compute}
    with tracked_run("track_fid", groups, dataset) as tracked:
        model, schedule = load_diffusion(DIFFUSION, device)
        tracker = FrechetTracker(settings.fid, dataset, device, CACHE)
        labels, steps = tracker.labels, settings.fid.sampling_steps
        shape = (dataset.channels, dataset.diffusion_image_size, dataset.diffusion_image_size)
        with (
            autocast(device, settings.compute),
            progress("Generating images", total=len(labels), unit="images") as advance,
        ):
            images = sample(model, schedule, labels, tracker.seeds, steps, SAMPLING_BATCH, shape, on_batch=advance)
        measured = {"overall": tracker.measure(images, labels), "classes": tracker.measure_classes(images, labels)}
        real = dataset.images(dataset.diffusion_image_size)[tracker.rows]
        patch = load_diffusion_config(DIFFUSION).patch_size
        measured["blockiness"] = {"generated": blockiness(images.numpy(), patch), "real": blockiness(real, patch)}
        with published(FID) as folder:
            result = {**measured, "definition": tracker.definition}
            (folder / "fid.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            _samples_figure(real, tracker.real_labels, images.numpy(), labels.numpy(), dataset.classes).savefig(
                folder / "samples.png", dpi=150
            )
        tracked.log_artifacts(FID, "fid")
        tracked.log_metrics([{"step": 0, **flattened(measured)}])
        tracked.set_tags({f"dcube.fid_{key}": value for key, value in tracker.definition.items()})


def _samples_figure(
    real: np.ndarray, real_labels: np.ndarray, generated: np.ndarray, labels: np.ndarray, classes: list[str]
) -> Figure:
    """Two rows a class: real images, and generated ones below."""
    rows = {}
    for index, name in enumerate(classes):
        rows[f"{name}, real"] = real[real_labels == index][:SHOWN]
        rows[f"{name}, generated"] = generated[labels == index][:SHOWN]
    return image_rows(rows)


if __name__ == "__main__":
    run(main)
