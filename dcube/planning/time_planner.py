"""Decisions that depend on the available time: sizes of networks and images, and lengths of trainings."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from dcube.artifacts.candidates import BASELINE, CLASSIFIER_KINDS, DCUBE, IMAGENET_PROBE, STAGES, CandidateName
from dcube.artifacts.schemas.plan import Goal
from dcube.config.schema import Params
from dcube.engine.batch_sampler import steps_of, steps_per_epoch
from dcube.errors import DcubeError
from dcube.planning.busy_cores import BUSY, CoreWatch
from dcube.planning.dataset_and_machine import DatasetFacts, Machine
from dcube.planning.estimate import (
    AS_FAST_AS,
    Speeds,
    epoch_seconds,
    estimate,
    fixed_seconds,
    measurement_seconds,
    recipes,
    speed_of,
    training_seconds,
)
from dcube.planning.params_draft import ParamsDraft
from dcube.planning.probes import probe_seconds
from dcube.planning.sizes import CNN_SIDES, UVITS, UViTSize, place, sides_up_to, uvit_values
from dcube.planning.throughput import CandidateSpeed, DiffusionSpeed, candidate_speed, diffusion_speed

# Stage 1's share of the training time; the others share the rest. D-Cube, its controls and the baseline have equal
# epochs, because a comparison favours the candidate that sees more images.
SHARES: dict[Goal, float] = {"few-labels": 0.60, "balanced": 0.42, "best": 0.25}
EQUALLY_LONG = (*CLASSIFIER_KINDS, BASELINE)

FEWEST_STEPS, FEWEST_EPOCHS = 1000, 6.0  # if the time allows fewer, a smaller network or image is chosen
SHORTEST_DIFFUSION, SHORTEST_TRAINING = 300, 50  # fewest steps of a plan
LEAST_SECONDS = 60.0  # least time for all trainings; with less, nothing is measured
MOST_DIFFUSION_EPOCHS, MOST_EPOCHS = 950, 70  # as in the paper
MEASUREMENTS, SHARE_OF_MEASUREMENTS = 4, 0.2  # of FID in stage 1; share of its time, including `track_fid`
FEWEST_SAMPLES, MOST_SAMPLES = 100, 5000
SHARE_OF_SYNTHESIS, MOST_SYNTHETIC = 0.05, 1_000_000  # of stage 1's time; images
RESERVE = 0.1


@dataclass(frozen=True)
class TimePlanner:
    """Planner of everything that depends on the available time.

    Attributes:
        stages: names of the stages in dvc.yaml.
        seconds: available time for a whole `dvc repro`.
        note: called with a text about every measurement.
        cores: whether other programs use the cores during the measurements.
    """

    draft: ParamsDraft
    facts: DatasetFacts
    machine: Machine
    stages: Sequence[str]
    seconds: float
    goal: Goal
    note: Callable[[str], None]
    cores: CoreWatch = field(default_factory=CoreWatch)

    def decide(self) -> dict[str, float]:
        """Decide the parameters, and return the estimate as stage → seconds.

        Raises:
            DcubeError: if the time is too short, or a network or image size does not fit.
        """
        self._refuse_less_than(LEAST_SECONDS, "any training")
        left, share = (1 - RESERVE) * self.seconds - self._fixed, SHARES[self.goal]
        diffusion = self._decide_uvit(share * left)
        probes = probe_seconds(self.draft.params(), self.facts, diffusion)
        candidates = self._decide_image_side((1 - share) * left)
        self._decide_classifier_length((1 - share) * left, candidates)
        self._decide_baseline_length((1 - share) * left, candidates)
        left -= self._classifier_seconds(candidates)  # more than stage 1's share if they do not need theirs
        self._decide_diffusion_length(max(left - probes, 0.0), diffusion)
        least = {
            f"{SHORTEST_DIFFUSION} steps of stage 1": (self._shortest_diffusion(diffusion) + probes) / share,
            f"{SHORTEST_TRAINING} steps of every classifier": self._shortest_classifiers(candidates) / (1 - share),
        }
        what = max(least, key=least.__getitem__)
        self._refuse_less_than(least[what], what)
        speeds = Speeds(diffusion, candidates, probes)
        return estimate(self.draft.params(), self.facts, self.machine, speeds, self.stages)

    @cached_property
    def _fixed(self) -> float:
        """Seconds that all stages take besides training."""
        return sum(fixed_seconds(self.draft.params(), self.facts, self.machine, self.stages).values())

    def _refuse_less_than(self, seconds: float, what: str) -> None:
        """Raise `DcubeError` if less than `seconds` are left for the trainings."""
        least = (self._fixed + seconds) / (1 - RESERVE)
        if least > self.seconds:
            minutes = f"{self.seconds / 60:g} min {'is' if self.seconds == 60 else 'are'}"
            enough = f"give at least {math.ceil(least / 60)} minutes"
            if self.cores.waiting() < BUSY:
                raise DcubeError(f"{minutes} too short for {what} on this machine: {enough}, or a faster machine")
            raise DcubeError(
                f"{minutes} too short for {what}, because other programs use the cores: try again when they are idle, "
                f"or {enough}"
            )

    @property
    def _classes(self) -> int:
        return len(self.facts.classes)

    def _decide_uvit(self, seconds: float) -> DiffusionSpeed:
        """Choose the largest network that the time allows, up to the first side not below that of the raw images."""
        sides = sides_up_to([size.side for size in UVITS], self.facts.longer_side)
        possible = self._valid_uvits(sides)
        chosen: tuple[UViTSize, DiffusionSpeed] | None = None
        limit = f"larger ones are not for images of about {self.facts.longer_side:g} pixels"
        if possible[-1][0] is not [size for size in UVITS if size.side in sides][-1]:
            limit = "larger ones contradict what is set by hand"
        for size, params in possible:
            speed = self._measured_uvit(size, params)
            steps = (1 - SHARE_OF_MEASUREMENTS) * seconds / speed.step if speed else 0
            if chosen and steps < FEWEST_STEPS:
                limit = (
                    f"{FEWEST_STEPS} steps of the next larger one do not fit into the {'time' if speed else 'memory'}"
                )
                break
            if speed is None:
                raise DcubeError("the smallest U-ViT does not fit into the GPU's memory: --set diffusion.batch_size=8")
            chosen = size, speed
        assert chosen
        size, speed = chosen
        reason = f"{place(size, UVITS)} of {len(UVITS)} sizes, {speed.step:.3g} s a step"
        self.draft.decide(reason if size is UVITS[-1] else f"{reason}: {limit}", **uvit_values(size))
        return speed

    def _valid_uvits(self, sides: Sequence[int]) -> list[tuple[UViTSize, Params]]:
        """Return the sizes that are valid with the parameters set by hand.

        Raises:
            DcubeError: if no size is valid.
        """
        valid, refused = [], None
        for size in (it for it in UVITS if it.side in sides):
            try:
                valid.append((size, self.draft.params(**uvit_values(size))))
            except DcubeError as error:
                refused = refused or error
        if refused and not valid:
            raise refused
        return valid

    def _measured_uvit(self, size: UViTSize, params: Params) -> DiffusionSpeed | None:
        try:
            speed = diffusion_speed(params, self._classes)
        except torch.OutOfMemoryError:
            return None
        self.note(f"U-ViT {size.side} px, width {size.width}, {size.depth + 1} blocks: {speed.step:.3g} s a step")
        return speed

    def _decide_diffusion_length(self, seconds: float, speed: DiffusionSpeed) -> None:
        params = self.draft.params()
        image = _measured_image(params, speed)
        affordable = SHARE_OF_MEASUREMENTS * seconds / image
        wanted = round(min(max(affordable, FEWEST_SAMPLES), MOST_SAMPLES))
        share = f"{SHARE_OF_MEASUREMENTS:.0%} of stage 1's time for {MEASUREMENTS + 1} measurements"
        self.draft.decide(f"{share}, {image:.3g} s an image in all of them", fid__samples=wanted)
        synthesised = params.synthesis.sampling_steps * speed.solver_step
        maximum = min(round(SHARE_OF_SYNTHESIS * seconds / synthesised), MOST_SYNTHETIC)
        share = f"{SHARE_OF_SYNTHESIS:.0%} of stage 1's time"
        self.draft.decide(f"{share}, {synthesised:.3g} s an image", synthesis__maximum=maximum)
        per_epoch = steps_per_epoch(self.facts.images_of_stage_1, self.draft.params().diffusion.batch_size)
        measured = self.draft.params().fid.samples * image
        left = seconds * (1 - SHARE_OF_SYNTHESIS) - measured
        steps = max(left / speed.step, SHORTEST_DIFFUSION)
        most = max(MOST_DIFFUSION_EPOCHS, FEWEST_STEPS / per_epoch)
        epochs = _rounded(min(steps / per_epoch, most), MEASUREMENTS)
        few = f"; {FEWEST_STEPS} are wanted: expect poor images" if epochs * per_epoch < FEWEST_STEPS else ""
        self.draft.decide(
            f"{epochs * per_epoch:.0f} steps, {per_epoch} in an epoch{few}{_limit(steps / per_epoch, most)}",
            diffusion__epochs=epochs,
        )
        epochs = self.draft.params().diffusion.epochs
        every = float(f"{epochs / MEASUREMENTS:.3g}")
        self.draft.decide(f"FID is measured {MEASUREMENTS} times", diffusion__fid_every=every)
        self.draft.decide("the time is the limit, not FID", diffusion__patience=MEASUREMENTS)

    def _shortest_diffusion(self, speed: DiffusionSpeed) -> float:
        """Return the seconds of the shortest stage 1, with FID on as many images as this time allows."""
        params = self.draft.params()
        samples = params.fid.samples if "fid.samples" in self.draft.by_hand else FEWEST_SAMPLES
        steps, measured = SHORTEST_DIFFUSION * speed.step, samples * _measured_image(params, speed)
        without_synthesis = 1 - SHARE_OF_SYNTHESIS
        return max((steps + measured) / without_synthesis, steps / (without_synthesis - SHARE_OF_MEASUREMENTS))

    def _decide_image_side(self, seconds: float) -> dict[CandidateName, CandidateSpeed]:
        """Choose the largest side that the time allows, up to the first side not below that of the raw images."""
        fewest = max(FEWEST_EPOCHS, self._fewest_epochs)
        small, *sides = sides_up_to(CNN_SIDES, self.facts.longer_side)
        limit = f"larger ones are not for images of about {self.facts.longer_side:g} pixels"
        chosen, speeds = small, self._measured_candidates(small)
        for side in sides:
            larger = self._measured_candidates(side)
            if not larger or self._epochs_within(seconds, larger) < fewest:
                limit = f"on {side} pixels, {fewest:.3g} epochs do not fit into the {'time' if larger else 'memory'}"
                break
            chosen, speeds = side, larger
        if not speeds:
            raise DcubeError(
                f"a classifier does not fit into the GPU's memory, even on {small} pixels: "
                "--set classifier.batch_size=8 --set baseline.batch_size=8"
            )
        reason = f"{place(chosen, CNN_SIDES)} of {len(CNN_SIDES)} sides"
        self.draft.decide(reason if chosen == CNN_SIDES[-1] else f"{reason}: {limit}", data__image_size=chosen)
        return speeds

    def _measured_candidates(self, side: int) -> dict[CandidateName, CandidateSpeed]:
        """Measure all candidates except those of `AS_FAST_AS`; empty if the memory is too small."""
        params = self.draft.params(data__image_size=side)
        try:
            speeds = {name: self._measured(name, params) for name in STAGES if name not in AS_FAST_AS}
        except torch.OutOfMemoryError:
            return {}
        for shown, name in (("D-Cube", DCUBE), (params.baseline.method, BASELINE)):
            self.note(f"{shown} on {side} px: {speeds[name].step:.3g} s a step")
        return speeds

    def _measured(self, name: CandidateName, params: Params) -> CandidateSpeed:
        return candidate_speed(recipes(params)[name], params, self._classes)

    def _epoch(self, names: Iterable[CandidateName], speeds: dict[CandidateName, CandidateSpeed]) -> float:
        """Return the seconds of an epoch of each of these candidates, one after the other."""
        of_all = recipes(self.draft.params())
        return sum(
            epoch_seconds(speed_of(name, speeds), of_all[name].optimisation.batch_size, self.facts) for name in names
        )

    def _probe(self, speeds: dict[CandidateName, CandidateSpeed]) -> float:
        """Return the seconds of the training of the ImageNet probe."""
        probe = recipes(self.draft.params())[IMAGENET_PROBE].optimisation
        return training_seconds(speeds[IMAGENET_PROBE], probe, self.facts)

    def _shortest_classifiers(self, speeds: dict[CandidateName, CandidateSpeed]) -> float:
        """Return the seconds of the shortest trainings of all candidates."""
        return self._fewest_epochs * self._epoch(EQUALLY_LONG, speeds) + self._probe(speeds)

    def _epochs_within(self, seconds: float, speeds: dict[CandidateName, CandidateSpeed]) -> float:
        """Return the epochs of D-Cube, its controls and the baseline, if that is not set by hand, that fit in."""
        left = seconds - self._probe(speeds)
        if "baseline.epochs" not in self.draft.by_hand:
            return left / self._epoch(EQUALLY_LONG, speeds)
        baseline = recipes(self.draft.params())[BASELINE].optimisation
        return (left - baseline.epochs * self._epoch([BASELINE], speeds)) / self._epoch(CLASSIFIER_KINDS, speeds)

    def _affordable_epochs(self, seconds: float, speeds: dict[CandidateName, CandidateSpeed]) -> float:
        return max(self._epochs_within(seconds, speeds), self._fewest_epochs)

    def _decide_classifier_length(self, seconds: float, speeds: dict[CandidateName, CandidateSpeed]) -> None:
        affordable = self._affordable_epochs(seconds, speeds)
        epochs = _rounded(min(affordable, MOST_EPOCHS))
        seen = self._steps(epochs, self.draft.params().classifier.batch_size)
        self.draft.decide(seen + _limit(affordable, MOST_EPOCHS), classifier__epochs=epochs)

    def _decide_baseline_length(self, seconds: float, speeds: dict[CandidateName, CandidateSpeed]) -> None:
        """Give the baseline as many epochs as D-Cube; fewer if D-Cube's are set by hand and leave too little time."""
        params = self.draft.params()
        wanted, why = params.classifier.epochs, "as many epochs as D-Cube"
        left = seconds - self._probe(speeds) - wanted * self._epoch(CLASSIFIER_KINDS, speeds)
        affordable = max(left / self._epoch([BASELINE], speeds), self._fewest_epochs)
        if "classifier.epochs" in self.draft.by_hand and affordable < wanted:
            wanted, why = _rounded(affordable), "the time allows no more"
        seen = self._steps(wanted, params.baseline.batch_size)
        self.draft.decide(f"{why}: {seen}", baseline__epochs=wanted)

    def _steps(self, epochs: float, batch_size: int) -> str:
        size = min(batch_size, self.facts.training_images)
        return f"{steps_of(epochs, steps_per_epoch(self.facts.training_images, size))} steps of {size} images"

    def _classifier_seconds(self, speeds: dict[CandidateName, CandidateSpeed]) -> float:
        """Return the seconds of the trainings of all candidates."""
        of_all = recipes(self.draft.params()).items()
        return sum(training_seconds(speed_of(name, speeds), one.optimisation, self.facts) for name, one in of_all)

    @property
    def _fewest_epochs(self) -> float:
        """Epochs in which D-Cube, its controls and the baseline have at least `SHORTEST_TRAINING` steps."""
        of_all, images = recipes(self.draft.params()), self.facts.training_images
        sizes = (of_all[name].optimisation.batch_size for name in EQUALLY_LONG)
        return max(SHORTEST_TRAINING / steps_per_epoch(images, size) for size in sizes)


def _measured_image(params: Params, speed: DiffusionSpeed) -> float:
    """Return the seconds per image of all FID measurements: several processes share all but the last (`track_fid`)."""
    of_one = measurement_seconds(params, speed) / params.fid.samples
    return of_one * (MEASUREMENTS / params.compute.processes + 1)


def _limit(affordable: float, most: float) -> str:
    """Return the end of a reason for a number of epochs that the time does not limit; empty if it does."""
    return f"; the time would allow more than {most:g} epochs, the most of a plan" if affordable > most else ""


def _rounded(epochs: float, unit: int = 1) -> float:
    """Round epochs down to a multiple of `unit`, or to three digits if they are few."""
    if epochs >= 2 * MEASUREMENTS:
        return epochs // unit * unit
    return float(f"{epochs:.3g}")
