"""The build steps of `prefect.yaml`: every preset's values, to fill a deployment's form with, and what it is for."""

from importlib import resources
from typing import Any

from dcube.config.loading import load_preset, preset_names

HOW_TO_START = """
**Run → Custom run** opens a form that holds the preset's values. Change what you like and press **Submit**: a worker
takes the run. Its page shows the stages; its artifacts are the progress and the pictures of every stage, the results,
and the way to MLflow.
"""


def values() -> dict[str, dict[str, Any]]:
    """Preset → all its parameters."""
    return {name: load_preset(name).model_dump(mode="json") for name in preset_names()}


def descriptions() -> dict[str, str]:
    """Preset → Markdown: the comment that its file begins with, and how a run is started."""
    files = {name: resources.files("dcube.config") / "presets" / f"{name}.yaml" for name in preset_names()}
    comments = {name: file.read_text(encoding="utf-8").splitlines()[0] for name, file in files.items()}
    return {name: f"{comment.removeprefix('# ')}\n{HOW_TO_START}" for name, comment in comments.items()}
