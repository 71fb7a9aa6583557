"""What MLflow's own permissions leave open: addresses that an account gives, and who may make a version champion.

MLflow's server opens no address that an account has given it: only its own folder of artifacts.

MLflow takes addresses from who may make an experiment, a model version or a trace, and opens them with its own
credentials. `authorization_function` of MLflow's configuration names `authenticate` here, which the server loads before
its first answer. To MLflow, whoever may register a version may move all aliases; here the champion takes `MANAGE`.
The server's image has this file alone, so it imports nothing of this project.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from flask import Response, g, request
from mlflow.exceptions import MlflowException
from mlflow.server import ARTIFACTS_DESTINATION_ENV_VAR
from mlflow.server.auth import (
    authenticate_request_basic_auth,
    make_forbidden_response,
    sender_is_admin,
    validate_can_manage_registered_model,
)
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from mlflow.utils.uri import get_uri_scheme
from werkzeug.datastructures import Authorization

CHAMPION = "champion"
# Names of one thing in MLflow's own server: what they lead to is checked again when it is opened.
NAMES = {"runs", "models", "mlflow-artifacts"}
# Fields and tags that say where artifacts are. The server chooses these; protobuf reads a field in two spellings.
LOCATIONS = {
    *("artifact_location", "artifactLocation", "artifact_uri", "artifactUri", "default_artifact_root"),
    *("defaultArtifactRoot", "mlflow.artifactLocation", "mlflow.trace.archiveLocation"),
}


def authenticate() -> Authorization | Response:
    """Who asks, as MLflow's basic authentication knows it; a response where nobody may ask this."""
    who = authenticate_request_basic_auth()
    if not isinstance(who, Authorization) or "is_checked" in g:
        return who
    g.is_checked = True  # MLflow's own checks below ask again who asks
    body = _body()
    if _names_champion(body) and not (sender_is_admin() or validate_can_manage_registered_model()):
        return make_forbidden_response()
    if field := _location_in(body):
        reason = f"{field} is chosen by this server: leave it out"
        return Response(
            json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": reason}), 400, mimetype="application/json"
        )
    return who


def _names_champion(body: Any) -> bool:
    """Whether the request sets or removes the alias `champion`."""
    if request.method == "GET" or not request.path.rstrip("/").endswith("/registered-models/alias"):
        return False
    given = {request.args.get("alias"), body.get("alias") if isinstance(body, dict) else None}
    return CHAMPION in given


def is_own(address: str, destination: str) -> bool:
    """Whether the address names something of this server's, or is at or below its folder of artifacts."""
    if get_uri_scheme(address) in NAMES:
        return True
    root = destination.rstrip("/")
    below = f"{address.rstrip('/')}/".startswith(f"{root}/")
    return below and not {".", ".."} & set(_unquoted(address.removeprefix(root)).replace("\\", "/").split("/"))


def _unquoted(text: str) -> str:
    while (once := unquote(text)) != text:
        text = once
    return text


def _body() -> Any:
    """The request's JSON as MLflow reads it: whatever its content type, and text in which there is JSON again."""
    body = request.get_json(force=True, silent=True)
    return _parsed(body) if isinstance(body, str) else body


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _location_in(body: Any) -> str | None:
    """The first field or tag of the body that gives a location."""
    return next((name for name, value in _fields(body) if value and name in LOCATIONS), None)


def _fields(body: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of all fields, and of all tags written as {key, value}."""
    waiting = [body]  # not by recursion: a request may be nested as deep as it likes
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield from found.items()
            yield str(found.get("key")), found.get("value")
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _only_own(repository: Callable[..., Any]) -> Callable[..., Any]:
    def opened(artifact_uri: str, **options: Any) -> Any:
        if not is_own(artifact_uri, os.environ[ARTIFACTS_DESTINATION_ENV_VAR]):
            raise MlflowException.invalid_parameter_value(f"{artifact_uri} is not in this server's folder of artifacts")
        return repository(artifact_uri, **options)

    return opened


_repositories = get_registered_artifact_repositories()
_repositories.update({scheme: _only_own(repository) for scheme, repository in _repositories.items()})
