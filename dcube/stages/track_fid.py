"""Stage track_fid: how far images of the chosen weights are from real ones, overall and per class."""

import json

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import CACHE, DIFFUSION, FID, FID_REPORT, HEADLINE, PREPARED, SAMPLES
from dcube.artifacts.schemas.fid import Blockiness, FidReport
from dcube.config.loading import flattened
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.plots import image_rows
from dcube.diffusion.sampler import sample
from dcube.diffusion.training import SAMPLING_BATCH
from dcube.diffusion.weights import load_diffusion, load_diffusion_config
from dcube.engine.device import autocast, choose_device
from dcube.engine.progress import progress
from dcube.generative_metrics.blockiness import blockiness
from dcube.generative_metrics.frechet import FrechetTracker
from dcube.stages import params
from dcube.tracking import tags
from dcube.tracking.run import tracked_run

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
        real = dataset.images(dataset.diffusion_image_size)[tracker.rows]
        patch = load_diffusion_config(DIFFUSION).diffusion.patch_size
        report = FidReport(
            overall=tracker.measure(images, labels),
            classes=tracker.measure_classes(images, labels),
            blockiness=Blockiness(generated=blockiness(images.numpy(), patch), real=blockiness(real, patch)),
            definition=tracker.definition,
        )
        with atomic_folder(FID) as folder:
            report.save(folder / FID_REPORT)
            # The extractor's name is in it: distances of two extractors do not compare.
            (folder / HEADLINE).write_text(json.dumps({"fid": {settings.fid.extractor: report.overall.fid}}))
            first = one_image_per_patient_first(dataset.manifest["patient"].iloc[tracker.rows])
            shown = _shown(dataset.classes, real[first], tracker.real_labels[first], images.numpy(), labels.numpy())
            _samples_figure(shown, dataset.classes).savefig(folder / "samples.png", dpi=150)
            np.savez_compressed(folder / SAMPLES, **shown)  # type: ignore[arg-type]  # numpy's stub
        tracked.log_artifacts(FID, "fid")
        tracked.log_metrics([{"step": 0, **flattened(report.model_dump(exclude={"format_version", "definition"}))}])
        tracked.set_tags({f"{tags.FID}{key}": value for key, value in report.definition})


def one_image_per_patient_first(patients: pd.Series) -> np.ndarray:
    """Positions, one image of each patient before the second ones. Images of unknown patients count as of several."""
    repeated = patients.duplicated() & (patients != "")
    return np.argsort(repeated.to_numpy(), kind="stable")


def _shown(
    classes: list[str], real: np.ndarray, real_labels: np.ndarray, generated: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """The first images of every class, real and generated, with their labels."""
    chosen: dict[str, np.ndarray] = {}
    for name, images, its_labels in (("real", real, real_labels), ("generated", generated, labels)):
        rows = np.concatenate([np.flatnonzero(its_labels == index)[:SHOWN] for index in range(len(classes))])
        chosen |= {name: images[rows], f"{name}_labels": its_labels[rows]}
    return chosen


def _samples_figure(shown: dict[str, np.ndarray], classes: list[str]) -> Figure:
    """Two rows a class: real images, and generated ones below."""
    rows = {}
    for index, name in enumerate(classes):
        for which in ("real", "generated"):
            rows[f"{name}, {which}"] = shown[which][shown[f"{which}_labels"] == index]
    return image_rows(rows)
