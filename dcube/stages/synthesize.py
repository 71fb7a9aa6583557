"""Stage synthesize: generate images for the rare classes, and audit them for memorisation."""

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import AUDIT, DIFFUSION, PREPARED, SYNTHETIC, VALIDATION
from dcube.artifacts.tables import DIFFUSION_VALIDATION
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.weights import load_diffusion, load_diffusion_config
from dcube.engine.device import autocast, choose_device
from dcube.generative_metrics.plots import sample_grid
from dcube.stages.process.running import params
from dcube.synthesis.fitness import unfit_reasons
from dcube.synthesis.generation import generate, save_synthetic
from dcube.synthesis.memorisation import audit_memorisation, nearest_figure
from dcube.tracking.run import tracked_run


def main() -> None:
    settings, dataset = params(), PreparedDataset.load(PREPARED)
    device = choose_device(settings.compute)
    groups = {"synthesis": settings.synthesis, "compute": settings.compute}
    with tracked_run("synthesize", groups, dataset) as tracked:
        model, schedule = load_diffusion(DIFFUSION, device)
        synthetic = generate(model, schedule, dataset, settings.synthesis, autocast(device, settings.compute))
        images, real = synthetic.images.numpy(), dataset.images(dataset.diffusion_image_size)
        training, held_out = (real[dataset.indices(split, labelled=False)] for split in ("train", "validation"))
        history, diffusion = (
            DIFFUSION_VALIDATION.load(DIFFUSION / VALIDATION),
            load_diffusion_config(DIFFUSION).diffusion,
        )
        unfit = unfit_reasons(synthetic, dataset, history, diffusion, device)
        audit = audit_memorisation(images, training, held_out)
        summary = audit.summary().model_copy(update={"unfit": unfit})
        with atomic_folder(SYNTHETIC) as folder:
            save_synthetic(folder, synthetic, dataset)
            summary.save(folder / AUDIT)
            if len(images):  # a balanced data set gets no synthetic images
                sample_grid(synthetic.images, synthetic.labels, dataset.classes).savefig(folder / "grid.png", dpi=150)
                nearest_figure(audit, images, training).savefig(folder / "nearest.png", dpi=150)
        for file in (*sorted(SYNTHETIC.glob("*.png")), SYNTHETIC / AUDIT):
            tracked.log_figure(file, f"synthetic/{file.name}")
        numbers = summary.model_dump(exclude={"format_version", "nearest", "unfit"}, exclude_none=True)
        tracked.log_metrics([{"step": 0, **numbers}])
    print(summary.fitness)
