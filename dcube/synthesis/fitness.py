"""Three checks of whether synthetic images are fit for training, each of which reports a measured number."""

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dcube.config.schema import Diffusion, Fid
from dcube.data.prepared import PreparedDataset
from dcube.engine.classification_metrics import unweighted_auroc
from dcube.engine.seeds import numpy_generator
from dcube.engine.trainer import can_be_best
from dcube.generative_metrics.blockiness import blockiness
from dcube.generative_metrics.extractor import load_extractor
from dcube.synthesis.generation import SyntheticImages

STILL_FALLING = 0.05  # largest accepted relative fall of FID, or of the noise error, at the last measurement
VISIBLE = 1.2  # largest accepted ratio of the blockiness of synthetic to real images
WORSE = 0.01  # largest accepted loss of validation AUROC

QUICK_CHECK = Fid(extractor="efficientnet_lite0", resize=64)  # the features of the probe


def unfit_reasons(
    synthetic: SyntheticImages,
    dataset: PreparedDataset,
    history: pd.DataFrame,
    diffusion: Diffusion,
    device: torch.device,
) -> list[str]:
    """Return one clause for each failed check; an empty list if there are no images.

    Args:
        history: one row for each measurement in training, with the columns step, fid and noise_mse.
        diffusion: parameters of the training.
    """
    if not len(synthetic.images):
        return []
    images, extractor = dataset.images(dataset.diffusion_image_size), load_extractor(QUICK_CHECK, device)
    rows = {split: dataset.indices(split) for split in ("train", "validation")}
    features = {split: (extractor(images[chosen]), dataset.labels[chosen]) for split, chosen in rows.items()}
    made = extractor(synthetic.images), synthetic.labels.numpy()
    reasons = (
        fid_reason(history[[can_be_best(step, diffusion.warmup_steps) for step in history["step"]]]),
        border_reason(synthetic.images.numpy(), images[rows["train"]], diffusion.patch_size),
        probe_reason(features["train"], made, features["validation"]),
    )
    return [reason for reason in reasons if reason]


def fid_reason(history: pd.DataFrame) -> str:
    """Return what is wrong with the course of FID and of the noise error; empty if FID fell and both settled.

    Args:
        history: as in `unfit_reasons`, but only rows after the warm-up.
    """
    if len(history) < 2:
        return "FID was measured less than twice after the warm-up, so that nobody knows whether it still falls"
    if (fell := _fell_at_last(history["fid"])) > STILL_FALLING:
        return f"FID was still falling when the training ended, by {fell:.0%}"
    if history["fid"].iloc[1:].min() >= history["fid"].iloc[0]:
        return f"FID never fell below its first measurement after the warm-up ({history['fid'].iloc[0]:.0f})"
    if (fell := _fell_at_last(history["noise_mse"])) > STILL_FALLING:
        return f"the error of the predicted noise was still falling when the training ended, by {fell:.0%}"
    return ""


def _fell_at_last(values: pd.Series) -> float:
    """Return how far the last value is below the best earlier one, as a share of that one."""
    before = values.iloc[:-1].min()
    return (before - values.iloc[-1]) / before


def border_reason(synthetic: np.ndarray, real: np.ndarray, patch_size: int) -> str:
    """Return how visible patch borders are in images (n, C, S, S) uint8; empty if about as visible as in real ones."""
    made, natural = blockiness(synthetic, patch_size), blockiness(real, patch_size)
    if made <= VISIBLE * natural:
        return ""
    return (
        f"patch borders can be seen: jumps across them are {made:.2f} of those inside in the {len(synthetic)} images "
        f"made for training, {natural:.2f} in real ones"
    )


def probe_reason(
    training: tuple[np.ndarray, np.ndarray],
    synthetic: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
) -> str:
    """Return by how much synthetic images make a linear probe worse; empty if they do not.

    The comparison is a probe with as many repeated real images of the same classes.

    Args:
        training, synthetic, validation: features (n, d) and class indices (n,).
    """
    features, labels = training
    generator = numpy_generator(0, "repeated images of the quick check")
    repeated = np.concatenate(
        [
            generator.choice(np.flatnonzero(labels == label), count)
            for label, count in zip(*np.unique(synthetic[1], return_counts=True), strict=True)
        ]
    )
    with_them = _auroc(training, synthetic, validation)
    without = _auroc(training, (features[repeated], labels[repeated]), validation)
    if with_them >= without - WORSE:
        return ""
    return (
        f"a linear probe trained with them reaches a validation AUROC of {with_them:.3f}, "
        f"with repeated real images {without:.3f}"
    )


def _auroc(
    training: tuple[np.ndarray, np.ndarray],
    extra: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
) -> float:
    features, labels = (np.concatenate(pair) for pair in zip(training, extra, strict=True))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200)).fit(features, labels)
    return unweighted_auroc(validation[1], probe.predict_proba(validation[0]))
