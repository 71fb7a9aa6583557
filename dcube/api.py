"""The Python API: `dcube.load`, `Model.predict`, `dcube.evaluate`. The commands `predict` and `evaluate` use it.

Stable: names, arguments and results keep their meaning between releases. What a user can mend raises a `DcubeError`.
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

UNNAMED = "external"  # a test set that is not recorded


@dataclass(frozen=True, eq=False)
class PredictionTable(Sequence[PredictionRow]):
    """What a model says about images, in their order; a refused image has its row too, with a `problem`.

    Attributes:
        table: one row an image, with the columns of `dcube predict --format csv`.
        left_out: why a file holds no image, or a slice is not used → such files and slices.
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
        """One row for each patient, as of `dcube predict --by-patient`."""
        return prediction.aggregate_by_patient(self.table, self._patients, self._policy).assign(**self._identity)


@dataclass(frozen=True, eq=False)
class Model:
    """A registered version in memory. Made by `load`."""

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
        """Of its own test split."""
        return self._version.metrics

    @property
    def split_notice(self) -> str:
        """What must be said beside these metrics; empty where nothing must."""
        return self._version.split_notice

    def predict(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        decide: str | None = None,
        abstain_below: float | None = None,
        heatmaps: str | Path | None = None,
    ) -> PredictionTable:
        """Predict on images, DICOM or NIfTI files, folders of them, zip or tar archives.

        Where `DCUBE_INFERENCE_LOG` names a file, the predictions are appended to it as they are made.

        Args:
            decide: rule of the decision, as `malignant >= 0.3` or `most probable class at malignant = 0.05`. None: the
                operating point of the version.
            abstain_below: confidence. None: as in its evaluation.
            heatmaps: folder for a heatmap of each image.

        Raises:
            DcubeError: a path that does not exist or contains no image, or a rule for no class of the model.
        """
        policy, identity = self._policy(decide, abstain_below), self._version.identity
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
        """What serves requests over HTTP."""
        from dcube.inference.serving import ServedModel  # slow to import

        return ServedModel.of(self._candidate, self._version.identity, self._version.policy)


def load(reference: str) -> Model:
    """The registered version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` names; `models:/` may be left out.

    `MLFLOW_TRACKING_URI` names the server. Every file is compared with what was registered.

    Raises:
        DcubeError: there is no such version, it is not what was registered, or the server is away.
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
        model: from `load`, or what `load` takes.
        name: of the test set in MLflow, where the test becomes a run and a mark on the version. None: not recorded.
        group_by: as `data.group_by`: which images belong together, for the intervals.
        output: new folder for `metrics.json`, `predictions.csv` (pseudonyms) and `drift.json`.

    Raises:
        DcubeError: other classes than the model's; an image that it is not suitable for or has seen; `output` exists.
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
