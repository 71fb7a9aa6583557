"""Label-efficiency curves: linear probes on each set of frozen features, by number of labels.

A probe has two free settings, its regularisation and the pooling of the features. Someone who has 20 labels must choose
both with these 20. Many publications choose on the whole validation split and so use more labels than they name; these
curves are computed too, for comparison.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from dcube.data.label_subset import draw_labelled
from dcube.engine.progress import Advance
from dcube.features.pooling import Vectors
from dcube.features.probing import ProbeImages, logistic_regression, probe, projected_to_span, standardised_features

# Inverse regularisation strengths (scikit-learn's C), for features whose variances add up to one.
STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
FOLDS = 5
MAIN, CONTROLS = "diffusion+sub_features", ("untrained+sub_features", "sub_features", "untrained")
DRAWN_LABELS, VALIDATION = "the drawn labels", "the validation split"
CURVE = ["chosen_on", "features", "labels", "draw", "pooling", "C", "split", "auroc", "accuracy", "macro_f1"]


def label_efficiency(
    sources: Mapping[str, Vectors],
    sub_features: np.ndarray | None,
    images: ProbeImages,
    counts: Sequence[int],
    draws: int,
    advance: Advance,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Compute curves of each source, of the sub-features, and of each source concatenated with the sub-features.

    Args:
        sources: name → pooling → concatenated vectors of all blocks.
        sub_features: (n, d); None if there are none.
        counts: numbers of labels; the last is the full number, which has one draw.
        advance: called after each draw.

    Returns:
        Table with the columns `CURVE`; set of features → number of values with its largest pooling. `chosen_on` says
        how pooling and C were chosen: for each draw, by the cross-entropy in a cross-validation of the drawn labels, or
        for each number of labels, by the mean AUROC on the validation split. With all labels there is only the second.
    """
    tables: list[pd.DataFrame] = []
    sizes: dict[str, int] = {}
    for name, pooling, features in feature_sets(sources, sub_features, images.train):
        sizes[name] = max(features.shape[1], sizes.get(name, 0))
        for count, draw in draws_of(counts, len(images.labelled), draws):
            chosen = images.labelled[draw_labelled(images.labels[images.labelled], count, draw)]
            table = pd.DataFrame(probe(features, images, chosen, STRENGTHS))
            if count < len(images.labelled):
                losses = held_out_losses(features[chosen], images.labels[chosen])
                table["held_out_loss"] = table["C"].map(dict(zip(STRENGTHS, losses, strict=True)))
            tables.append(table.assign(features=name, pooling=pooling, labels=count, draw=draw))
            advance()
    fitted = pd.concat(tables, ignore_index=True)
    chosen_twice = [_chosen_on_drawn_labels(fitted), _chosen_on_validation(fitted)]
    return pd.concat(chosen_twice, ignore_index=True)[CURVE], sizes


def feature_sets(
    sources: Mapping[str, Vectors], sub_features: np.ndarray | None, train: np.ndarray
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield name, pooling and standardised features (n, d) of each set on which probes are fitted."""
    beside = None if sub_features is None else standardised_features(sub_features, train)
    if beside is not None:
        yield "sub_features", "mean", beside
    for name, vectors in sources.items():
        for pooling, values in vectors.items():
            features = standardised_features(values, train)
            yield name, pooling, features
            if beside is not None:
                yield f"{name}+sub_features", pooling, np.hstack([features, beside])


def sets_probed(sources: int, poolings: int, with_sub_features: bool) -> int:
    """Return the number of `feature_sets`."""
    return 1 + 2 * sources * poolings if with_sub_features else sources * poolings


def draws_of(counts: Sequence[int], available: int, draws: int) -> list[tuple[int, int]]:
    """Return pairs of number of labels and draw. All labels can only be drawn once."""
    return [(count, draw) for count in counts for draw in range(draws if count < available else 1)]


def held_out_losses(features: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return the cross-entropy of each strength in a cross-validation of these images, (n, d) and (n,).

    All are zero if a class has a single image, because it cannot be both fitted and held out.
    """
    smallest = np.unique(labels, return_counts=True)[1].min()
    if smallest < 2:
        return [0.0] * len(STRENGTHS)
    folds = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=0)
    (fitted,) = projected_to_span(features)

    def held_out(strength: float) -> np.ndarray:
        return cross_val_predict(logistic_regression(strength), fitted, labels, cv=folds, method="predict_proba")

    return [float(log_loss(labels, held_out(strength))) for strength in STRENGTHS]


def _chosen_on_drawn_labels(fitted: pd.DataFrame) -> pd.DataFrame:
    """Choose for each draw. Among equals, the strongest regularisation and the first pooling are chosen."""
    drawn_few = fitted.dropna(subset="held_out_loss")
    key = ["features", "labels", "draw"]
    best = drawn_few.loc[drawn_few.groupby(key, sort=False)["held_out_loss"].idxmin(), [*key, "pooling", "C"]]
    return drawn_few.merge(best).assign(chosen_on=DRAWN_LABELS)


def _chosen_on_validation(fitted: pd.DataFrame) -> pd.DataFrame:
    """Choose for each number of labels."""
    key = ["features", "labels"]
    validation = fitted[fitted["split"] == "validation"]
    means = validation.groupby([*key, "pooling", "C"], sort=False)["auroc"].mean().reset_index()
    best = means.loc[means.groupby(key, sort=False)["auroc"].idxmax()].drop(columns="auroc")
    return fitted.merge(best).assign(chosen_on=VALIDATION)


def over_draws(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation of AUROC over the draws, by protocol, features, labels and split."""
    grouped = table.groupby(["chosen_on", "features", "labels", "split"], sort=False)["auroc"]
    return grouped.agg(draws="count", auroc="mean", deviation="std").reset_index()


def against_controls(table: pd.DataFrame) -> pd.DataFrame:
    """Return AUROC of `MAIN` minus each control, paired by draw: mean, deviation, and number of draws ahead."""
    wide = table.pivot(index=["chosen_on", "labels", "split", "draw"], columns="features", values="auroc")
    rows = []
    for control in (name for name in CONTROLS if {name, MAIN} <= set(wide.columns)):
        gaps = (wide[MAIN] - wide[control]).groupby(["chosen_on", "labels", "split"])
        made = gaps.agg(draws="count", difference="mean", deviation="std", ahead=lambda gap: int((gap > 0).sum()))
        rows.append(made.reset_index().assign(control=control))
    columns = ["chosen_on", "control", "labels", "split", "draws", "difference", "deviation", "ahead"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)
