"""A registered model as an MLflow pyfunc, whose predictions equal those of `dcube predict`.

MLflow loads it from code (`model_code.py`), so that no pickle is involved.
"""

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext
from PIL import Image

from dcube.artifacts.checksums import hashes_of
from dcube.artifacts.schemas.dataset import InputSpec
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.artifacts.schemas.serving import ServingConfig
from dcube.classifier.candidate import Candidate, load_candidate
from dcube.config.schema import Compute
from dcube.config.yaml_text import parse_yaml
from dcube.data.preprocessing import ModelInput
from dcube.data.readers import dicom_header, nifti
from dcube.data.readers.images import read_array
from dcube.data.readers.raw_image import RawImage, UnusableImageError, check_size
from dcube.data.readers.windows import Window, window_of
from dcube.engine.device import choose_device
from dcube.errors import DcubeError
from dcube.inference.inputs import images_in_file
from dcube.inference.log import log_predictions
from dcube.inference.prediction import predict_batch, to_model_input
from dcube.inference.prediction_row import identity
from dcube.runtime.settings import read_settings
from dcube.tracking.mlflow_client import tracking_client
from dcube.tracking.verification import ADDED_BY_DOWNLOAD, ARTIFACTS, verify

CANDIDATE, SERVING_CONFIG = "candidate", "serving"  # names of the artifacts of a logged model
IMAGE = "image"  # the column of a request
ABSTAIN_BELOW, DECIDE = "abstain_below", "decide"  # parameters of a request; the version's evaluation is the default
GZIP = b"\x1f\x8b"
NIFTI_MAGIC = slice(344, 347)


class ServedModel(PythonModel):
    """Model with a column `image` as input (each cell a base64 file or an array) and the columns of `dcube predict`.

    If a tracking server is configured (`MLFLOW_TRACKING_URI`), the version is compared with its manifest first.

    A file is a plain image, a DICOM file with one frame or a NIfTI volume with one slice. An array is nested lists. For
    a model with a window, it contains measurements (for example Hounsfield units) in the shape (h, w); for other
    models, whole numbers 0…255 in the shape (h, w) or (h, w, 3). One unusable cell refuses the whole request, and the
    error names its row.
    """

    @classmethod
    def of(cls, candidate: Candidate, identity: dict[str, str], policy: DecisionPolicy) -> "ServedModel":
        """Build the model from a candidate that is already in memory."""
        model = cls()
        model.candidate, model.identity, model.policy = candidate, identity, policy
        return model

    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts[CANDIDATE])
        name, version = _registered_as(folder)
        if name and read_settings().tracking_uri:
            _refuse_changed(name, version, folder.parent)
        self.candidate = load_candidate(folder, choose_device(Compute()))
        config = ServingConfig.load(Path(context.artifacts[SERVING_CONFIG]))
        self.identity = identity(name, version, self.candidate.config.weights_sha256, config.code_revision)
        self.policy = config.policy

    def predict(self, context, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        spec = self.candidate.config.input
        inputs = [_input_of_cell(cell, row, spec) for row, cell in enumerate(model_input[IMAGE])]
        rows = predict_batch(self.candidate, inputs, self._policy(params or {}))
        for row, problem in enumerate(rows["problem"]):
            if problem:
                raise DcubeError(f"row {row}: {problem}")
        predicted = rows.drop(columns="problem").dropna(axis="columns", how="all")  # `spread` may be empty
        predicted = predicted.assign(**self.identity)
        log_predictions(predicted, inputs)
        return predicted

    def _policy(self, params: dict[str, Any]) -> DecisionPolicy:
        known = self.candidate.classes, self.candidate.config.prior
        return self.policy.overridden(params.get(DECIDE), params.get(ABSTAIN_BELOW), *known)


def _registered_as(folder: Path) -> tuple[str, str]:
    """Return name and version from the file that MLflow writes beside a registered model, or empty texts without it."""
    note = folder.parents[1] / ADDED_BY_DOWNLOAD
    known = parse_yaml(note.read_bytes(), str(note)) if note.exists() else {}
    return str(known.get("model_name", "")), str(known.get("model_version", ""))


def _refuse_changed(name: str, version: str, folder: Path) -> None:
    """Compare the version with its manifest, and the files in `folder`, which are loaded next, with the version's."""
    client = tracking_client()
    entry = client.get_model_version(name, version)
    with tempfile.TemporaryDirectory() as work:
        files = verify(client, entry, client.get_run(entry.run_id), Path(work)).or_refuse()
        if hashes_of(folder) != hashes_of(files / ARTIFACTS):
            raise DcubeError(f"{folder} does not hold the files of {name}/{version}: download them again")


def encode_file(file: Path) -> str:
    """Encode a file as a cell of the column `image`."""
    return base64.b64encode(file.read_bytes()).decode("ascii")


def _input_of_cell(cell: Any, row: int, spec: InputSpec) -> ModelInput:
    try:
        read = _read_base64 if isinstance(cell, str) else _read_array
        return to_model_input(read(cell, window_of(spec)), spec)
    except UnusableImageError as error:
        raise DcubeError(f"row {row}: {error}") from None


def _read_base64(text: str, window: Window | None) -> RawImage:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise UnusableImageError("column image is not base64: encode the bytes of a file") from None
    with tempfile.TemporaryDirectory() as folder:  # the readers need a file
        name = f"image{_suffix(content)}"
        (Path(folder) / name).write_bytes(content)
        images = images_in_file(Path(folder), name, name)
        if len(images) != 1:
            raise UnusableImageError(f"a file of {len(images)} images: send them one by one")
        return images[0].read(window)


def _suffix(content: bytes) -> str:
    """Return the suffix by the content, because a cell has no file name."""
    if dicom_header.is_dataset_start(content):
        return ".dcm"
    if content.startswith(GZIP):
        return nifti.SUFFIXES[1]
    return nifti.SUFFIXES[0] if content[NIFTI_MAGIC] in (b"n+1", b"ni1") else ".png"


def _read_array(cell: Any, window: Window | None) -> RawImage:
    try:
        values = np.array(_as_lists(cell), dtype=float)
    except (TypeError, ValueError):
        raise UnusableImageError("column image is neither base64 nor an array of numbers") from None
    if values.ndim not in (2, 3) or (values.ndim == 3 and (window or values.shape[2] != 3)):
        raise UnusableImageError(f"an array of shape {values.shape}: send (h, w), or (h, w, 3) for colour")
    check_size(values.shape[1], values.shape[0])
    if not np.isfinite(values).all():
        raise UnusableImageError("NaN or infinite pixels")
    if window:
        return RawImage.checked(Image.fromarray(window.apply(values)), "measured array")
    if not ((values >= 0) & (values <= 255) & (values == np.rint(values))).all():
        raise UnusableImageError("an array of values other than whole numbers 0…255: send a file instead")
    return read_array(values.astype(np.uint8))


def _as_lists(cell: Any) -> Any:
    """Return nested lists again, because MLflow turns them into arrays of arrays."""
    return [_as_lists(item) for item in cell] if isinstance(cell, list | tuple | np.ndarray) else cell
