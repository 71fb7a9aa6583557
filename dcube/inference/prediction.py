"""Images in, one row an image out: the same function behind `dcube predict`, the service and the flow.

| column | meaning |
| --- | --- |
| image | the name its owner gave it |
| answer | the predicted class, `abstain` below the set confidence, empty where the image was refused |
| prediction, confidence | the most probable class and its calibrated probability |
| probability_CLASS | calibrated probabilities; they add up to one |
| entropy | of the probabilities: 0 where one class is certain, 1 where all are equally probable |
| spread | standard deviation of the confidence over noise levels; empty for a model that looks at none |
| problem | why the image was refused |
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import entropy

from dcube.classifier.candidate import Candidate
from dcube.data.readers.images import RawImage, UnusableImageError, cropped, to_square
from dcube.data.readers.windows import window_of
from dcube.evaluation.predictions import PREFIX
from dcube.inference.inputs import Asked
from dcube.inference.suitability import refuse_unsuitable

ABSTAIN = "abstain"
AT_ONCE = 64  # images in memory
NOISE_LEVELS = 3  # at which `spread` looks: the lowest, the middle and the highest that training showed


@dataclass(frozen=True)
class Prepared:
    """An image as a candidate sees it: (C, S, S) and (C, s, s) uint8, and the raw one."""

    image: np.ndarray
    diffusion_image: np.ndarray
    raw: RawImage


def prepared(raw: RawImage, candidate: Candidate) -> Prepared:
    """A decoded, windowed image, made into what the stage `prepare` would have made of it.

    Raises:
        UnusableImageError: the candidate was not made for it.
    """
    spec = candidate.config.input
    used = cropped(raw, spec.crop)
    refuse_unsuitable(used, spec)
    channels, fit = spec.channels, spec.fit
    image = to_square(used.image, candidate.image_size, channels, fit)
    if image.min() == image.max():
        raise UnusableImageError(f"constant within the square that fit: {fit} leaves")
    return Prepared(image, to_square(used.image, candidate.diffusion_image_size, channels, fit), used)


def answers(
    candidate: Candidate,
    asked: Sequence[Asked],
    abstain_below: float,
    on_batch: Callable[[Sequence[Prepared | str], pd.DataFrame], object] = lambda images, rows: None,
) -> pd.DataFrame:
    """Answer every image, `AT_ONCE` in memory at a time; what cannot be answered has its row too.

    Args:
        on_batch: gets the images of a batch (a text says why one was refused) and their rows.
    """
    window = window_of(candidate.config.input)

    def read(image: Asked) -> Prepared | str:
        try:
            return prepared(image.read(window), candidate)
        except UnusableImageError as problem:
            return str(problem)

    parts = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(asked), AT_ONCE):
            batch = asked[start : start + AT_ONCE]
            images = list(pool.map(read, batch))
            rows = answered(candidate, images, abstain_below)
            rows.insert(0, "image", [image.name for image in batch])
            on_batch(images, rows)
            parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def answered(candidate: Candidate, images: Sequence[Prepared | str], abstain_below: float) -> pd.DataFrame:
    """All columns but `image`; a text in the place of an image says why it was refused."""
    usable = [image for image in images if isinstance(image, Prepared)]
    places = [place for place, image in enumerate(images) if isinstance(image, Prepared)]
    probabilities = np.full((len(images), len(candidate.classes)), np.nan)
    spread = np.full(len(images), np.nan)
    if usable:
        arrays = np.stack([one.image for one in usable]), np.stack([one.diffusion_image for one in usable])
        probabilities[places] = candidate.predict(*arrays)
        spread[places] = _spread(candidate, *arrays, probabilities[places].argmax(axis=1))
    rows = judged(probabilities, candidate.classes, abstain_below)
    return rows.assign(spread=spread, problem=["" if isinstance(image, Prepared) else image for image in images])


def judged(probabilities: np.ndarray, classes: Sequence[str], abstain_below: float) -> pd.DataFrame:
    """From (n, classes) probabilities: answer, prediction, confidence, the probabilities, entropy. NaN rows: none."""
    known = ~np.isnan(probabilities).any(axis=1)
    most = np.where(known, np.nan_to_num(probabilities).argmax(axis=1), 0)
    prediction = np.where(known, np.array(classes, dtype=object)[most], "")
    confidence = probabilities[np.arange(len(most)), most]
    abstains = known & (confidence < abstain_below)
    columns = {PREFIX + name: probabilities[:, i] for i, name in enumerate(classes)}
    return pd.DataFrame(
        {
            "answer": np.where(abstains, ABSTAIN, prediction),
            "prediction": prediction,
            "confidence": confidence,
            **columns,
            "entropy": entropy(probabilities, axis=1) / np.log(len(classes)),
        }
    )


def by_patient(rows: pd.DataFrame, asked: Sequence[Asked], abstain_below: float) -> pd.DataFrame:
    """One row a patient: the normalised geometric mean of the images' probabilities.

    It is the mean of the logits: an image that excludes a class counts, one that knows nothing changes nothing, and
    many alike images make nobody more certain than one of them, as their product would. Patients are numbered in the
    order of their first image: who they are stays with the owner.
    """
    classes = [str(name).removeprefix(PREFIX) for name in rows.columns if str(name).startswith(PREFIX)]
    patients = pd.factorize(pd.Series([image.patient for image in asked]))[0]
    table = []
    for number in range(max(patients) + 1):
        own = rows[patients == number]
        usable = own[own["problem"] == ""]
        with np.errstate(divide="ignore"):
            logs = np.log(usable[[PREFIX + name for name in classes]].to_numpy(float))
        mean = np.exp(logs.mean(axis=0)) if len(usable) else np.full(len(classes), np.nan)
        judgement = judged((mean / mean.sum())[None], classes, abstain_below).iloc[0].to_dict()
        problem = f"{len(own) - len(usable)} of {len(own)} images refused" if len(usable) < len(own) else ""
        about: dict = {"patient": number + 1, "images": len(usable), "first_image": own["image"].iloc[0]}
        table.append(about | judgement | {"problem": problem})
    return pd.DataFrame(table)


def _spread(candidate: Candidate, images: np.ndarray, diffusion_images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Standard deviation of the chosen class's probability over noise levels, (n,); NaN without a diffusion model."""
    settings = candidate.config.params.classifier
    if candidate.uvit is None or settings is None:
        return np.full(len(images), np.nan)
    levels = np.linspace(settings.timestep_low, settings.timestep_high, NOISE_LEVELS).round().astype(int)
    each = [candidate.predict(images, diffusion_images, timesteps=[int(level)]) for level in np.unique(levels)]
    return np.std([found[np.arange(len(chosen)), chosen] for found in each], axis=0)
