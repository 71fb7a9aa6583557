"""What the time decides: sizes of networks and images, and how long each is trained."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from dcube.artifacts.candidates import BASELINE, DCUBE, IMAGENET_PROBE, SUB_FEATURES, CandidateName
from dcube.config.schema import Params
from dcube.engine.batch_sampler import steps_per_epoch
from dcube.errors import DcubeError
from dcube.planning.draft import Draft
from dcube.planning.estimate import (
    Speeds,
    epoch_seconds,
    estimate,
    fixed_seconds,
    measurement_seconds,
    recipes,
    training_seconds,
)
from dcube.planning.facts import DatasetFacts, Machine
from dcube.planning.throughput import CandidateSpeed, DiffusionSpeed, candidate_speed, diffusion_speed

Goal = Literal["few-labels", "balanced", "best"]


@dataclass(frozen=True)
class Shares:
    """Of the time that is left for training: stage 1, the three candidates of the group classifier, the baseline."""

    diffusion: float
    classifier: float
    baseline: float


SHARES: dict[str, Shares] = {
    "few-labels": Shares(0.60, 0.28, 0.12),
    "balanced": Shares(0.42, 0.42, 0.16),
    "best": Shares(0.25, 0.55, 0.20),
}


@dataclass(frozen=True)
class UViTSize:
    """With the learning rate of the presets for small networks, and of the paper for its own."""

    side: int
    patch: int
    width: int
    depth: int
    heads: int
    learning_rate: float


UVITS = (
    UViTSize(32, 4, 96, 4, 4, 2e-3),
    UViTSize(32, 4, 128, 4, 4, 2e-3),
    UViTSize(64, 8, 128, 4, 4, 2e-3),
    UViTSize(128, 8, 256, 8, 8, 5e-4),
    UViTSize(128, 8, 512, 12, 8, 2e-4),
)
CNN_SIDES = (64, 128, 224)
FEWEST_STEPS, FEWEST_EPOCHS = 1000, 6.0  # with fewer, a smaller network or image is taken
FEWEST_STEPS_OF_ALL, SHORTEST_TRAINING = 100, 60.0  # steps, seconds
MOST_DIFFUSION_EPOCHS, MOST_EPOCHS = 950, 70  # the paper's
MEASUREMENTS, SHARE_OF_MEASUREMENTS = 4, 0.2  # of FID, of stage 1's time
FEWEST_SAMPLES, MOST_SAMPLES = 100, 5000
SHARE_OF_SYNTHESIS = 0.05  # of stage 1's time
RESERVE = 0.1


@dataclass(frozen=True)
class Budget:
    """Decides everything that depends on the time, in the order of the methods.

    Attributes:
        stages: names of the stages of dvc.yaml.
        seconds: of a whole `dvc repro`.
        note: told every measurement.
    """

    draft: Draft
    facts: DatasetFacts
    machine: Machine
    stages: Sequence[str]
    seconds: float
    goal: Goal
    note: Callable[[str], None]

    def decide(self) -> dict[str, float]:
        """Returns the estimate, stage → seconds.

        Raises:
            DcubeError: the time is too short.
        """
        fixed = fixed_seconds(self.facts, self.machine, self.stages)
        left, shares = (1 - RESERVE) * self.seconds - fixed, SHARES[self.goal]
        if left < SHORTEST_TRAINING:
            least = (fixed + SHORTEST_TRAINING) / (1 - RESERVE) / 60
            raise DcubeError(f"{self.seconds / 60:g} minutes are too short on this machine: give {math.ceil(least)}")
        diffusion = self._decide_uvit(shares.diffusion * left)
        self._decide_diffusion_length(shares.diffusion * left, diffusion)
        candidates = self._decide_image_side(shares.classifier * left)
        self._decide_classifier_length(shares.classifier * left, candidates)
        candidates[BASELINE] = self._decide_baseline_length(shares.baseline * left)
        speeds = Speeds(diffusion, candidates)
        return estimate(self.draft.params(), self.facts, self.machine, speeds, self.stages)

    @property
    def _classes(self) -> int:
        return len(self.facts.classes)

    def _decide_uvit(self, seconds: float) -> DiffusionSpeed:
        """The largest network that the time is enough for, up to the first side that is no smaller than the images."""
        sides = _up_to([size.side for size in UVITS], self.facts.longer_side)
        chosen: tuple[UViTSize, DiffusionSpeed, str] | None = None
        for size in (it for it in UVITS if it.side in sides):
            speed = self._measured_uvit(size)
            steps = (1 - SHARE_OF_MEASUREMENTS) * seconds / speed.step if speed else 0
            if chosen and steps < FEWEST_STEPS:
                break
            if speed is None:
                raise DcubeError("the smallest U-ViT does not fit into the GPU's memory: --set diffusion.batch_size=8")
            _refuse_too_few(steps)
            which = "largest" if steps >= FEWEST_STEPS else "smallest"
            chosen = size, speed, f"the {which} U-ViT that fits the time: {speed.step:.3g} s a step"
        assert chosen
        size, speed, reason = chosen
        self.draft.decide(reason, **_uvit_values(size))
        return speed

    def _measured_uvit(self, size: UViTSize) -> DiffusionSpeed | None:
        try:
            speed = diffusion_speed(self.draft.params(**_uvit_values(size)), self._classes)
        except torch.OutOfMemoryError:
            return None
        self.note(f"U-ViT {size.side} px, width {size.width}, {size.depth + 1} blocks: {speed.step:.3g} s a step")
        return speed

    def _decide_diffusion_length(self, seconds: float, speed: DiffusionSpeed) -> None:
        params = self.draft.params()
        image = measurement_seconds(params, speed) / params.fid.samples
        affordable = SHARE_OF_MEASUREMENTS * seconds / MEASUREMENTS / image
        wanted = round(min(max(affordable, FEWEST_SAMPLES), MOST_SAMPLES))
        self.draft.decide(f"{image:.3g} s an image and its features", fid__samples=wanted)
        samples = self.draft.params().fid.samples
        synthesised = params.synthesis.sampling_steps * speed.solver_step
        maximum = round(SHARE_OF_SYNTHESIS * seconds / synthesised)
        self.draft.decide(f"{synthesised:.3g} s an image", synthesis__maximum=maximum)
        per_epoch = steps_per_epoch(self.facts.images_of_stage_1, self.draft.params().diffusion.batch_size)
        steps = (seconds * (1 - SHARE_OF_SYNTHESIS) - (MEASUREMENTS + 1) * samples * image) / speed.step
        _refuse_too_few(steps)
        epochs = _rounded(min(steps / per_epoch, max(MOST_DIFFUSION_EPOCHS, FEWEST_STEPS / per_epoch)))
        self.draft.decide(
            f"{epochs * per_epoch:.0f} steps, {per_epoch} in an epoch",
            diffusion__epochs=epochs,
        )
        epochs = self.draft.params().diffusion.epochs
        self.draft.decide(f"{MEASUREMENTS} times", diffusion__fid_every=float(f"{epochs / MEASUREMENTS:.3g}"))
        self.draft.decide("the time is the limit, not FID", diffusion__patience=MEASUREMENTS)

    def _decide_image_side(self, seconds: float) -> dict[CandidateName, CandidateSpeed]:
        """The largest side that the time is enough for, up to the first that is no smaller than the images."""
        small, *sides = _up_to(CNN_SIDES, self.facts.longer_side)
        chosen, speeds = small, self._measured_candidates(small)
        for side in sides:
            larger = self._measured_candidates(side)
            if not larger or seconds / self._classifier_epoch(larger) < FEWEST_EPOCHS:
                break
            chosen, speeds = side, larger
        if not speeds:
            raise DcubeError("the smallest images do not fit into the GPU's memory: set classifier.batch_size lower")
        shown = f"{seconds / self._classifier_epoch(speeds):.1f} epochs fit in; half of the images are no larger than"
        self.draft.decide(f"{shown} {self.facts.longer_side:g} pixels", data__image_size=chosen)
        return speeds

    def _measured_candidates(self, side: int) -> dict[CandidateName, CandidateSpeed]:
        """Of all that have no length yet but the baseline; empty where memory is short."""
        params = self.draft.params(data__image_size=side)
        try:
            speeds = {name: self._measured(name, params) for name in (DCUBE, SUB_FEATURES, IMAGENET_PROBE)}
        except torch.OutOfMemoryError:
            return {}
        self.note(f"D-Cube on {side} px: {speeds[DCUBE].step:.3g} s a step")
        return speeds

    def _measured(self, name: CandidateName, params: Params) -> CandidateSpeed:
        return candidate_speed(recipes(params)[name], params, self._classes)

    def _classifier_epoch(self, speeds: dict[CandidateName, CandidateSpeed]) -> float:
        """Seconds of an epoch of D-Cube and both controls: the untrained one is as fast as D-Cube."""
        size = self.draft.params().classifier.batch_size
        return sum(epoch_seconds(speeds[name], size, self.facts) for name in (DCUBE, DCUBE, SUB_FEATURES))

    def _decide_classifier_length(self, seconds: float, speeds: dict[CandidateName, CandidateSpeed]) -> None:
        probe = recipes(self.draft.params())[IMAGENET_PROBE].optimisation
        left = seconds - training_seconds(speeds[IMAGENET_PROBE], probe, self.facts)
        epochs = _rounded(min(max(left, seconds / 2) / self._classifier_epoch(speeds), MOST_EPOCHS))
        self.draft.decide(f"{epochs * self.facts.training_images:.0f} images seen", classifier__epochs=epochs)

    def _decide_baseline_length(self, seconds: float) -> CandidateSpeed:
        params = self.draft.params()
        speed = self._measured(BASELINE, params)
        self.note(f"{params.baseline.method} on {params.data.image_size} px: {speed.step:.3g} s a step")
        epochs = _rounded(min(seconds / epoch_seconds(speed, params.baseline.batch_size, self.facts), MOST_EPOCHS))
        self.draft.decide(f"{epochs * self.facts.training_images:.0f} images seen", baseline__epochs=epochs)
        return speed


def _refuse_too_few(steps: float) -> None:
    if steps < FEWEST_STEPS_OF_ALL:
        raise DcubeError(f"the time is enough for {max(steps, 0):.0f} steps of the U-ViT: give a longer time, or a GPU")


def _uvit_values(size: UViTSize) -> dict[str, float]:
    return {
        "data__diffusion_image_size": size.side,
        "diffusion__patch_size": size.patch,
        "diffusion__width": size.width,
        "diffusion__depth": size.depth,
        "diffusion__heads": size.heads,
        "diffusion__learning_rate": size.learning_rate,
    }


def _up_to(sides: Sequence[int], raw: float) -> list[int]:
    """Those below the side of the raw images, and the next: a smaller image is enlarged, not cut."""
    ordered = sorted(set(sides))
    return [side for position, side in enumerate(ordered) if position == 0 or ordered[position - 1] < raw]


def _rounded(epochs: float) -> float:
    """A multiple of the number of measurements of FID, if there are enough; else three digits."""
    if epochs >= 2 * MEASUREMENTS:
        return epochs // MEASUREMENTS * MEASUREMENTS
    return float(f"{epochs:.3g}")
