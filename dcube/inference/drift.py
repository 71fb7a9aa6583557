"""Whether new images are still such as the model was made for: their fingerprint beside that of the validation images.

The reference is the validation split's: the model has not learnt it by heart, as it may have the training images, and
the test split stays closed. Two samples are compared figure by figure by the Kolmogorov–Smirnov statistic D (0: the
same distribution, 1: no overlap), which needs no bins and takes figures of any shape.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import entropy, ks_2samp

from dcube.artifacts.markdown import markdown_table
from dcube.artifacts.schemas.dataset import InputSpec, RawImages
from dcube.data.readers.modes import stored_as

REFERENCE = "reference.json"  # beside a candidate's config
FIGURES = {
    "brightness": "brightness (mean grey value, 0…255)",
    "contrast": "contrast (standard deviation of the grey values)",
    "dark": "share of dark pixels (below 32)",
    "bright": "share of bright pixels (above 223)",
    "entropy": "entropy of the answer (0…1)",
    "confidence": "confidence of the answer",
}
DARK, BRIGHT = 32, 223
MOST_IMAGES = 2000  # of the reference
NOTICEABLE = 0.2  # a D below this is no reason to look, however many images make it significant
SIGNIFICANCE = 0.01
MOST_REFUSED = 0.05  # a share of refused images that may be an accident


@dataclass(frozen=True)
class Comparison:
    """One line of the report: medians (or shares, or names), the distance, and whether to look."""

    what: str
    reference: str
    new: str
    distance: float
    drifted: bool


def looks(images: np.ndarray) -> pd.DataFrame:
    """Brightness, contrast, shares of dark and bright pixels of (n, C, S, S) uint8 images as a model sees them."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return pd.DataFrame(
        {
            "brightness": flat.mean(axis=1),
            "contrast": flat.std(axis=1),
            "dark": (flat < DARK).mean(axis=1),
            "bright": (flat > BRIGHT).mean(axis=1),
        }
    )


def reference_of(images: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> dict:
    """What `compare` needs of the reference images and of the calibrated answers to them, for JSON."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_IMAGES)).astype(int))
    chances = probabilities[rows]
    figures = looks(images[rows]).assign(
        entropy=entropy(chances, axis=1) / np.log(len(classes)), confidence=chances.max(axis=1)
    )
    shares = np.bincount(chances.argmax(axis=1), minlength=len(classes)) / len(rows)
    return {
        "images": len(rows),
        "figures": {name: [round(float(value), 6) for value in figures[name]] for name in FIGURES},
        "predicted": dict(zip(classes, shares.tolist(), strict=True)),
    }


def load_reference(folder: Path) -> dict:
    return json.loads((folder / REFERENCE).read_text(encoding="utf-8"))


def compare(rows: pd.DataFrame, reference: Mapping, spec: InputSpec) -> list[Comparison]:
    """New answers against the reference.

    Args:
        rows: with the columns of `answers` and `looks`, and `width`, `height`, `mode`, `modality`; refused images too.
        spec: of the model.
    """
    usable = rows[rows["problem"] == ""]
    found = [_refused(rows)]
    if len(usable):
        found += [_figure(name, usable[name].to_numpy(float), reference["figures"][name]) for name in FIGURES]
        found.append(_predicted(usable, reference))
    found += _stored(rows[rows["mode"] != ""], spec.raw)
    return found


def as_json(found: list[Comparison]) -> str:
    return json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False)


def as_markdown(found: list[Comparison]) -> str:
    """The table, after a line that says what to look at."""
    drifted = [one.what.split(" (")[0] for one in found if one.drifted]
    first = f"**Look at: {', '.join(drifted)}.**" if drifted else "**No drift is shown.**"
    rows = [(one.what, one.reference, one.new, f"{one.distance:.3f}{' ⚠' if one.drifted else ''}") for one in found]
    return f"{first}\n\n{markdown_table(('', 'validation', 'new images', 'distance'), rows)}"


def _refused(rows: pd.DataFrame) -> Comparison:
    share = float((rows["problem"] != "").mean())
    return Comparison("images refused", "0 %", f"{share:.1%}", share, share > MOST_REFUSED)


def _figure(name: str, new: np.ndarray, reference: list[float]) -> Comparison:
    test = ks_2samp(new, reference)
    drifted = bool(test.statistic > NOTICEABLE and test.pvalue < SIGNIFICANCE)
    return Comparison(FIGURES[name], _quartiles(np.array(reference)), _quartiles(new), float(test.statistic), drifted)


def _quartiles(values: np.ndarray) -> str:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{median:.3g} ({low:.3g} … {high:.3g})"


def _predicted(usable: pd.DataFrame, reference: Mapping) -> Comparison:
    """Distance: the share of images that would have to be answered otherwise (total variation)."""
    before = reference["predicted"]
    shares = {name: float((usable["prediction"] == name).mean()) for name in before}
    distance = sum(abs(shares[name] - before[name]) for name in before) / 2
    chance = np.sqrt(len(before) / min(len(usable), reference["images"]))  # how far two small samples can be apart
    return Comparison(
        "predicted classes", _shares(before), _shares(shares), distance, bool(distance > max(NOTICEABLE, chance))
    )


def _shares(of_classes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in of_classes.items())


def _stored(rows: pd.DataFrame, raw: RawImages) -> list[Comparison]:
    """Sizes and modes as stored; distance: the share of images that training never saw the like of."""
    found = []
    for side, extent in (("width", raw.width), ("height", raw.height)):
        if extent and len(rows):
            low, high = extent.smallest, extent.largest
            outside = float((~rows[side].between(low, high)).mean())
            new = f"{rows[side].min():g} … {rows[side].max():g}"
            found.append(Comparison(f"{side} (pixels)", f"{low:g} … {high:g}", new, outside, outside > NOTICEABLE))
    kinds = {stored_as(mode) for mode in raw.modes}
    for what, known, named in (
        ("stored as", kinds, rows["mode"].map(stored_as)),
        ("modality", set(raw.modalities), rows["modality"]),
    ):
        if known and len(rows):
            strange = float((~named.isin([*known, ""])).mean())
            names = ", ".join(sorted(set(named) - {""})) or "unknown"
            found.append(Comparison(what, ", ".join(sorted(known)), names, strange, strange > NOTICEABLE))
    return found
