"""The Python API: `dcube.load`, `Model.predict`, `dcube.evaluate`. The commands `predict` and `evaluate` use it.

This API is stable: names, arguments and results keep their meaning between releases. Errors that a user can correct
are raised as `DcubeError`.
"""

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dcube.artifacts.atomic import refuse_unwritable_folder
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.artifacts.schemas.metrics import Metrics
from dcube.classifier.candidate import Candidate, load_candidate
from dcube.config.schema import Compute
from dcube.data.preprocessing import ModelInput
from dcube.data.readers.walking import given_path
from dcube.engine.device import choose_device
from dcube.engine.progress import progress
from dcube.errors import DcubeError
from dcube.inference import prediction
from dcube.inference.external import ExternalTest, evaluate_externally
from dcube.inference.inputs import collect_images
from dcube.inference.log import log_predictions
from dcube.inference.prediction_row import PredictionRow
from dcube.registry.download import DownloadedVersion, download_version
from dcube.registry.external_run import log_external_test, save_external_test
from dcube.tracking.mlflow_client import mlflow_errors_in_one_line

if TYPE_CHECKING:
    from dcube.inference.serving import ServedModel

UNNAMED = "external"  # name of a test set that is not recorded


@dataclass(frozen=True, eq=False)
class PredictionTable(Sequence[PredictionRow]):
    """Predictions of a model, one row for each image in input order. A refused image has a row with a `problem`.

    Attributes:
        table: one row for each image, with the columns of `dcube predict --format csv`.
        left_out: reason → files that contain no image, and slices that are not used, for this reason.
    """

    table: pd.DataFrame
    left_out: dict[str, list[str]]
    _patients: np.ndarray = field(repr=False)
    _policy: DecisionPolicy = field(repr=False)
    _identity: dict[str, str] = field(repr=False)

    @cached_property
    def _rows(self) -> list[PredictionRow]:
        return [PredictionRow.of({str(name): row[name] for name in row}) for row in self.table.to_dict("records")]

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._rows[index]

    def __iter__(self) -> Iterator[PredictionRow]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def refused(self) -> list[PredictionRow]:
        return [row for row in self if row.problem]

    def by_patient(self) -> pd.DataFrame:
        """Return one row for each patient, as `dcube predict --by-patient` does."""
        return prediction.aggregate_by_patient(self.table, self._patients, self._policy).assign(**self._identity)


@dataclass(frozen=True, eq=False)
class Model:
    """A registered version in memory, as returned by `load`."""

    _version: DownloadedVersion
    _candidate: Candidate

    @property
    def name(self) -> str:
        return self._version.name

    @property
    def version(self) -> str:
        return self._version.version

    @property
    def title(self) -> str:
        """`NAME/VERSION`."""
        return self._version.title

    @property
    def classes(self) -> list[str]:
        return self._candidate.classes

    @property
    def metrics(self) -> Metrics:
        """Metrics on the version's own test split."""
        return self._version.metrics

    @property
    def split_notice(self) -> str:
        """Warning about the split, to be shown beside the metrics. Empty if there is none."""
        return self._version.split_notice

    def predict(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        decide: str | None = None,
        abstain_below: float | None = None,
        heatmaps: str | Path | None = None,
    ) -> PredictionTable:
        """Predict on images, DICOM or NIfTI files, folders of them, or zip or tar archives.

        If `DCUBE_INFERENCE_LOG` names a file, each prediction is appended to it as soon as it is made.

        Args:
            decide: decision rule, e.g. `malignant >= 0.3` or `most probable class at malignant = 0.05`. None: the
                operating point of the version.
            abstain_below: confidence below which the model abstains. None: the value used in its evaluation.
            heatmaps: folder to which a heatmap of each image is written.

        Raises:
            DcubeError: if a path does not exist or contains no image, the rule names a class that the model lacks, or
                `heatmaps` cannot be written.
        """
        policy, identity = self._policy(decide, abstain_below), self._version.identity
        if heatmaps:
            refuse_unwritable_folder(Path(heatmaps))
        given = [paths] if isinstance(paths, str | Path) else paths
        with collect_images([given_path(path) for path in given]) as (images, left_out):
            with progress(f"Predicting with {self.title}", total=len(images), unit="images") as advance:

                def on_batch(inputs: Sequence[ModelInput | str], rows: pd.DataFrame) -> None:
                    if heatmaps:
                        from dcube.inference.heatmaps import save_heatmaps  # slow to import

                        save_heatmaps(self._candidate, inputs, rows, Path(heatmaps))
                    log_predictions(rows.assign(**identity), inputs)
                    advance(len(rows))

                rows = prediction.predict(self._candidate, images, policy, on_batch)
            images, rows, blank = prediction.without_blank_slices(images, rows)
            patients = prediction.patient_numbers(images)
        if blank:
            left_out[prediction.BLANK_SLICE] = blank
        return PredictionTable(rows.assign(**identity), left_out, patients, policy, identity)

    def _policy(self, decide: str | None, abstain_below: float | None) -> DecisionPolicy:
        return self._version.policy.overridden(decide, abstain_below, self.classes, self._candidate.config.prior)

    def served(self) -> "ServedModel":
        """Return the model in the form that serves requests over HTTP."""
        from dcube.inference.serving import ServedModel  # slow to import

        return ServedModel.of(self._candidate, self._version.identity, self._version.policy)


def load(reference: str) -> Model:
    """Load a registered version by `models:/NAME@ALIAS` or `models:/NAME/VERSION`; `models:/` may be omitted.

    The version is downloaded from the server at `MLFLOW_TRACKING_URI`, and every file is compared with its registered
    checksum.

    Raises:
        DcubeError: if there is no such version, a file differs from the registered one, or the server is unreachable.
    """
    folder = Path(tempfile.mkdtemp(prefix="dcube-model-"))
    try:
        with mlflow_errors_in_one_line():
            version = download_version(reference, folder)
        model = Model(version, load_candidate(version.folder, choose_device(Compute())))
    except BaseException:
        shutil.rmtree(folder)
        raise
    weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return model


def evaluate(
    model: Model | str,
    path: str | Path,
    *,
    name: str | None = None,
    group_by: str | None = None,
    output: str | Path | None = None,
) -> ExternalTest:
    """Evaluate a version on labelled images that it has never seen, in any layout that `dcube data check` reads.

    Args:
        model: a model returned by `load`, or a reference as `load` takes it.
        name: name of the test set in MLflow. The test is recorded as a run and as a tag of the version. None: the test
            is not recorded.
        group_by: rule as for `data.group_by`; the intervals resample the images of a group together.
        output: new folder for `metrics.json`, `predictions.csv` (pseudonyms) and `drift.json`.

    Raises:
        DcubeError: if the classes differ from the model's, the model is not suitable for an image or has seen it, or
            `output` exists.
    """
    path = given_path(path)
    if output is not None and given_path(output).exists():
        raise DcubeError(f"{output} exists: name a new folder")
    loaded = load(model) if isinstance(model, str) else model
    files = loaded._version.folder
    test = evaluate_externally(loaded._candidate, files, path, name or UNNAMED, loaded.metrics, group_by)
    with tempfile.TemporaryDirectory(prefix="dcube-test-") as temporary:
        written = Path(output) if output is not None else Path(temporary)
        save_external_test(test, written)
        if name is not None:
            with mlflow_errors_in_one_line():
                log_external_test(loaded.title, test, written)
    return test
