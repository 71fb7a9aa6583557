"""Stage train_diffusion: train the U-ViT until FID stabilises."""

from collections.abc import Callable

import pandas as pd
from torch import Tensor

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.layout import CACHE, DIFFUSION, HISTORY, PREPARED, VALIDATION
from dcube.config.schema import Params
from dcube.data.prepared import PreparedDataset
from dcube.diffusion.training import DiffusionResult, train_diffusion
from dcube.diffusion.weights import save_diffusion
from dcube.engine.checkpoint_cleanup import note_finished
from dcube.engine.checkpoints import Checkpoints, training_key
from dcube.engine.device import choose_device
from dcube.engine.distributed import is_main_process
from dcube.engine.launcher import launch
from dcube.generative_metrics.frechet import FrechetTracker
from dcube.generative_metrics.plots import sample_grid
from dcube.stages.process.feasible_params import feasible_params
from dcube.tracking import tags
from dcube.tracking.run import tracked_run


def main() -> None:
    settings = feasible_params()
    launch(settings.compute.processes, lambda: train(settings), "dcube.stages", "train_diffusion")


def train(settings: Params) -> None:
    dataset = PreparedDataset.load(PREPARED)
    groups = {
        "diffusion": settings.diffusion.model_dump(),
        "fid": settings.fid.model_dump(),
        "compute": settings.compute.model_dump(),
    }
    defining = groups | {"compute": settings.compute.defining()}
    packages = ["artifacts", "data", "diffusion", "engine", "generative_metrics"]
    key = training_key("train_diffusion", defining, [dataset.fingerprint], packages)
    if not is_main_process():
        fit(settings, dataset, key)
        return
    with tracked_run("train_diffusion", groups, dataset, run_key=key) as tracked:

        def show(images: Tensor, labels: Tensor, step: int) -> None:
            tracked.log_figure(sample_grid(images, labels, dataset.classes), f"samples/step-{step:07d}.png")

        result = fit(settings, dataset, key, on_rows=tracked.log_metrics, on_samples=show)
        with atomic_folder(DIFFUSION) as folder:
            state = result.state
            digest = save_diffusion(folder, result.weights, state.best_step, settings.diffusion, dataset)
            pd.DataFrame(state.history).to_csv(folder / HISTORY, index=False)
            pd.DataFrame(state.validation).to_csv(folder / VALIDATION, index=False)
        tracked.set_tags({tags.WEIGHTS: digest, tags.BEST_STEP: state.best_step})
    note_finished(DIFFUSION, key)


def fit(settings: Params, dataset: PreparedDataset, key: str, **callbacks: Callable) -> DiffusionResult:
    device = choose_device(settings.compute)
    return train_diffusion(
        dataset,
        settings.diffusion,
        FrechetTracker(settings.fid, dataset, device, CACHE),
        settings.compute,
        device,
        Checkpoints.configured(key),
        **callbacks,
    )
