"""The build step of `prefect.yaml`: every preset's values, to fill a deployment's form with."""

from typing import Any

from dcube.config import load_preset, preset_names


def values() -> dict[str, dict[str, Any]]:
    """Preset → all its parameters."""
    return {name: load_preset(name).model_dump(mode="json") for name in preset_names()}
