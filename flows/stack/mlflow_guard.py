"""Checks beyond MLflow's own permissions: unused routes, locations of artifacts, and changes of the alias `champion`.

MLflow has routes that start commands and jobs, or that open addresses: its Assistant gives every account a shell, if
the request comes from the server's machine. This project uses none of them, and the server refuses them to everybody.

MLflow accepts locations of artifacts from users who may create an experiment, a model version or a trace, and opens
them with its own credentials. With this module the server refuses such locations, and opens only its own artifacts.

In MLflow, users who may register a version may also move all aliases. Here the alias `champion` requires `MANAGE`.

MLflow's configuration names `authenticate` as its `authorization_function`, and the server loads it before its first
response. The server's image contains only this file, so it must not import anything from this project.
"""

import json
import os
import re
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

# What MLflow has for language models and for calls to other servers. MLflow authenticates some of these requests
# without their body, so locations in them could not be found.
UNUSED = re.compile(
    r"(/(ajax-)?api/\d\.\d/(mlflow/)?(assistant|demo|gateway|genai|issues|jobs|mcp-servers|prompt-optimization|scorers?"
    r"|webhooks|runs/create-promptlab-run)|/gateway|/v1/traces)\b"
)
CHAMPION = "champion"
# Schemes of references inside MLflow's server; the locations that they lead to are checked when they are opened.
NAMES = {"runs", "models", "mlflow-artifacts"}
# Fields and tags for locations of artifacts, which only the server may choose. Protobuf accepts two spellings.
LOCATIONS = {
    *("artifact_location", "artifactLocation", "artifact_uri", "artifactUri", "default_artifact_root"),
    *("defaultArtifactRoot", "mlflow.artifactLocation", "mlflow.trace.archiveLocation"),
}


def authenticate() -> Authorization | Response:
    """Authenticate a request by MLflow's basic authentication, or return a response that refuses it."""
    who = authenticate_request_basic_auth()
    if not isinstance(who, Authorization) or "is_checked" in g:
        return who
    g.is_checked = True  # MLflow's own checks below call this function again
    if UNUSED.match(request.path):
        return make_forbidden_response()
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
    """Return whether the request sets or removes the alias `champion`."""
    if request.method == "GET" or not request.path.rstrip("/").endswith("/registered-models/alias"):
        return False
    given = {request.args.get("alias"), body.get("alias") if isinstance(body, dict) else None}
    return CHAMPION in given


def is_own(address: str, destination: str) -> bool:
    """Return whether the address is a reference inside this server, or in its folder of artifacts."""
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
    """Return the request's JSON as MLflow reads it: with any content type, and also as JSON inside a JSON string."""
    body = request.get_json(force=True, silent=True)
    return _parsed(body) if isinstance(body, str) else body


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _location_in(body: Any) -> str | None:
    """Return the name of the first field or tag in the body that contains a location, or None."""
    return next((name for name, value in _fields(body) if value and name in LOCATIONS), None)


def _fields(body: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of all fields, and of all tags in the form {key, value}."""
    waiting = [body]  # without recursion, because a request may be nested to any depth
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
