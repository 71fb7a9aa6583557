"""Prediction: one row for each image. `dcube predict`, the HTTP service and the flow share these functions.

| column | meaning |
| --- | --- |
| image | path as the user gave it |
| decision | class by the operating point, `abstain` below the set confidence, empty for a refused image |
| decided_by | the operating point: `most probable class`, or `CLASS >= THRESHOLD` |
| prediction, confidence | the most probable class and its calibrated probability |
| probability_CLASS | calibrated probabilities; they add up to one |
| prediction_set | classes that the image may have at the stated coverage, separated by a vertical bar |
| entropy | normalised entropy of the probabilities: 0 if one class is certain, 1 if all are equally probable |
| spread | standard deviation of the confidence over timesteps; empty for a model without a diffusion model |
| input_sha256 | sha256 of the preprocessed image, as in a data set's manifest; empty for a refused image |
| predicted_at | time in UTC |
| problem | reason why the image was refused |
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd

from dcube.artifacts.schemas.dataset import ABSTAIN, SET_SEPARATOR, InputSpec
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.classifier.candidate import Candidate
from dcube.data.preprocessing import ModelInput, crop, preprocess
from dcube.data.readers.raw_image import BlankSliceError, RawImage, UnusableImageError
from dcube.data.readers.windows import Window, window_of
from dcube.errors import DcubeError
from dcube.evaluation.decision_rule import apply_decision_rule
from dcube.evaluation.predictions import PREFIX, classes_of
from dcube.inference.drift import normalised_entropy, statistics_where_known
from dcube.inference.inputs import InputImage
from dcube.inference.prediction_row import BLANK_SLICE, timestamp
from dcube.inference.suitability import check_suitability

BATCH_SIZE = 64  # images in memory
NOT_FINITE = "the model gives no finite probabilities for this image: use another version of it"
SPREAD_TIMESTEPS = 3  # `spread` uses the lowest, the middle and the highest timestep of training


class Readable(Protocol):
    """An image to predict on, with a name to display and a method that decodes its pixels."""

    @property
    def name(self) -> str: ...

    def read(self, window: Window | None, /) -> RawImage:
        """Decode the image and apply the window; raises `UnusableImageError`."""


Image = TypeVar("Image", bound=Readable)


def to_model_input(raw: RawImage, spec: InputSpec) -> ModelInput:
    """Preprocess a decoded, windowed image like the model's training images.

    Raises:
        UnusableImageError: if the model is not suitable for the image, or if `preprocess` refuses it.
    """
    raw = crop(raw, spec.crop)  # `preprocess` crops again, which changes nothing
    check_suitability(raw, spec)
    return preprocess(raw, spec)


def predict(
    candidate: Candidate,
    images: Sequence[Readable],
    policy: DecisionPolicy,
    on_batch: Callable[[Sequence[ModelInput | str], pd.DataFrame], object] = lambda inputs, rows: None,
) -> pd.DataFrame:
    """Predict on all images, `BATCH_SIZE` at a time, and return one row per image, including refused ones.

    Args:
        on_batch: called with the inputs of each batch (a text gives the reason for a refusal) and their rows.
    """
    spec = candidate.config.input
    window = window_of(spec)

    def read(image: Readable) -> ModelInput | str:
        try:
            return to_model_input(image.read(window), spec)
        except BlankSliceError:
            return BLANK_SLICE
        except UnusableImageError as problem:
            return str(problem)

    parts = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            inputs = list(pool.map(read, batch))
            rows = predict_batch(candidate, inputs, policy)
            rows.insert(0, "image", [image.name for image in batch])
            on_batch(inputs, rows)
            parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def without_blank_slices(images: Sequence[Image], rows: pd.DataFrame) -> tuple[list[Image], pd.DataFrame, list[str]]:
    """Leave out slices that show nothing, as `prepare` does.

    Args:
        images: images that were given to `predict`.
        rows: rows that `predict` returned for them.

    Returns:
        The other images, their rows, and the names of the slices that are left out.

    Raises:
        DcubeError: if all slices are blank.
    """
    blank = (rows["problem"] == BLANK_SLICE).to_numpy()
    if blank.all():
        raise DcubeError(f"every slice is blank, e.g. {rows['image'].iloc[0]}: give images that show something")
    kept = [image for image, is_blank in zip(images, blank, strict=True) if not is_blank]
    return kept, rows[~blank].reset_index(drop=True), list(rows["image"][blank])


def predict_batch(candidate: Candidate, inputs: Sequence[ModelInput | str], policy: DecisionPolicy) -> pd.DataFrame:
    """Return all columns except `image`. An input that is a text gives the reason for a refusal."""
    usable = {row: found for row, found in enumerate(inputs) if isinstance(found, ModelInput)}
    problems = ["" if isinstance(found, ModelInput) else found for found in inputs]
    probabilities = np.full((len(inputs), len(candidate.classes)), np.nan)
    spread = np.full(len(inputs), np.nan)
    if usable:
        rows = list(usable)
        images = np.stack([found.image for found in usable.values()])
        diffusion_images = np.stack([found.diffusion_image for found in usable.values()])
        probabilities[rows], spread[rows] = _with_spread(candidate, images, diffusion_images)
        for row in rows:
            if not np.isfinite(probabilities[row]).all():
                probabilities[row], spread[row], problems[row] = np.nan, np.nan, NOT_FINITE
    hashes = [sha256(found.image.tobytes()).hexdigest() if isinstance(found, ModelInput) else "" for found in inputs]
    decisions = decide(probabilities, candidate.classes, policy)
    return decisions.assign(spread=spread, input_sha256=hashes, predicted_at=timestamp(), problem=problems)


def decide(probabilities: np.ndarray, classes: Sequence[str], policy: DecisionPolicy) -> pd.DataFrame:
    """Return the columns from `decision` to `entropy` for (n, classes) probabilities; NaN rows are refused images."""
    known = ~np.isnan(probabilities).any(axis=1)
    names, filled = np.array(classes, dtype=object), np.where(known[:, None], probabilities, 1 / len(classes))
    most = filled.argmax(axis=1)
    prediction = np.where(known, names[most], "")
    confidence = probabilities[np.arange(len(most)), most]
    chosen = names[apply_decision_rule(filled, list(classes), policy.rule)]
    member = known[:, None] & (probabilities >= (np.inf if policy.set_from is None else policy.set_from))
    sets = [SET_SEPARATOR.join(names[row]) for row in member]
    abstains = known & (confidence < policy.abstain_below)
    if policy.abstain_by_set:
        abstains |= known & (np.array(sets, dtype=object) != chosen)
    columns = {PREFIX + name: probabilities[:, i] for i, name in enumerate(classes)}
    return pd.DataFrame(
        {
            "decision": np.where(abstains, ABSTAIN, np.where(known, chosen, "")),
            "decided_by": str(policy.rule),
            "prediction_set": sets,
            "prediction": prediction,
            "confidence": confidence,
            **columns,
            "entropy": normalised_entropy(probabilities),
        }
    )


def patient_numbers(images: Sequence[InputImage]) -> np.ndarray:
    """Return anonymous patient numbers (n,) from 0, in the order of the patients' first images."""
    return pd.factorize(pd.Series([image.patient for image in images]))[0]


def aggregate_by_patient(rows: pd.DataFrame, patients: np.ndarray, policy: DecisionPolicy) -> pd.DataFrame:
    """Return one row per patient, from the normalised geometric mean of the images' probabilities.

    This equals the mean of the logits: an image that excludes a class has an effect, an image that favours no class
    changes nothing, and unlike with a product many similar images give no more certainty than one of them. Patients
    have no prediction sets.

    Args:
        patients: (n,) patient numbers from `patient_numbers`.
    """
    classes = classes_of(rows.columns)
    policy = policy.model_copy(update={"set_from": None, "abstain_by_set": False})
    table = []
    for number in range(max(patients) + 1):
        own = rows[patients == number]
        usable = own[own["problem"] == ""]
        with np.errstate(divide="ignore"):
            logs = np.log(usable[[PREFIX + name for name in classes]].to_numpy(float))
        mean = np.exp(logs.mean(axis=0)) if len(usable) else np.full(len(classes), np.nan)
        decision = decide((mean / mean.sum())[None], classes, policy).iloc[0].to_dict()
        problem = f"{len(own) - len(usable)} of {len(own)} images refused" if len(usable) < len(own) else ""
        about: dict = {"patient": number + 1, "images": len(usable), "first_image": own["image"].iloc[0]}
        hashes = " ".join(usable["input_sha256"])
        table.append(about | decision | {"input_sha256": hashes, "predicted_at": timestamp(), "problem": problem})
    return pd.DataFrame(table)


def drift_columns(inputs: Sequence[ModelInput | str]) -> pd.DataFrame:
    """Return the columns that drift is computed from, one row per image; the values of refused images are empty."""
    stored = [
        {"width": np.nan, "height": np.nan, "mode": "", "modality": ""}
        if isinstance(found, str)
        else {
            "width": found.raw.image.width,
            "height": found.raw.image.height,
            "mode": found.raw.mode,
            "modality": found.raw.modality,
        }
        for found in inputs
    ]
    images = [None if isinstance(found, str) else found.image for found in inputs]
    return pd.concat([pd.DataFrame(stored), statistics_where_known(images)], axis=1)


def spread_timesteps(candidate: Candidate) -> list[int]:
    """Return the timesteps that `spread` is computed over; the list is empty without a diffusion model."""
    settings = candidate.config.params.classifier
    if candidate.uvit is None or settings is None:
        return []
    levels = np.linspace(settings.timestep_low, settings.timestep_high, SPREAD_TIMESTEPS)
    return np.unique(levels.round().astype(int)).tolist()


def _with_spread(
    candidate: Candidate, images: np.ndarray, diffusion_images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (n, classes) and the standard deviation (n,) of the largest one over timesteps."""
    if not (levels := spread_timesteps(candidate)):
        return candidate.predict(images, diffusion_images), np.full(len(images), np.nan)
    probabilities, each = candidate.predict_by_timestep(images, diffusion_images, levels)
    return probabilities, each[:, np.arange(len(images)), probabilities.argmax(axis=1)].std(axis=0)
