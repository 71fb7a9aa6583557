"""The training loop of both stages: optimiser, averaged weights, best weights, history, early stopping, resuming.

Every random number of a training is a function of (seed, purpose, step). A checkpoint therefore needs no random state,
and on the CPU a resumed training gives bit-identical results to an uninterrupted one.
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

# Losses are copied from the device, and checkpoints taken, only at multiples of this and at validations, because a copy
# delays a step.
STEPS_PER_ROW = 20

Row = dict[str, Any]


def is_validated(step: int, steps: int, validate_every: int) -> bool:
    """Return whether a step is followed by a validation. The last step always is."""
    return step % validate_every == 0 or step == steps


def can_be_best(step: int, warmup_steps: int) -> bool:
    """Return whether a validation can be the best. During the warm-up the weights hardly learn."""
    return step >= warmup_steps


def validations(steps: int, validate_every: int) -> int:
    """Return the number of validations in `steps` steps without early stopping."""
    return math.ceil(steps / validate_every)


@dataclass
class TrainerState:
    """Progress of a training: the part of a checkpoint that is not a tensor."""

    step: int = 0
    best_score: float = -float("inf")
    best_step: int = 0
    validations_since_best: int = 0
    history: list[Row] = field(default_factory=list)
    validation: list[Row] = field(default_factory=list)


class Trainer:
    """Trainer of `model`. `averaged` is its exponential moving average, and `best` the best averaged weights.

    With several processes, all have the same weights at every step. Only the main process shows progress, passes on
    rows and saves.

    Args:
        model: model on its device, used by no other trainer. Parameters that need no gradient do not change.
        settings: learning rate, weight decay, gradient clip, EMA decay.
        checkpoints: checkpoints to resume from and to save to.
        warmup_steps: steps of linear warm-up of the learning rate. Scores before its end are not compared.
        make_optimisers: makes the optimisers of the trained parameters.
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
        # With warm-up, because a fixed decay would keep the random initial weights for thousands of steps.
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
            description: text of the progress display.
            losses: returns the scalar losses of a step, means over this process's shard of the batch, whose mean over
                all processes is that of the batch. The one named "loss" is minimised.
            validate: returns a row for (averaged model, step), the same in every process. The weights with the highest
                "score" are the best.
            validate_every: steps between two validations; the last step is always validated.
            patience: number of validations without a better score after which training ends; None: no early stopping.
            on_rows: called with each new row of history and validation, before the checkpoint that contains it.
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
                ended = self.state.step == steps or self._exhausted(patience)
                save_due = ended or time.monotonic() - last_checkpoint >= interval
                if is_main_process() and save_due and not pending:
                    sent = self._hand_out(on_rows, sent)
                    self._save()
                    last_checkpoint = time.monotonic()
        return self.best

    @contextmanager
    def _shown(self, description: str, steps: int) -> Iterator[Advance]:
        synced = self.checkpoints.synced() if is_main_process() else nullcontext()
        with synced, progress_of_all(description, steps, "steps", self.state.step) as advance:
            yield advance

    def step(self, losses: Losses) -> dict[str, Tensor]:
        """Take one optimiser step, update the averaged weights, and return the detached losses."""
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
        if not can_be_best(self.state.step, self.warmup_steps):  # a fallback until a validation counts
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
        latest = broadcast_object(self.checkpoints.latest)  # other nodes may not share the disk
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
    """Load an optimiser's state from tensors that are named `POSITION_OF_PARAMETER.NAME_OF_VALUE`."""
    parameters = optimiser.param_groups[0]["params"]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], tensor)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    # Measured: the fused AdamW pairs a channels-last parameter with its moments by memory layout, not by index.
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
