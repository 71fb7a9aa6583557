"""Drift: how far new images differ from those that the model was trained on.

The reference is the validation split, because the model may have memorised the training images, and the test split
stays closed. Each property is compared by the Kolmogorov–Smirnov statistic D (0: same distribution, 1: no overlap),
which needs no bins and suits distributions of any shape.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import entropy, ks_2samp

from dcube.artifacts.markdown import markdown_table
from dcube.artifacts.schemas.dataset import InputSpec, RawImages
from dcube.artifacts.schemas.drift import DriftReference, DriftRow
from dcube.data.readers.modes import storage_kind

PROPERTIES = {  # column → label, for an image and for its prediction
    "brightness": "brightness (mean grey value, 0…255)",
    "contrast": "contrast (standard deviation of the grey values)",
    "dark": "share of dark pixels (below 32)",
    "bright": "share of bright pixels (above 223)",
    "entropy": "entropy of the prediction (0…1)",
    "confidence": "confidence of the prediction",
}
OF_IMAGES = ["brightness", "contrast", "dark", "bright"]
DARK, BRIGHT = 32, 223
MOST_IMAGES = 2000  # in the reference
NOTICEABLE = 0.2  # with many images a D below this may be significant, but it is too small to matter
SIGNIFICANCE = 0.01
MOST_REFUSED = 0.05  # a larger share of refused images counts as drift


def image_statistics(images: np.ndarray) -> pd.DataFrame:
    """Return brightness, contrast, and shares of dark and bright pixels of preprocessed images (n, C, S, S), uint8."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return pd.DataFrame(
        {
            "brightness": flat.mean(axis=1),
            "contrast": flat.std(axis=1),
            "dark": (flat < DARK).mean(axis=1),
            "bright": (flat > BRIGHT).mean(axis=1),
        }
    )


def statistics_where_known(images: Sequence[np.ndarray | None]) -> pd.DataFrame:
    """Return `image_statistics` for a list of (C, S, S) images, with a row of NaN for each None."""
    known = {row: image for row, image in enumerate(images) if image is not None}
    if not known:
        return pd.DataFrame(index=range(len(images)), columns=OF_IMAGES, dtype=float)
    return image_statistics(np.stack(list(known.values()))).set_axis(list(known)).reindex(range(len(images)))


def normalised_entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy (n,) of (n, classes) probabilities: 0 if one class is certain, 1 if all are equally likely."""
    return entropy(probabilities, axis=1) / np.log(probabilities.shape[1])


def reference_of(images: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> DriftReference:
    """Build the reference for `image_drift` from the reference images and their calibrated probabilities.

    At most `MOST_IMAGES` evenly spaced images are used.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).astype(int))
    chosen = probabilities[rows]
    table = image_statistics(images[rows]).assign(entropy=normalised_entropy(chosen), confidence=chosen.max(axis=1))
    shares = np.bincount(chosen.argmax(axis=1), minlength=len(classes)) / len(rows)
    return DriftReference(
        images=len(rows),
        values={name: [round(float(value), 6) for value in table[name]] for name in PROPERTIES},
        predicted=dict(zip(classes, shares.tolist(), strict=True)),
    )


def image_drift(rows: pd.DataFrame, reference: DriftReference, spec: InputSpec) -> list[DriftRow]:
    """Compare the stored form of new images with training, and add the share of refused images and `prediction_drift`.

    Args:
        rows: one row per image, including refused ones, with the columns of `predict` and `image_statistics`, and
            `width`, `height`, `mode`, `modality`.
        spec: the model's input specification.
    """
    usable = rows[rows["problem"] == ""]
    found = [_refused(rows)]
    if len(usable):
        found += prediction_drift(usable, reference)
    found += _stored(rows[rows["mode"] != ""], spec.raw)
    return found


def prediction_drift(rows: pd.DataFrame, reference: DriftReference) -> list[DriftRow]:
    """Compare preprocessed images and their predictions with the reference.

    Args:
        rows: one row per image that was not refused, with the columns of `predict` and `image_statistics`.
    """
    found = [_property(name, rows[name].to_numpy(float), reference.values[name]) for name in PROPERTIES]
    return [*found, _predicted(rows, reference)]


def drifted_in_words(found: list[DriftRow]) -> str:
    """Return one sentence that names the drifted properties."""
    drifted = [one.what.split(" (")[0] for one in found if one.drifted]
    return f"Drift: {', '.join(drifted)}." if drifted else "No drift is shown."


def as_markdown(found: list[DriftRow]) -> str:
    """Return a line that names the drifted properties, and the table of all properties, as Markdown."""
    rows = [(one.what, one.reference, one.new, f"{one.distance:.3f}{' ⚠' if one.drifted else ''}") for one in found]
    return f"**{drifted_in_words(found)}**\n\n{markdown_table(('', 'validation', 'new images', 'distance'), rows)}"


def _row(what: str, reference: str, new: str, distance: float, drifted: bool) -> DriftRow:
    return DriftRow(what=what, reference=reference, new=new, distance=distance, drifted=drifted)


def _refused(rows: pd.DataFrame) -> DriftRow:
    share = float((rows["problem"] != "").mean())
    return _row("images refused", "0 %", f"{share:.1%}", share, share > MOST_REFUSED)


def _property(name: str, new: np.ndarray, reference: list[float]) -> DriftRow:
    test = ks_2samp(new, reference)
    drifted = bool(test.statistic > NOTICEABLE and test.pvalue < SIGNIFICANCE)
    return _row(PROPERTIES[name], _quartiles(np.array(reference)), _quartiles(new), float(test.statistic), drifted)


def _quartiles(values: np.ndarray) -> str:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{median:.3g} ({low:.3g} … {high:.3g})"


def _predicted(usable: pd.DataFrame, reference: DriftReference) -> DriftRow:
    """Compare shares of predicted classes by total variation: the share of images that would have to change class."""
    before = reference.predicted
    shares = {name: float((usable["prediction"] == name).mean()) for name in before}
    distance = sum(abs(shares[name] - before[name]) for name in before) / 2
    chance = np.sqrt(len(before) / min(len(usable), reference.images))  # small samples can differ this much by chance
    return _row(
        "predicted classes", _shares(before), _shares(shares), distance, bool(distance > max(NOTICEABLE, chance))
    )


def _shares(of_classes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in of_classes.items())


def _stored(rows: pd.DataFrame, raw: RawImages) -> list[DriftRow]:
    """Compare stored sizes and modes; the distance is the share of images outside of what training saw."""
    found = []
    for side, extent in (("width", raw.width), ("height", raw.height)):
        if extent and len(rows):
            low, high = extent.smallest, extent.largest
            outside = float((~rows[side].between(low, high)).mean())
            new = f"{rows[side].min():g} … {rows[side].max():g}"
            found.append(_row(f"{side} (pixels)", f"{low:g} … {high:g}", new, outside, outside > NOTICEABLE))
    kinds = {storage_kind(mode) for mode in raw.modes}
    for what, known, named in (
        ("stored as", kinds, rows["mode"].map(storage_kind)),
        ("modality", set(raw.modalities), rows["modality"]),
    ):
        if known and len(rows):
            unknown = float((~named.isin([*known, ""])).mean())
            names = ", ".join(sorted(set(named) - {""})) or "unknown"
            found.append(_row(what, ", ".join(sorted(known)), names, unknown, unknown > NOTICEABLE))
    return found
