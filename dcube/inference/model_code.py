"""Code that MLflow runs to load a registered model; it must call `set_model`. No other module imports it."""

from mlflow.models import set_model

from dcube.inference.serving import ServedModel

set_model(ServedModel())
