"""Stage track_fid: measure the distance of generated from real images for the chosen weights, overall and per class."""

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.headline import save_headline
from dcube.artifacts.layout import CACHE, DIFFUSION, FID, FID_REPORT, PREPARED, SAMPLES
from dcube.config.loading import flattened
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.sampler import sample
from dcube.diffusion.training import SAMPLING_BATCH
from dcube.diffusion.weights import load_diffusion, load_diffusion_config
from dcube.engine.device import autocast, choose_device
from dcube.engine.progress import progress
from dcube.generative_metrics.frechet import FrechetTracker
from dcube.generative_metrics.samples import Samples
from dcube.stages.process.running import params
from dcube.tracking import tags
from dcube.tracking.run import tracked_run


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
        patch_size = load_diffusion_config(DIFFUSION).diffusion.patch_size
        report, samples = tracker.report(images, labels, patch_size), Samples.of(tracker, images, labels)
        with atomic_folder(FID) as folder:
            report.save(folder / FID_REPORT)
            # The name contains the extractor, because distances of two extractors cannot be compared.
            save_headline(folder, "fid", settings.fid.extractor, report.overall.fid)
            samples.figure(dataset.classes).savefig(folder / "samples.png", dpi=150)
            samples.save(folder / SAMPLES)
        tracked.log_artifacts(FID, "fid")
        tracked.log_metrics([{"step": 0, **flattened(report.model_dump(exclude={"format_version", "definition"}))}])
        tracked.set_tags({f"{tags.FID}{key}": value for key, value in report.definition})
