"""Results of all folds of a cross-validation as those of one test, in which each image has one prediction."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dcube.artifacts.layout import PREPARED
from dcube.artifacts.schemas.candidate import Calibration, CandidateConfig
from dcube.artifacts.schemas.dataset import DatasetInfo, NearDuplicates
from dcube.artifacts.schemas.drift import DriftReference
from dcube.artifacts.schemas.seen import SeenImages
from dcube.data.prepared import UNLABELLED, PreparedDataset
from dcube.errors import DcubeError
from dcube.evaluation.predictions import IMAGE, Predictions, numbered_by_image
from dcube.inference.drift import MOST_IMAGES


def pooled_predictions(folds: Sequence[Predictions]) -> Predictions:
    """Join the predictions of models that saw different images.

    Raises:
        DcubeError: if two of them predicted the same image.
    """
    return Predictions(_numbered(pd.concat([fold.table for fold in folds])))


def pooled_dataset(folds: Sequence[PreparedDataset]) -> PreparedDataset:
    """Return a data set without arrays, whose test split is the test images of all folds, as `pooled_predictions` has.

    Images without a label remain in the split `train`.

    Raises:
        DcubeError: if these are not all folds of one cross-validation.
    """
    first, infos = folds[0], [fold.info for fold in folds]
    if [(info.folds, info.fold) for info in infos] != [(len(folds), number) for number in range(len(folds))]:
        raise DcubeError(f"these are not the {len(folds)} folds of one cross-validation: run the study again")
    tested = _numbered(pd.concat([fold.manifest.iloc[fold.indices("test")] for fold in folds]))
    others = first.manifest[first.labels == UNLABELLED].assign(split="train")
    manifest = pd.concat([tested, others], ignore_index=True)
    manifest["id"] = manifest.index.astype(str)
    return PreparedDataset(PREPARED, manifest, _pooled_info(infos, tested["label"]))


def pooled_config(members: Sequence[CandidateConfig], data_fingerprint: str) -> CandidateConfig:
    """Return the configuration of an ensemble without its members, whose own blocks and calibration remain theirs."""
    first = members[0]
    names = [name for name in first.validation if all(name in one.validation for one in members)]
    changed = {
        "weights_sha256": "",
        "blocks": None,
        "calibration": Calibration(),
        "prior": np.mean([one.prior for one in members], axis=0).tolist(),
        "validation": {name: float(np.mean([one.validation[name] for one in members])) for name in names},
        "data_fingerprint": data_fingerprint,
    }
    return first.model_copy(update=changed)


def pooled_seen(folds: Sequence[SeenImages]) -> SeenImages:
    return SeenImages.of(
        (image for fold in folds for image in fold.images),
        (image for fold in folds for image in fold.perceptual_hashes),
    )


def pooled_reference(folds: Sequence[DriftReference]) -> DriftReference:
    """Join the references, which hold each image with the prediction of a model that was not trained on it."""
    images = sum(fold.images for fold in folds)
    rows = np.unique(np.linspace(0, images - 1, min(images, MOST_IMAGES)).astype(int))
    values = {name: np.concatenate([fold.values[name] for fold in folds])[rows].tolist() for name in folds[0].values}
    shares = {name: sum(fold.predicted[name] * fold.images for fold in folds) / images for name in folds[0].predicted}
    return DriftReference(images=len(rows), values=values, predicted=shares)


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    if twice := int(table.duplicated(IMAGE).sum()):
        raise DcubeError(f"{twice} images are in two folds of the cross-validation: run the study again")
    return numbered_by_image(table)


def _pooled_info(folds: Sequence[DatasetInfo], labels: pd.Series) -> DatasetInfo:
    first = folds[0]
    return first.model_copy(
        update={
            "counts": {"test": {name: int((labels == name).sum()) for name in first.classes}},
            "fold": None,
            "near_duplicates": _pooled_copies([fold.near_duplicates for fold in folds if fold.near_duplicates]),
            "warnings": list(dict.fromkeys(warning for fold in folds for warning in fold.warnings)),
            "fingerprint": hashlib.sha256(repr([fold.fingerprint for fold in folds]).encode()).hexdigest(),
        }
    )


def _pooled_copies(folds: Sequence[NearDuplicates]) -> NearDuplicates | None:
    if not folds:
        return None
    leaked = {tuple(group) for fold in folds for group in fold.in_several_splits}
    return folds[0].model_copy(update={"in_several_splits": [list(group) for group in sorted(leaked)]})
