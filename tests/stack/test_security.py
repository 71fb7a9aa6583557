"""No route of the platform answers without credentials, tried one by one from the servers' own lists."""

import json
import os
import re
import subprocess
import sys

import boto3
import httpx
import psycopg2
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from flows.stack.servers import mlflow, prefect
from flows.stack.settings import ADMINISTRATOR, HOST, Stack
from flows.stack.supervision import Server
from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow
REFUSED = {401, 403}
S3_REFUSALS = {"AccessDenied", "SignatureDoesNotMatch", "UnsupportedAlgorithm"}  # the last: not signed at all

# What answers anybody, and why that gives nothing away. Everything else must refuse.
OPEN = {
    "mlflow": {
        "/health": "a constant, for probes",
        "/static-files/<path:path>": "the page's own scripts and styles, as published",
        "/api/3.0/mlflow/server-info": "which features this server has",
        "/ajax-api/3.0/mlflow/server-info": "the same",
    },
    "prefect": {
        "/api/health": "a constant, for probes",
        "/api/ready": "whether the database answers, for probes",
        "/docs": "the published description of the interface; contains no data",
        "/docs/oauth2-redirect": "the same",
        "/redoc": "the same",
        "/openapi.json": "the same",
        "/ui-settings": "where the page finds the interface, and that it must ask for a password",
    },
}


def routes_of(name: str, server: Server) -> list[tuple[str, str]]:
    """(method or kind, path) of every route, asked from the server's own application with its own settings."""
    environment = os.environ | server.environment
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.server_routes", name],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def answering(name: str, address: str, routes: list[tuple[str, str]], who: tuple[str, str] | None) -> dict[str, int]:
    """The routes that do not refuse, with what they answer."""
    answers = {}
    with httpx.Client(base_url=address, auth=who, timeout=60) as client:
        for method, path in routes:
            filled = re.sub(r"<[^>]*>|{[^}]*}", "x", path)
            response = client.request(method, filled, json={} if method in {"POST", "PUT", "PATCH"} else None)
            if response.status_code not in REFUSED and path not in OPEN[name]:
                answers[f"{method} {path}"] = response.status_code
    return answers


@pytest.fixture(scope="module")
def mlflow_routes(platform: Stack) -> list[tuple[str, str]]:
    # OPTIONS is a browser's question what it may ask, which it puts without credentials; it is answered from the list.
    return [route for route in routes_of("mlflow", mlflow(platform)) if route[0] != "OPTIONS"]


@pytest.fixture(scope="module")
def prefect_routes(platform: Stack) -> list[tuple[str, str]]:
    return routes_of("prefect", prefect(platform))


def test_mlflow(platform: Stack, mlflow_routes: list[tuple[str, str]]) -> None:
    assert len(mlflow_routes) > 600
    address = platform.mlflow_address
    for who in (None, ("nobody", "wrong")):
        assert answering("mlflow", address, mlflow_routes, who) == {}
    # Each wrong password of a known user costs the server a slow hash, on purpose: every tenth route.
    assert answering("mlflow", address, mlflow_routes[::10], (ADMINISTRATOR, "wrong")) == {}
    assert httpx.get(f"{address}/", auth=(ADMINISTRATOR, platform.secrets.mlflow_password)).is_success


def test_mlflow_answers_no_foreign_page(platform: Stack) -> None:
    """Not even with credentials: a browser that is signed in must not act for another site."""
    administrator = (ADMINISTRATOR, platform.secrets.mlflow_password)
    address = f"{platform.mlflow_address}/api/2.0/mlflow/experiments/create"
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        assert httpx.post(address, json={"name": "x"}, auth=administrator, headers=headers).status_code == 403


def test_prefect(platform: Stack, prefect_routes: list[tuple[str, str]]) -> None:
    requests = [(kind, path) for kind, path in prefect_routes if "WebSocket" not in kind]
    assert len(requests) > 150
    for who in (None, ("nobody", "wrong"), (ADMINISTRATOR, "wrong")):
        assert answering("prefect", platform.prefect_address, requests, who) == {}
    settings = httpx.get(f"{platform.prefect_address}/ui-settings").json()
    assert (settings["api_url"], settings["auth"]) == (f"{platform.prefect_address}/api", "BASIC")


def test_prefect_streams(platform: Stack, prefect_routes: list[tuple[str, str]]) -> None:
    streams = [path for kind, path in prefect_routes if "WebSocket" in kind]
    assert len(streams) >= 4
    base = platform.prefect_address.replace("http", "ws")
    right = f"{ADMINISTRATOR}:{platform.secrets.prefect_password}"
    for path in streams:
        address = base + re.sub(r"{[^}]*}", "x", path)
        assert not lets_in(address, None)
        assert not lets_in(address, "admin:wrong")
    assert lets_in(f"{base}/api/events/out", right)


def lets_in(address: str, credentials: str | None) -> bool:
    """Whether a stream lets a client past its first message, in Prefect's protocol."""
    try:
        with connect(address, subprotocols=["prefect"]) as stream:
            stream.send(json.dumps({"type": "auth", **({"token": credentials} if credentials else {})}))
            answer = json.loads(stream.recv(timeout=20))
            return bool(answer["type"] == "auth_success")
    except (InvalidHandshake, ConnectionClosed):
        return False


def test_s3(platform: Stack) -> None:
    endpoint = platform.storage["AWS_ENDPOINT_URL"]

    def client(**how: object) -> object:
        return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **how)

    wrong = {"aws_access_key_id": platform.secrets.s3_access_key, "aws_secret_access_key": "wrong"}
    for stranger in (client(config=Config(signature_version=UNSIGNED)), client(**wrong)):
        for ask in (
            lambda s3: s3.list_buckets(),
            lambda s3: s3.list_objects_v2(Bucket="dcube"),
            lambda s3: s3.put_object(Bucket="dcube", Key="x", Body=b""),
            lambda s3: s3.get_object(Bucket="dcube", Key="x"),
            lambda s3: s3.delete_object(Bucket="dcube", Key="x"),
        ):
            with pytest.raises(ClientError) as refused:
                ask(stranger)
            assert refused.value.response["Error"]["Code"] in S3_REFUSALS
    assert not httpx.get(f"{endpoint}/dcube").is_success


def test_postgres(platform: Stack) -> None:
    for role in ("mlflow", "prefect", "postgres"):
        for database in ("mlflow", "mlflow_auth", "prefect", "postgres", "template1"):
            with pytest.raises(psycopg2.OperationalError, match="password"):
                psycopg2.connect(host=HOST, port=platform.ports.postgres, user=role, dbname=database, password="wrong")
