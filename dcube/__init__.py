"""D-Cube: diffusion features for medical image classification, as a traceable system.

    import dcube

    model = dcube.load("models:/dcube-my_scans@champion")
    predictions = model.predict("new_study.zip")

The names come from `dcube.api`, which is imported only when one of them is first used, so that `import dcube` is fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcube.api import Model, PredictionTable, evaluate, load
    from dcube.errors import DcubeError

__version__ = "0.1.0"  # as in pyproject.toml; a served model brings the package, not the installation
__all__ = ["DcubeError", "Model", "PredictionTable", "evaluate", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dcube import api

    return getattr(api, name)
