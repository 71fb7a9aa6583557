"""A training of seconds: `python -m tests.support.toy_training FOLDER PROCESSES [TROUBLE]`, or by torchrun.

TROUBLE says what is to happen in the middle of it, and in which process: `bad-input@1`; without a number in all.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from dcube.engine.launcher import launch
from dcube.errors import DcubeError
from dcube.stages.process.running import run

STEPS, BATCH, EPOCH = 60, 8, 20
TROUBLE_AT, LATE = 25, 45


def train(folder: Path, trouble: str) -> None:
    """Convolutions, both kinds of batch normalisation, parameters without a gradient, a loss of the whole batch."""
    import safetensors.torch
    import torch
    from timm.layers import BatchNormAct2d
    from torch import nn

    from dcube.config.schema import Classifier
    from dcube.diffusion.losses import contrastive_loss
    from dcube.engine.checkpoints import Checkpoints
    from dcube.engine.distributed import all_gather, broadcast_object, is_main_process, shard_size
    from dcube.engine.rng import Rng, torch_generator
    from dcube.engine.trainer import Trainer

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # No biases right before normalisation: their gradient is only rounding, which AdamW would amplify.
            first, second = nn.Conv2d(1, 6, 3, bias=False), nn.Conv2d(6, 4, 3, bias=False)
            self.layers = nn.Sequential(first, nn.BatchNorm2d(6), nn.ReLU(), second, BatchNormAct2d(4))
            self.out, self.unused = nn.Linear(4, 1), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.layers(x).mean(dim=(2, 3)))[:, 0]

    torch.manual_seed(0)
    model = Network()
    trainer = Trainer(model, Classifier(ema_decay=0.9, learning_rate=0.01), Checkpoints(folder, "toy"), 5)

    def losses(step: int) -> dict[str, torch.Tensor]:
        provoke(trouble, step)
        rng = Rng("cpu", shard_size(BATCH), 0, "x", step)
        x = rng.normal(1, 8, 8)
        found, error = model(x), (model(x) - x.mean(dim=(1, 2, 3))).square()
        pairs = contrastive_loss(error, different=rng.uniform() < 0.5, margin=0.1, valid=rng.uniform() < 0.3)
        spread = all_gather(found).var()  # of the whole batch: no mean of the processes' own
        return {"loss": error.mean() + pairs + 0.1 * spread, "pairs": pairs, "spread": spread}

    def validate(averaged: nn.Module, step: int) -> dict:
        x = torch.randn(16, 1, 8, 8, generator=torch_generator("cpu", 0, "validation"))
        with torch.no_grad():
            return broadcast_object(lambda: {"score": -(averaged(x) - x.mean()).square().mean().item()})

    best = trainer.fit("Toy", STEPS, losses, validate, EPOCH)
    if is_main_process():
        rows = [[row["loss"], row["pairs"], row["spread"]] for row in trainer.state.history]
        scores = [row["score"] for row in trainer.state.validation]
        results = {f"best.{name}": tensor for name, tensor in best.items()} | trainer.model.state_dict()
        results |= {"history": torch.tensor(rows), "scores": torch.tensor(scores)}
        safetensors.torch.save_file(results, folder / "result.safetensors")


def provoke(trouble: str, step: int) -> None:
    """Cause the trouble once: torchrun's second attempt runs without it."""
    what, _, where = trouble.partition("@")
    own, attempt = os.environ.get("RANK", "0"), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    late = what.startswith("late-")
    if step != (LATE if late else TROUBLE_AT) or attempt != "0" or (where and where != own):
        return
    what = what.removeprefix("late-")
    if what == "bad-input":
        raise DcubeError("this is wrong: mend it")
    if what == "bug":
        raise KeyError("nobody caught this")
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        os.write(
            sys.stdout.fileno(), f"hanging {os.getpid()}\n".encode()
        )  # in one write: two processes share this output
        time.sleep(600)


def main(folder: str, processes: str, trouble: str = "") -> None:
    launch(
        int(processes), partial(train, Path(folder), trouble), "tests.support.toy_training", folder, processes, trouble
    )


if __name__ == "__main__":
    run(main, *sys.argv[1:])
