"""Code that MLflow runs to load a registered model; it must call `set_model`. No other module imports it."""

import sys
from pathlib import Path

from mlflow.models import set_model

ARCHIVE = Path(__file__).parent / "code/dcube.zip"  # the package as it was at registration
if ARCHIVE.exists():
    sys.path.insert(0, str(ARCHIVE))

from dcube.inference.serving import ServedModel

set_model(ServedModel())
