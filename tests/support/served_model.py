"""A candidate in a folder as MLflow loads it."""

from pathlib import Path
from types import SimpleNamespace

from dcube.inference.serving import ServedModel


def served(folder: Path) -> ServedModel:
    model = ServedModel()
    model.load_context(SimpleNamespace(artifacts={"candidate": str(folder)}))
    return model
