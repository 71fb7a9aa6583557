"""MLflow runs this file to load a registered model: it must call `set_model`. Nothing else imports it."""

from mlflow.models import set_model

from dcube.inference.serving import ServedModel

set_model(ServedModel())
