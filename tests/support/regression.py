"""A training of a second with the shared loop, which can be killed at a step; and ways to damage a file."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dcube.config.schema import Classifier
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.rng import torch_generator
from dcube.engine.trainer import Trainer

STEPS = 100


class Killed(BaseException):
    pass


@dataclass
class Fitted:
    trainer: Trainer
    best_weights: dict[str, Tensor]


def fit(folder: Path, die_at: int | None = None, rows: list | None = None, patience: int | None = None) -> Fitted:
    """A regression with dropout and batch norm, whose random numbers are functions of the step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
    trainer = Trainer(model, Classifier(ema_decay=0.9, learning_rate=0.01), Checkpoints(folder, "toy"), warmup_steps=10)

    def losses(step: int) -> dict[str, torch.Tensor]:
        if step == die_at:
            raise Killed
        torch.manual_seed(step)
        x = torch.randn(32, 4, generator=torch_generator("cpu", 0, "x", step))
        return {"loss": (trainer.model(x) - x.sum(dim=1, keepdim=True)).square().mean()}

    def validate(averaged: nn.Module, step: int) -> dict:
        x = torch.randn(64, 4, generator=torch_generator("cpu", 0, "validation"))
        with torch.no_grad():
            return {
                "score": -(averaged(x) - x.sum(dim=1, keepdim=True)).square().mean().item() if patience is None else 0.0
            }

    def on_rows(new) -> None:
        if rows is not None:
            rows.extend(new)

    best_weights = trainer.fit("Toy", STEPS, losses, validate, validate_every=25, patience=patience, on_rows=on_rows)
    return Fitted(trainer, best_weights)


def assert_same(a: Fitted, b: Fitted) -> None:
    for first, second in (
        (a.trainer.model.state_dict(), b.trainer.model.state_dict()),
        (a.trainer.averaged.state_dict(), b.trainer.averaged.state_dict()),
        (a.best_weights, b.best_weights),
    ):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert vars(a.trainer.state) == vars(b.trainer.state)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes(content if how == "flipped" else content[: len(content) // 2] if how == "cut" else b"")
