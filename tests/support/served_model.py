"""A candidate in a folder as MLflow loads it, and a downloaded version."""

from pathlib import Path
from types import SimpleNamespace

from dcube.artifacts.schemas.decision import DecisionPolicy
from dcube.artifacts.schemas.serving import ServingConfig
from dcube.inference.serving import ServedModel


def served(folder: Path) -> ServedModel:
    config = folder.parent / "serving.json"
    ServingConfig(policy=DecisionPolicy(), code_revision="").save(config)
    return loaded(folder, config)


def loaded(candidate: Path, config: Path) -> ServedModel:
    model = ServedModel()
    model.load_context(SimpleNamespace(artifacts={"candidate": str(candidate), "serving": str(config)}))
    return model


def loaded_version(folder: Path) -> ServedModel:
    """A version as MLflow has downloaded it."""
    (candidate,) = (file.parent for file in folder.glob("artifacts/*/config.json"))
    return loaded(candidate, folder / "artifacts/serving.json")
