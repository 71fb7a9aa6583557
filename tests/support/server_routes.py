"""Every route of a server, from its own application: `python -m tests.support.server_routes mlflow|prefect`.

One JSON line a route: [method or kind, path]. Included routers, mounted applications and Flask's map are entered.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.routing import Mount


def routes_of(application: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    while not hasattr(application, "routes") and not hasattr(application, "url_map") and hasattr(application, "app"):
        application = application.app  # a middleware around it
    if hasattr(application, "url_map"):
        for rule in application.url_map.iter_rules():
            yield from ((method, prefix + rule.rule) for method in rule.methods)
    for route in iter_route_contexts(getattr(application, "routes", [])):
        inner = route.original_route
        if isinstance(inner, Mount):
            found = list(routes_of(inner.app, prefix + inner.path))
            yield from found or [("GET", f"{prefix}{inner.path}/<path>")]  # static files
        elif route.methods:
            yield from ((method, prefix + route.path) for method in route.methods)
        else:
            yield type(inner).__name__, prefix + route.path


def application_of(server: str) -> Any:
    if server == "mlflow":
        os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"  # as `mlflow server` says to its application
        from mlflow.server import app
        from mlflow.server.auth import create_app

        return create_app(app)
    from prefect.server.api.server import create_app

    return create_app()


for found in sorted(set(routes_of(application_of(sys.argv[1])))):
    print(json.dumps(found))
