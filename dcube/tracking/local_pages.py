"""MLflow's pages for one person (`dcube ui`), without its Assistant, in which every user of this machine had a shell.

MLflow has no setting for that: the Assistant serves everybody who connects from this machine. uvicorn imports this
module (`dcube.tracking.local_pages:app`).
"""

from mlflow.server import fastapi_app
from mlflow.server.assistant import api

api._is_localhost = lambda request: False  # the routes look it up at every request
app = fastapi_app.app
