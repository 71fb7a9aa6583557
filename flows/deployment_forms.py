"""Build steps of `prefect.yaml`: the values of every preset, which fill deployment forms, and descriptions."""

from importlib import resources
from typing import Any

from dcube.config.loading import load_preset, preset_names

HOW_TO_START = """
**Run → Custom run** opens a form that holds the preset's values. Change what you like and press **Submit**: a worker
takes the run. Its page shows the stages; its artifacts are the progress and the pictures of every stage, the results,
and the way to MLflow.
"""


def values() -> dict[str, dict[str, Any]]:
    """Return preset → all its parameters."""
    return {name: load_preset(name).model_dump(mode="json") for name in preset_names()}


def descriptions() -> dict[str, str]:
    """Return preset → Markdown with the first comment of its file, and instructions for starting a run."""
    files = {name: resources.files("dcube.config") / "presets" / f"{name}.yaml" for name in preset_names()}
    comments = {name: file.read_text(encoding="utf-8").splitlines()[0] for name, file in files.items()}
    return {name: f"{comment.removeprefix('# ')}\n{HOW_TO_START}" for name, comment in comments.items()}
