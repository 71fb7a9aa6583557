"""Work of seconds in several processes: `python -m tests.support.toy_training FOLDER PROCESSES WORK [TROUBLE]`.

WORK is `train`, a training with everything that processes must agree on, or `count`, which only adds up.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from dcube.config.schema import Classifier, Compute
from dcube.engine.distributed import from_first, is_first, share_of, summed
from dcube.engine.launcher import in_processes
from dcube.errors import DcubeError
from dcube.stages import run

STEPS, BATCH, EPOCH = 60, 10, 20
TROUBLE_AT = 45


def train(folder: Path, trouble: str) -> None:
    """Convolutions, both kinds of batch normalisation, dropout, parameters without a gradient, uneven shares."""
    import safetensors.torch
    from timm.layers import BatchNormAct2d
    from torch import nn

    from dcube.classifier.head import SharedDropout
    from dcube.engine.checkpoints import Checkpoints
    from dcube.engine.rng import torch_generator
    from dcube.engine.trainer import Trainer

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # No biases right before normalisation: their gradient is rounding alone, which AdamW would blow up.
            first, second = nn.Conv2d(1, 6, 3, bias=False), nn.Conv2d(6, 4, 3, bias=False)
            self.layers = nn.Sequential(first, nn.BatchNorm2d(6), nn.ReLU(), second, BatchNormAct2d(4))
            self.dropout = SharedDropout(0.3)
            self.out, self.unused = nn.Linear(4, 1), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.dropout(self.layers(x).mean(dim=(2, 3))))

    share = share_of(BATCH)
    torch.manual_seed(0 if is_first() else 1)  # the first process's weights count
    trainer = Trainer(Network(), Classifier(ema_decay=0.9, learning_rate=0.01), Checkpoints(folder, "toy"), 5)

    def losses(step: int) -> dict[str, torch.Tensor]:
        provoke(trouble, step)
        trainer.model.dropout.draw(step, share)
        x = share.of(torch.randn(BATCH, 1, 8, 8, generator=torch_generator("cpu", 0, "x", step)))
        loss = (trainer.model(x) - x.mean(dim=(1, 2, 3))[:, None]).square().mean()
        return {"loss": loss * share.weight}

    def validate(averaged: nn.Module, step: int) -> dict:
        x = torch.randn(16, 1, 8, 8, generator=torch_generator("cpu", 0, "validation"))
        with torch.no_grad():
            return from_first(lambda: {"score": -(averaged(x) - x.mean()).square().mean().item()})

    best = trainer.fit("Toy", STEPS, losses, validate, EPOCH)
    if is_first():
        weights = {f"best.{name}": tensor for name, tensor in best.items()} | trainer.model.state_dict()
        history = {"history": torch.tensor([row["loss"] for row in trainer.record.history])}
        safetensors.torch.save_file(weights | history, folder / "result.safetensors")


def count(folder: Path, trouble: str) -> None:
    """Like a stage, the first process closes what is open when it is told to end."""
    with closed_by_first(folder):
        for step in range(STEPS):
            provoke(trouble, step)
            summed(torch.ones(1))


@contextmanager
def closed_by_first(folder: Path):
    try:
        yield
    except SystemExit:
        time.sleep(1)
        if is_first():
            (folder / "closed").touch()
        raise


def provoke(trouble: str, step: int) -> None:
    """What is to happen, and in which process: `bad-input@1`; without a number in all of them."""
    what, _, where = trouble.partition("@")
    if step != TROUBLE_AT or (where and where != os.environ.get("RANK", "0")):
        return
    if what == "bad-input":
        raise DcubeError("this is wrong: mend it")
    if what == "bug":
        raise KeyError("nobody caught this")
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        os.write(sys.stdout.fileno(), f"hanging {os.getpid()}\n".encode())  # whole: two processes write here
        time.sleep(600)


def main(folder: str, processes: str, kind: str, trouble: str = "") -> None:
    works: dict[str, Callable[[Path, str], None]] = {"train": train, "count": count}
    work = partial(works[kind], Path(folder), trouble)
    compute = Compute(processes=int(processes), device="cpu")
    in_processes(compute, work, "tests.support.toy_training", folder, processes, kind, trouble)


if __name__ == "__main__":
    run(main)
