"""Every training that can be distributed, tiny: `python -m distributed_trainings PREPARED FOLDER PROCESSES`.

The main process writes each one's losses and validation metrics to FOLDER/rows.json.
"""

import json
import sys
from functools import partial
from pathlib import Path

from dcube.engine.launcher import launch
from dcube.stages import run


def train(prepared: Path, folder: Path) -> None:
    import torch
    from conftest import TINY
    from torch import nn

    from dcube.classifier.candidate import DCUBE, FrozenUViT, build_head
    from dcube.classifier.methods.building import build_method
    from dcube.classifier.methods.contract import Task
    from dcube.classifier.methods.diffmic import DiffMIC
    from dcube.classifier.methods.diffmic_guidance import DualGuidance
    from dcube.classifier.training import ImageTable, pretrain, train_candidate
    from dcube.config import Params
    from dcube.data.prepared import PreparedDataset
    from dcube.diffusion.noise_schedule import NoiseSchedule
    from dcube.diffusion.training import train_diffusion
    from dcube.diffusion.weights import build_uvit
    from dcube.engine.checkpoints import Checkpoints
    from dcube.engine.distributed import is_main_process
    from dcube.engine.pretrained import NO_WEIGHTS, create_pretrained
    from dcube.engine.trainer import Row
    from dcube.synthesis.frechet import FrechetTracker

    params, dataset, cpu = Params.model_validate(TINY), PreparedDataset.load(prepared), torch.device("cpu")
    # Dropout is each process's own. A small rate, since AdamW turns a vanishing gradient's rounding into whole steps.
    settings = params.classifier.model_copy(update={"dropout": 0.0, "learning_rate": 1e-5})
    tables = [ImageTable.of_split(dataset, split) for split in ("train", "validation")]
    task = Task(len(dataset.classes), dataset.image_size, dataset.channels)
    rows: dict[str, list[Row]] = {}

    def recorder(name: str) -> dict:
        return {"checkpoints": Checkpoints(folder, name), "on_rows": rows.setdefault(name, []).extend}

    def classify(name: str, head: nn.Module, uvit: FrozenUViT | None = None) -> None:
        train_candidate(head, uvit, *tables, settings, params.compute, **recorder(name))

    tracker = FrechetTracker(params.fid, dataset, cpu)
    train_diffusion(dataset, params.diffusion, tracker, params.compute, cpu, **recorder("diffusion"))
    uvit = FrozenUViT(build_uvit(params.diffusion, 16, 1, 3).eval(), NoiseSchedule(params.diffusion), blocks=(1, 2))
    torch.manual_seed(0)
    classify("dcube", build_head(DCUBE, settings, params.baseline, task, uvit, load_pretrained=False), uvit)
    classify("resnet18", build_method("resnet18", task, NO_WEIGHTS))
    networks = (create_pretrained("test_resnet", features_only=True, out_indices=(4,)) for _ in range(2))
    encoder = create_pretrained("test_resnet", num_classes=24)
    classify("diffmic", DiffMIC(DualGuidance(*networks, 96, 3), encoder, 3, 24))  # type: ignore[misc]
    cpt = build_method("cpt", task, NO_WEIGHTS)
    pretrain(cpt, settings, params.compute, **recorder("cpt, pretraining"), steps=3)
    classify("cpt", cpt)
    if is_main_process():
        (folder / "rows.json").write_text(json.dumps(rows))


def main(prepared: str, folder: str, processes: str) -> None:
    words = sys.argv[1:]
    launch(int(processes), partial(train, Path(prepared), Path(folder)), "distributed_trainings", *words)


if __name__ == "__main__":
    run(main)
