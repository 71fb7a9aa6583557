"""The loop that both trainings share: optimiser, averaged weights, best weights, history, early stop, resume.

Every random number of a training is a function of (seed, purpose, step), so that a checkpoint needs no random state
and, on the CPU, a killed and resumed training ends bit for bit like an undisturbed one.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from dcube.artifacts.weights import under_prefix, with_prefix
from dcube.engine.checkpoints import Checkpoints
from dcube.engine.distributed import (
    Losses,
    all_reduce_mean,
    broadcast_object,
    data_parallel,
    is_main_process,
    progress_of_all,
)
from dcube.engine.optimisers import MakeOptimisers, OptimiserSettings, adamw
from dcube.engine.progress import Advance
from dcube.errors import DcubeError
from dcube.runtime.settings import read_settings

# Losses leave the device and checkpoints are taken at multiples of this and at validations: no copy holds up a step.
STEPS_PER_ROW = 20

Row = dict[str, Any]


def is_validated(step: int, steps: int, validate_every: int) -> bool:
    """The last step always is."""
    return step % validate_every == 0 or step == steps


def can_be_best(step: int, warmup_steps: int) -> bool:
    """Whether a validation can be the best: before the end of the warm-up the weights hardly learn."""
    return step >= warmup_steps


def validations(steps: int, validate_every: int) -> int:
    """How many a training of so many steps has, unless patience ends it."""
    return math.ceil(steps / validate_every)


@dataclass
class TrainerState:
    """What a training has seen so far; the part of a checkpoint that is no tensor."""

    step: int = 0
    best_score: float = -float("inf")
    best_step: int = 0
    validations_since_best: int = 0
    history: list[Row] = field(default_factory=list)
    validation: list[Row] = field(default_factory=list)


class Trainer:
    """Trains `model`; `averaged` holds its exponential moving average and `best` the best of those.

    Several processes hold the same weights at every step; the main one shows, hands out and saves.

    Args:
        model: on its device, of no other trainer; parameters that need no gradient are left alone.
        settings: learning rate, weight decay, gradient clip, EMA decay.
        checkpoints: where to resume from and to save to.
        warmup_steps: over which the learning rate rises linearly. Scores count once they are over.
        make_optimisers: makes those of the parameters that are trained.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: OptimiserSettings,
        checkpoints: Checkpoints,
        warmup_steps: int = 0,
        make_optimisers: MakeOptimisers = adamw,
    ) -> None:
        self.model, self.settings, self.checkpoints, self.warmup_steps = model, settings, checkpoints, warmup_steps
        self.losses_of_step = data_parallel(model)
        # Warmed up: a fixed decay would hold the random first weights for thousands of steps.
        self.ema = ModelEmaV3(model, decay=settings.ema_decay, use_warmup=True)
        self.optimisers = make_optimisers(model, settings)
        self.state = TrainerState()
        self.best = copy.deepcopy(self.averaged.state_dict())
        self._resume()

    @property
    def averaged(self) -> nn.Module:
        return self.ema.module

    def fit(
        self,
        description: str,
        steps: int,
        losses: Losses,
        validate: Callable[[nn.Module, int], Row],
        validate_every: int,
        patience: int | None = None,
        on_rows: Callable[[Iterable[Row]], None] = lambda rows: None,
    ) -> dict[str, Tensor]:
        """Train up to `steps` steps and return the best averaged weights.

        Args:
            description: for the progress display.
            losses: step to scalar tensors, means over this process's shard of the batch, whose mean over all
                processes is that of the batch; the one named "loss" is minimised.
            validate: (averaged model, step) to a row, the same in every process, whose "score" decides which weights
                are best (higher is better).
            validate_every: steps between two validations; the last step is always validated.
            patience: validations without a better score after which training ends.
            on_rows: called with every new row of history and validation, before the checkpoint that holds it.
        """
        sent = len(self.state.history), len(self.state.validation)
        pending: list[dict[str, Tensor]] = []
        last_checkpoint = time.monotonic()
        interval = read_settings().checkpoint_seconds
        with self._shown(description, steps) as advance:
            while self.state.step < steps and not self._exhausted(patience):
                pending.append(self.step(losses))
                advance(1, **self._latest_values())
                validation_due = is_validated(self.state.step, steps, validate_every)
                if validation_due or self.state.step % STEPS_PER_ROW == 0:
                    self._add_row(pending)
                if validation_due:
                    self._validate(validate)
                save_due = validation_due or time.monotonic() - last_checkpoint >= interval
                if is_main_process() and save_due and not pending:
                    sent = self._hand_out(on_rows, sent)
                    self._save()
                    last_checkpoint = time.monotonic()
        if is_main_process():
            self._hand_out(on_rows, sent)
        return self.best

    @contextmanager
    def _shown(self, description: str, steps: int) -> Iterator[Advance]:
        synced = self.checkpoints.synced() if is_main_process() else nullcontext()
        with synced, progress_of_all(description, steps, "steps", self.state.step) as advance:
            yield advance

    def step(self, losses: Losses) -> dict[str, Tensor]:
        """One step of the optimiser and of the averaged weights; returns the losses, detached."""
        step = self.state.step
        self.model.train()
        values = self.losses_of_step(losses, step)
        self.model.zero_grad(set_to_none=True)
        values["loss"].backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip)
        rate = self.settings.learning_rate * min(1.0, (step + 1) / max(self.warmup_steps, 1))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
        self.state.step = step + 1
        self.ema.update(self.model, step=self.state.step)
        return {name: value.detach() for name, value in values.items()}

    def _add_row(self, pending: list[dict[str, Tensor]]) -> None:
        shard_means = torch.stack([torch.stack(list(values.values())).float() for values in pending]).mean(dim=0)
        means = dict(zip(pending[0], all_reduce_mean(shard_means).tolist(), strict=True))
        pending.clear()
        if not all(torch.isfinite(torch.tensor(value)) for value in means.values()):
            raise DcubeError(f"the loss is NaN or infinite at step {self.state.step}: lower the learning rate")
        self.state.history.append({"step": self.state.step, **means})

    def _validate(self, validate: Callable[[nn.Module, int], Row]) -> None:
        self.averaged.eval()
        row = {"step": self.state.step, **validate(self.averaged, self.state.step)}
        if not math.isfinite(row["score"]):
            raise DcubeError(f"the validation is NaN or infinite at step {self.state.step}: lower the learning rate")
        self.state.validation.append(row)
        if not can_be_best(self.state.step, self.warmup_steps):  # these weights serve until others are measured
            self.state.best_step, self.best = self.state.step, copy.deepcopy(self.averaged.state_dict())
        elif row["score"] > self.state.best_score:
            self.state.best_score, self.state.best_step = row["score"], self.state.step
            self.state.validations_since_best = 0
            self.best = copy.deepcopy(self.averaged.state_dict())
        else:
            self.state.validations_since_best += 1

    def _exhausted(self, patience: int | None) -> bool:
        return patience is not None and self.state.validations_since_best >= patience

    def _latest_values(self) -> dict[str, float]:
        return {"loss": self.state.history[-1]["loss"]} if self.state.history else {}

    def _hand_out(self, on_rows: Callable[[Iterable[Row]], None], sent: tuple[int, int]) -> tuple[int, int]:
        validation = (
            {f"validation_{k}" if k != "step" else k: v for k, v in row.items()}
            for row in self.state.validation[sent[1] :]
        )
        on_rows([*self.state.history[sent[0] :], *validation])
        return len(self.state.history), len(self.state.validation)

    def _save(self) -> None:
        tensors = {
            **with_prefix("model", self.model.state_dict()),
            **with_prefix("averaged", self.averaged.state_dict()),
            **with_prefix("best", self.best),
            **{
                f"optimiser.{number}.{index}.{name}": tensor
                for number, optimiser in enumerate(self.optimisers)
                for index, state in optimiser.state_dict()["state"].items()
                for name, tensor in state.items()
            },
        }
        self.checkpoints.save(self.state.step, tensors, vars(self.state))

    def _resume(self) -> None:
        latest = broadcast_object(self.checkpoints.latest)  # so that other nodes need not share the disk
        if latest is None:
            return
        tensors, state = latest
        self.model.load_state_dict(under_prefix("model", tensors))
        self.averaged.load_state_dict(under_prefix("averaged", tensors))
        self.best = under_prefix("best", tensors)
        for number, optimiser in enumerate(self.optimisers):
            _load_state(optimiser, under_prefix(f"optimiser.{number}", tensors))
        self.state = TrainerState(**state)


def _load_state(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """`tensors` by the position of the parameter and the name of the value, joined by a dot."""
    parameters = optimiser.param_groups[0]["params"]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], tensor)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    # Measured: the fused AdamW pairs a channels-last parameter with its moments by place in memory, not by index.
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
