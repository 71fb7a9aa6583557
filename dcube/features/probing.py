"""Linear probes on frozen features, and the map of their scores by block and timestep.

A probe is a logistic regression. Because it is the simplest classifier, it measures the features alone. Test images are
only scored; nothing is chosen on them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dcube.data.label_subset import draw_labelled
from dcube.data.prepared import PreparedDataset
from dcube.engine.classification_metrics import accuracy, areas, confusion, macro_f1
from dcube.features.pooling import Vectors

MAP_STRENGTH = 10.0  # inverse regularisation strength (scikit-learn's C) of the map's probes
MAP_IMAGES = 2000  # maximum number of labelled training images for the map, to limit its time
TOLERANCE, ITERATIONS = 1e-5, 2000
SCORED = ("validation", "test")


@dataclass(frozen=True)
class ProbeImages:
    """The images of a study.

    Attributes:
        rows: (n,) rows in the data set, ascending. `train`, `labelled` and `scored` are positions in `rows`.
        labels: (n,) class indices; `UNLABELLED` for an image without a label.
        train: training images, labelled or not, which determine how features are standardised.
        labelled: the labelled training images.
        scored: split (validation, test) → its labelled images.
    """

    rows: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    labelled: np.ndarray
    scored: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, dataset: PreparedDataset) -> Self:
        train, labelled = dataset.indices("train", labelled=False), dataset.indices("train")
        scored = {split: dataset.indices(split) for split in SCORED}
        rows = np.sort(np.concatenate([train, *scored.values()]))
        places = {split: np.searchsorted(rows, its_rows) for split, its_rows in scored.items()}
        return cls(rows, dataset.labels[rows], np.searchsorted(rows, train), np.searchsorted(rows, labelled), places)

    def for_map(self) -> Self:
        """Return the images for the map: at most `MAP_IMAGES` labelled training images, and the scored ones."""
        drawn = draw_labelled(self.labels[self.labelled], map_images(len(self.labelled)), seed=0)
        kept = np.sort(np.concatenate([self.labelled[drawn], *self.scored.values()]))
        train = np.searchsorted(kept, self.labelled[drawn])
        places = {split: np.searchsorted(kept, positions) for split, positions in self.scored.items()}
        return type(self)(self.rows[kept], self.labels[kept], train, train, places)

    def counts(self, requested: Iterable[int]) -> tuple[list[int], list[int]]:
        """Return the numbers of labels that can be drawn, the full number last, and the requested ones that cannot."""
        return possible_counts(requested, len(np.unique(self.labels[self.labelled])), len(self.labelled))


def map_images(labelled: int) -> int:
    """Return the number of labelled training images that the map uses, out of `labelled`."""
    return min(MAP_IMAGES, labelled)


def possible_counts(requested: Iterable[int], classes: int, available: int) -> tuple[list[int], list[int]]:
    """Return the numbers of labels that can be drawn, the full number last, and the requested ones that cannot."""
    requested = sorted(set(requested))
    possible = [count for count in requested if classes <= count < available]
    return [*possible, available], [count for count in requested if count not in (*possible, available)]


def standardised_features(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Standardise features (n, d) to zero mean and variances that add up to one over the training images, float32.

    Concatenated sets of features then have equal weight, whatever their dimensions.
    """
    scaler = StandardScaler().fit(features[train])
    return (scaler.transform(features) / np.sqrt(features.shape[1])).astype(np.float32)


def logistic_regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, tol=TOLERANCE, max_iter=ITERATIONS)


def projected_to_span(fitted: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Project features to the span of the fitted images (n, d) if n < d, so that a fit takes milliseconds.

    This changes no prediction: with an L2 penalty, the optimum is a combination of the fitted images (representer
    theorem), and an orthonormal basis of their span preserves the penalty.
    """
    fitted = fitted.astype(np.float64)
    if len(fitted) >= fitted.shape[1]:
        return [fitted, *others]
    basis, _ = np.linalg.qr(fitted.T)
    return [fitted @ basis, *(other @ basis for other in others)]


def probe(
    features: np.ndarray, images: ProbeImages, chosen: np.ndarray, strengths: Sequence[float]
) -> list[dict[str, float | str]]:
    """Fit a probe for each strength on the images at `chosen`. Returns rows: C, split, auroc, accuracy, macro_f1."""
    fitted, *scored = projected_to_span(features[chosen], *(features[places] for places in images.scored.values()))
    rows: list[dict[str, float | str]] = []
    for strength in strengths:
        model = logistic_regression(strength).fit(fitted, images.labels[chosen])
        for (split, places), its_features in zip(images.scored.items(), scored, strict=True):
            rows.append({"C": strength, "split": split, **scores(images.labels[places], model, its_features)})
    return rows


def scores(labels: np.ndarray, model: LogisticRegression, features: np.ndarray) -> dict[str, float]:
    probabilities, weights = model.predict_proba(features), np.ones((1, len(labels)))
    table, (auroc, _) = confusion(labels, probabilities, weights), areas(labels, probabilities, weights)
    return {
        "auroc": float(auroc.item()),
        "accuracy": float(accuracy(table).item()),
        "macro_f1": float(macro_f1(table).item()),
    }


def probe_blocks(blocks: Sequence[Vectors], images: ProbeImages) -> pd.DataFrame:
    """Return the map's rows for one timestep: block, pooling, split, auroc, accuracy."""
    rows = [
        {"block": block, "pooling": pooling, **row}
        for block, vectors in enumerate(blocks)
        for pooling, features in vectors.items()
        for row in probe(standardised_features(features, images.train), images, images.labelled, [MAP_STRENGTH])
    ]
    return pd.DataFrame(rows)[["block", "pooling", "split", "auroc", "accuracy"]]


def map_poolings(table: pd.DataFrame) -> dict[str, str]:
    """Return source → the pooling with the highest validation AUROC, averaged over the source's map."""
    validation = table[table["split"] == "validation"]
    means = validation.groupby(["source", "pooling"], sort=False)["auroc"].mean().unstack()
    return {str(source): str(pooling) for source, pooling in means.idxmax(axis=1).items()}


def rank_agreement(statistic: Sequence[float], auroc: Sequence[float]) -> float | None:
    """Return Spearman's correlation across blocks between D (Eq. 6) and a probe's AUROC; None if one is constant."""
    if len(set(statistic)) == 1 or len(set(auroc)) == 1:
        return None
    return float(spearmanr(statistic, auroc).statistic)
