"""Tiny versions of trainings: `python -m tests.support.distributed_trainings PREPARED FOLDER PROCESSES ours,others`.

`ours` are the diffusion model and D-Cube, `others` the methods that it is compared with.
The main process writes each one's losses and validation metrics to FOLDER/rows.json.
"""

import json
import sys
from functools import partial
from pathlib import Path

from dcube.engine.launcher import launch
from dcube.stages.process.running import run


def train(prepared: Path, folder: Path, trained: list[str]) -> None:
    import torch
    from torch import nn

    from dcube.artifacts.candidates import DCUBE
    from dcube.classifier.candidate import build_head, build_method
    from dcube.classifier.image_table import ImageTable
    from dcube.classifier.methods.diffmic import DiffMIC
    from dcube.classifier.networks.contract import Task
    from dcube.classifier.networks.diffmic_guidance import DualGuidance
    from dcube.classifier.training import pretrain, train_candidate
    from dcube.config.schema import HeadSettings, Params
    from dcube.data.prepared import PreparedDataset
    from dcube.diffusion.noise_schedule import NoiseSchedule
    from dcube.diffusion.training import train_diffusion
    from dcube.diffusion.weights import build_uvit
    from dcube.engine.checkpoints import Checkpoints
    from dcube.engine.distributed import is_main_process
    from dcube.engine.pretrained import NO_WEIGHTS, create_pretrained
    from dcube.engine.trainer import Row
    from dcube.features.frozen_uvit import FrozenUViT
    from dcube.generative_metrics.frechet import FrechetTracker
    from tests.support.discs import TINY

    params, dataset, cpu = Params.model_validate(TINY), PreparedDataset.load(prepared), torch.device("cpu")
    # Dropout would differ between processes. The rate is small, since AdamW turns rounding errors into whole steps.
    settings = params.classifier.model_copy(update={"dropout": 0.0, "learning_rate": 1e-5})
    images, validation = (ImageTable.of_split(dataset, split) for split in ("train", "validation"))
    task = Task(len(dataset.classes), dataset.image_size, dataset.channels)
    rows: dict[str, list[Row]] = {}

    def recorder(name: str) -> dict:
        return {"checkpoints": Checkpoints(folder, name), "on_rows": rows.setdefault(name, []).extend}

    def classify(name: str, head: nn.Module, uvit: FrozenUViT | None = None) -> None:
        losses = settings.head_settings if uvit else HeadSettings()
        optimisation = settings.optimisation
        train_candidate(head, uvit, images, validation, optimisation, losses, params.compute, **recorder(name))

    if "ours" in trained:
        tracker = FrechetTracker(params.fid, dataset, cpu)
        train_diffusion(dataset, params.diffusion, tracker, params.compute, cpu, **recorder("diffusion"))
        uvit = FrozenUViT(build_uvit(params.diffusion, 16, 1, 3).eval(), NoiseSchedule(params.diffusion), blocks=(1, 2))
        torch.manual_seed(0)
        classify("dcube", build_head(DCUBE, settings, task, uvit, load_pretrained=False), uvit)
    if "others" in trained:
        torch.manual_seed(0)
        classify("resnet18", build_method("resnet18", task, NO_WEIGHTS))
        whole, parts = (create_pretrained("test_resnet", features_only=True, out_indices=(4,)) for _ in range(2))
        encoder = create_pretrained("test_resnet", num_classes=24)
        classify("diffmic", DiffMIC(DualGuidance(whole, parts, 96, 3), encoder, 3, 24))
        cpt = build_method("cpt", task, NO_WEIGHTS)
        pretrain(cpt, settings.optimisation, params.compute, **recorder("cpt, pretraining"), steps=3)
        classify("cpt", cpt)
    if is_main_process():
        (folder / "rows.json").write_text(json.dumps(rows))


def main(prepared: str, folder: str, processes: str, trained: str) -> None:
    work = partial(train, Path(prepared), Path(folder), trained.split(","))
    launch(int(processes), work, "tests.support.distributed_trainings", *sys.argv[1:])


if __name__ == "__main__":
    run(main, *sys.argv[1:])
