"""External test: a registered model on labelled images that it has never seen (another hospital, scanner or year).

Nothing is chosen on these images. They are preprocessed as in training, and evaluated like the model's own test split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dcube.artifacts.layout import REFERENCE, SEEN
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.artifacts.schemas.drift import DriftReference, DriftRow
from dcube.artifacts.schemas.metrics import Metrics
from dcube.artifacts.schemas.seen import SeenImages
from dcube.classifier.candidate import Candidate
from dcube.config.loading import validated
from dcube.config.schema import Data
from dcube.data.checks.lookalikes import find_lookalikes, perceptual_hash
from dcube.data.grouping import count_without_patient, grouping_of
from dcube.data.layouts.metadata import columns_of
from dcube.data.layouts.raw_dataset import ImageRecord, RawDataset
from dcube.data.preprocessing import ModelInput
from dcube.data.privacy import read_private_dataset
from dcube.data.readers.raw_image import RawImage
from dcube.data.readers.windows import Window
from dcube.engine.progress import progress
from dcube.errors import DcubeError, abbreviated
from dcube.evaluation.predictions import PREFIX, Predictions
from dcube.evaluation.summary import evaluate_candidate
from dcube.inference.drift import image_drift
from dcube.inference.prediction import drift_columns, predict, without_blank_slices

# Share of images that look like images of the model's data set. Other patients' images are at 1 % or below
# (`dcube.data.checks.lookalikes`).
MOST_LOOKALIKES = 0.05


@dataclass(frozen=True)
class ExternalTest:
    """Result of an external test.

    Attributes:
        left_out: number of images that were not used because they have no label.
        blank_slices: number of slices that were not used because they show nothing.
        drift: comparison of the images with the model's own validation images.
    """

    predictions: Predictions
    metrics: Metrics
    left_out: int
    blank_slices: int
    drift: list[DriftRow]


@dataclass(frozen=True)
class LabelledImage:
    """One image of a raw data set, named by its pseudonym."""

    dataset: RawDataset
    position: int

    @property
    def record(self) -> ImageRecord:
        return self.dataset.records[self.position]

    @property
    def name(self) -> str:
        return self.record.file

    def read(self, _window: Window | None) -> RawImage:
        return self.dataset.read(self.position)  # the data set applies the window of its own parameters


def evaluate_externally(
    candidate: Candidate, folder: Path, path: Path, name: str, own: Metrics, group_by: str | None
) -> ExternalTest:
    """Predict on labelled images of a path and evaluate the predictions.

    Args:
        folder: folder that the candidate was loaded from.
        path: raw images, in any layout that `dcube data check` reads.
        name: name of the test set.
        own: metrics on the model's own test split. The same settings, decision rule and prediction sets are used here.
        group_by: same meaning as the parameter `data.group_by`.

    Raises:
        DcubeError: if the images have a class that the model does not know, if a class of the model has no image or
            images of one patient only, if the model has seen an image or is not suitable for one, or if more than
            `MOST_LOOKALIKES` of the images look like images that it has seen.
    """
    evaluation = own.evaluation
    config = candidate.config
    known = columns_of(path) & {column.name for column in own.subgroups}
    data = _data(config, name, group_by, sorted(known))
    raw = read_private_dataset(path, data)
    images = [LabelledImage(raw, position) for position, record in enumerate(raw.records) if record.label]
    _refuse_other_classes({image.record.label for image in images}, config.classes, path)
    unlabelled = len(raw.records) - len(images)
    images, rows, blank = without_blank_slices(images, _predicted(candidate, images, name, own.policy))
    _refuse_other_classes({image.record.label for image in images}, config.classes, path)  # without blank slices
    _refuse_unsuitable(rows)
    lookalikes = _count_lookalikes(SeenImages.load(folder / SEEN), rows)
    predictions = _predictions(images, rows, config.classes)
    _refuse_lone_patient(predictions, path)
    info = _described(config, data, predictions)
    groups = pd.DataFrame([image.record.subgroups for image in images], columns=list(raw.subgroups))
    point, sets = own.operating_point, own.prediction_sets
    measured = evaluate_candidate(name, config, info, predictions, evaluation, point, sets, groups)
    metrics = measured.model_copy(update={"lookalikes": lookalikes})
    drift = image_drift(rows, DriftReference.load(folder / REFERENCE), config.input)
    return ExternalTest(predictions, metrics, unlabelled, len(blank), drift)


def _predicted(
    candidate: Candidate, images: Sequence[LabelledImage], name: str, policy: DecisionPolicy
) -> pd.DataFrame:
    """Return the rows of `predict` together with `drift_columns` and `perceptual_hash`, empty for a refused image."""
    parts = []
    with progress(f"Predicting on {name}", total=len(images), unit="images") as advance:

        def on_batch(inputs: Sequence[ModelInput | str], rows: pd.DataFrame) -> None:
            hashes = [perceptual_hash(found.image) if isinstance(found, ModelInput) else "" for found in inputs]
            parts.append(drift_columns(inputs).assign(perceptual_hash=hashes))
            advance(len(rows))

        rows = predict(candidate, images, policy, on_batch)
    return pd.concat([rows, pd.concat(parts, ignore_index=True)], axis=1)


def _predictions(images: Sequence[LabelledImage], rows: pd.DataFrame, classes: Sequence[str]) -> Predictions:
    known = pd.DataFrame(
        {
            "id": [str(row) for row in range(len(images))],
            "file": [image.record.file for image in images],
            "patient": [image.record.patient for image in images],
            "sha256": rows["input_sha256"],
            "label": [image.record.label for image in images],
        }
    )
    return Predictions(pd.concat([known, rows[["prediction", *(f"{PREFIX}{name}" for name in classes)]]], axis=1))


def _data(config: CandidateConfig, name: str, group_by: str | None, subgroups: list[str]) -> Data:
    preprocessing = config.input.model_dump(exclude={"raw"})
    given = {"name": name, "group_by": group_by, "subgroups": subgroups}
    return validated(Data, {**given, **preprocessing}, where="the test set")


def _described(config: CandidateConfig, data: Data, predictions: Predictions) -> DatasetInfo:
    table = predictions.table
    return DatasetInfo(
        name=data.name,
        is_phantom=False,
        classes=config.classes,
        input=config.input,
        counts={"test": table["label"].value_counts().to_dict()},
        patients=table["patient"].replace("", None).nunique(),
        grouping=grouping_of(table, data),
        without_patient=count_without_patient(table),
        group_by=data.group_by,
        split_origin="official",
        fingerprint=predictions.fingerprint,
    )


def _refuse_other_classes(found: set[str], known: Sequence[str], path: Path) -> None:
    if unknown := sorted(found - set(known)):
        raise DcubeError(
            f"{path} has {_classes(unknown)} that the model does not know: it knows "
            f"{', '.join(map(repr, known))}; rename the labels, or leave these images out"
        )
    if missing := [name for name in known if name not in found]:
        raise DcubeError(f"{path} has no image of {_classes(missing)}: metrics need images of every class of the model")


def _classes(names: Sequence[str]) -> str:
    return f"the class {names[0]}" if len(names) == 1 else f"the classes {abbreviated(names)}"


def _refuse_unsuitable(rows: pd.DataFrame) -> None:
    refused = rows[rows["problem"] != ""]
    if len(refused):
        first = refused.iloc[0]
        raise DcubeError(
            f"the model is not suitable for {len(refused)} of {len(rows)} images, e.g. {first['image']}: "
            f"{first['problem']}: remove them; metrics of the others would depend on the selection"
        )


def _count_lookalikes(seen: SeenImages, rows: pd.DataFrame) -> int:
    """Return how many images look like images that the model has seen; refuse many of them, and any that is equal."""
    if found := seen.among(rows["input_sha256"]):
        raise DcubeError(
            f"{len(found)} of {len(rows)} images are in the data set that the model was made with: "
            f"{_named(rows, found)}: an external test needs images that it has never seen"
        )
    found = find_lookalikes(list(rows["perceptual_hash"]), seen.perceptual_hashes)
    if len(found) > MOST_LOOKALIKES * len(rows):
        raise DcubeError(
            f"{len(found)} of {len(rows)} images look like copies of images in the data set that the model was made "
            f"with: {_named(rows, found)}: an external test needs images that it has never seen; remove the copies"
        )
    return len(found)


def _named(rows: pd.DataFrame, positions: Sequence[int]) -> str:
    return abbreviated([rows["image"].iloc[position] for position in positions])


def _refuse_lone_patient(predictions: Predictions, path: Path) -> None:
    """Refuse a class whose intervals would have no width, because each resample has the same images of it."""
    owners = pd.Series(predictions.groups).groupby(predictions.table["label"]).nunique()
    if lone := sorted(owners.index[owners < 2]):
        raise DcubeError(
            f"{path} has images of {_classes(lone)} from one {'patient' if predictions.knows_patients else 'image'} "
            "only: intervals need two or more patients of every class; add images of others, or correct patient_id"
        )
