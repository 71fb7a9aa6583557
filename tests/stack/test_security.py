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

from flows.stack.servers import give_account, mlflow, prefect
from flows.stack.settings import ADMINISTRATOR, HOST, Stack, log_file
from flows.stack.supervision import Server
from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow
REFUSED = {401, 403}
S3_REFUSALS = {"AccessDenied", "SignatureDoesNotMatch", "UnsupportedAlgorithm"}  # the last one: for unsigned requests

# Routes that answer without credentials, and why they reveal nothing. All others must refuse.
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


# What is behind MLflow's other routes: entries of its databases, and artifacts in its own folder.
HARMLESS = {
    *("artifacts", "experiments", "get-trace-artifact", "graphql", "logged-models", "metrics", "mlflow-artifacts"),
    *("model-versions", "registered-models", "runs", "server-info", "traces", "upload-artifact", "users"),
    *("", "build", "get-artifact", "health", "signup", "static-files", "version"),  # pages and probes
    *("datasets", "label-schemas", "review-queues", "roles", "unified-traces", "workspaces"),
    "get-online-trace-details",  # only of Databricks
    "ui-telemetry",  # switched off
}
UNUSED = {
    *("assistant", "demo", "gateway", "gateway-proxy", "genai", "issues", "jobs", "mcp-servers", "prompt-optimization"),
    *("scorer", "scorers", "webhooks"),
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
    # Browsers send OPTIONS without credentials to learn which requests are allowed; the answer contains no data.
    return [route for route in routes_of("mlflow", mlflow(platform)) if route[0] != "OPTIONS"]


@pytest.fixture(scope="module")
def prefect_routes(platform: Stack) -> list[tuple[str, str]]:
    return routes_of("prefect", prefect(platform))


def test_mlflow_refuses_every_route_without_credentials(platform: Stack, mlflow_routes: list[tuple[str, str]]) -> None:
    assert len(mlflow_routes) > 600
    address = platform.mlflow_address
    for who in (None, ("nobody", "wrong")):
        assert answering("mlflow", address, mlflow_routes, who) == {}
    # Each wrong password of a known user costs the server a slow hash, on purpose: every tenth route.
    assert answering("mlflow", address, mlflow_routes[::10], (ADMINISTRATOR, "wrong")) == {}
    assert httpx.get(f"{address}/", auth=(ADMINISTRATOR, platform.secrets.mlflow_password)).is_success


def test_log_of_mlflow_has_no_line_for_each_request(platform: Stack) -> None:
    """A training sends thousands, and errors would not be found among them."""
    log = log_file(platform.folder, "mlflow")
    before = len(log.read_text().splitlines())
    with httpx.Client(base_url=platform.mlflow_address) as client:
        for _ in range(300):
            assert client.get("/health").is_success
            assert client.get("/api/2.0/mlflow/experiments/search").status_code == 401
    assert len(log.read_text().splitlines()) - before < 10


def test_mlflow_refuses_requests_from_other_sites(platform: Stack) -> None:
    """Not even with credentials: a browser that is signed in must not act for another site."""
    administrator = (ADMINISTRATOR, platform.secrets.mlflow_password)
    address = f"{platform.mlflow_address}/api/2.0/mlflow/experiments/create"
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        assert httpx.post(address, json={"name": "x"}, auth=administrator, headers=headers).status_code == 403


def test_prefect_refuses_every_route_without_credentials(
    platform: Stack, prefect_routes: list[tuple[str, str]]
) -> None:
    requests = [(kind, path) for kind, path in prefect_routes if "WebSocket" not in kind]
    assert len(requests) > 150
    for who in (None, ("nobody", "wrong"), (ADMINISTRATOR, "wrong")):
        assert answering("prefect", platform.prefect_address, requests, who) == {}
    settings = httpx.get(f"{platform.prefect_address}/ui-settings").json()
    assert (settings["api_url"], settings["auth"]) == (f"{platform.prefect_address}/api", "BASIC")


def test_prefect_refuses_streams_without_credentials(platform: Stack, prefect_routes: list[tuple[str, str]]) -> None:
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


def test_s3_refuses_requests_without_valid_keys(platform: Stack) -> None:
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


def test_postgres_refuses_a_wrong_password(platform: Stack) -> None:
    for role in ("mlflow", "prefect", "postgres"):
        for database in ("mlflow", "mlflow_auth", "prefect", "postgres", "template1"):
            with pytest.raises(psycopg2.OperationalError, match="password"):
                psycopg2.connect(host=HOST, port=platform.ports.postgres, user=role, dbname=database, password="wrong")


@pytest.fixture(scope="module")
def low(platform: Stack) -> httpx.Client:
    """A client of MLflow with the rights of a new account: it may read everything and create anything."""
    base, administrator = f"{platform.mlflow_address}/api/2.0/mlflow", (ADMINISTRATOR, platform.secrets.mlflow_password)
    account = {"username": "low", "password": "twelve-letters"}
    assert httpx.post(f"{base}/users/create", json=account, auth=administrator).is_success
    return httpx.Client(base_url=base, auth=("low", "twelve-letters"), timeout=60)


def test_no_account_reaches_routes_that_run_commands_or_open_addresses(
    low: httpx.Client, platform: Stack, mlflow_routes: list[tuple[str, str]]
) -> None:
    unused = [(method, path) for method, path in mlflow_routes if not is_harmless(path)]
    assert {resource_of(path) for _, path in unused} == UNUSED | {"runs", "v1"}
    for account in (low.auth, (ADMINISTRATOR, platform.secrets.mlflow_password)):
        with httpx.Client(base_url=platform.mlflow_address, auth=account, timeout=60) as client:
            for method, path in unused:
                body = {} if method in {"POST", "PUT", "PATCH"} else None
                for filled in (re.sub(r"<[^>]*>|{[^}]*}", "x", path), re.sub(r"<[^>]*>|{[^}]*}", "x%0A", path) + "%0A"):
                    assert client.request(method, filled, json=body).status_code in {403, 404}, (method, filled)


def test_new_account_gets_no_shell_from_the_assistant(low: httpx.Client, platform: Stack) -> None:
    settings = {"providers": {"ollama": {"selected": True, "permissions": {"full_access": True}}}}
    page = f"{platform.mlflow_address}/ajax-api/3.0/mlflow/assistant"
    with httpx.Client(auth=low.auth, timeout=60) as client:
        assert client.put(f"{page}/config", json=settings).status_code == 403
        assert client.post(f"{page}/message", json={"message": "x"}).status_code == 403
        assert client.get(f"{page}/config").status_code == 403


def resource_of(path: str) -> str:
    """The first word of a route below its interface."""
    return re.sub(r"^/(ajax-)?api/\d\.\d/?(mlflow/)?", "/", path).split("/")[1]


def is_harmless(path: str) -> bool:
    return resource_of(path) in HARMLESS and not path.endswith("/create-promptlab-run")


@pytest.fixture(scope="module")
def raw_file(platform: Stack) -> str:
    """An object as DVC's remote holds it, with a patient's name in it."""
    boto = boto3.client("s3", endpoint_url=platform.storage["AWS_ENDPOINT_URL"], **keys(platform.storage))
    boto.put_object(Bucket="dcube", Key="dvc/files/md5/ab/cd", Body=b"PatientName: Doe^Jane")
    return "s3://dcube/dvc/files/md5/ab"


def keys(storage: dict[str, str]) -> dict[str, str]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return {name.lower(): storage[name] for name in names} | {"region_name": "us-east-1"}


def test_neither_key_opens_the_other_bucket(platform: Stack) -> None:
    """MLflow's server has one key, workers and people have the other."""
    held = mlflow(platform).environment
    assert not {platform.secrets.s3_access_key, platform.secrets.s3_secret_key} & set(held.values())
    assert not {platform.secrets.artifacts_secret_key} & set(platform.client.values())
    for server, key in ((platform.storage, platform.artifact_storage), (platform.artifact_storage, platform.storage)):
        client = boto3.client("s3", endpoint_url=server["AWS_ENDPOINT_URL"], **keys(key))
        for bucket in ("dcube", "mlflow"):
            with pytest.raises(ClientError, match="InvalidAccessKeyId"):
                client.list_objects_v2(Bucket=bucket)


def test_workers_and_users_are_no_administrators_of_mlflow(platform: Stack) -> None:
    assert platform.secrets.mlflow_password not in platform.write_environment().read_text()
    account = (platform.client["MLFLOW_TRACKING_USERNAME"], platform.client["MLFLOW_TRACKING_PASSWORD"])
    with httpx.Client(base_url=f"{platform.mlflow_address}/api/2.0/mlflow", auth=account, timeout=60) as client:
        assert client.post("/experiments/create", json={"name": "dcube/of workers"}).is_success
        made = client.post("/users/create", json={"username": "friend", "password": "twelve-letters"})
        assert made.status_code == 403


def test_account_of_workers_continues_what_the_administrator_began(platform: Stack) -> None:
    """On a platform of an earlier version, workers were the administrator."""
    base, administrator = f"{platform.mlflow_address}/api/2.0/mlflow", (ADMINISTRATOR, platform.secrets.mlflow_password)
    account = (platform.client["MLFLOW_TRACKING_USERNAME"], platform.client["MLFLOW_TRACKING_PASSWORD"])
    with httpx.Client(base_url=base, auth=administrator, timeout=60) as client:
        earlier = client.post("/experiments/create", json={"name": "dcube/earlier"}).json()
        client.post("/registered-models/create", json={"name": "dcube-earlier"}).raise_for_status()
        assert client.request("DELETE", "/users/delete", json={"username": account[0]}).is_success
    give_account(platform)
    give_account(platform)
    with httpx.Client(base_url=base, auth=account, timeout=60) as client:
        run = client.post("/runs/create", json=earlier).raise_for_status().json()["run"]["info"]["run_id"]
        source = {"name": "dcube-earlier", "source": f"runs:/{run}/model", "run_id": run}
        client.post("/model-versions/create", json=source).raise_for_status()
        champion = {"name": "dcube-earlier", "alias": "champion", "version": "1"}
        assert client.post("/registered-models/alias", json=champion).is_success


@pytest.mark.parametrize("form", ["plain", "camel case", "text in text"])
@pytest.mark.parametrize("address", ["s3://dcube/dvc", "file:///etc", "/etc", "mlflow-artifacts:/1", "s3://mlflow/1"])
def test_client_cannot_choose_the_artifact_location(low: httpx.Client, address: str, form: str) -> None:
    field = "artifactLocation" if form == "camel case" else "artifact_location"
    body = {"name": f"{form} {address}", field: address}
    answer = low.post("/experiments/create", json=json.dumps(body) if form == "text in text" else body)
    assert answer.status_code == 400 and "chosen by this server" in answer.json()["message"]


def test_new_account_cannot_reach_files_through_the_source_of_a_version(low: httpx.Client, raw_file: str) -> None:
    low.post("/registered-models/create", json={"name": "squatted"})
    experiment = low.post("/experiments/create", json={"name": "of low"}).json()["experiment_id"]
    run = low.post("/runs/create", json={"experiment_id": experiment}).json()["run"]["info"]
    for source in (
        raw_file,
        "/etc",
        "file:///etc",
        "https://example.org/x",
        "mlflow-artifacts:/",
        run["artifact_uri"] + "/..",
    ):
        for more in ({}, {"run_id": run["run_id"]}):
            answer = low.post("/model-versions/create", json={"name": "squatted", "source": source, **more})
            assert answer.status_code == 400, (source, answer.text)
    read = low.get("/get-artifact", params={"run_id": run["run_id"], "path": "../../dvc/files/md5/ab/cd"})
    assert read.status_code in {400, 403}
    own = low.post(
        "/model-versions/create",
        json={"name": "squatted", "source": f"runs:/{run['run_id']}/model", "run_id": run["run_id"]},
    )
    assert own.is_success, own.text  # the account's own run is still accepted


def test_trace_tags_cannot_change_the_artifact_location(low: httpx.Client, raw_file: str) -> None:
    """These tags say where the server reads a trace's data, and what it deletes with the trace."""
    for name in ("mlflow.artifactLocation", "mlflow.trace.archiveLocation"):
        tags = [{"key": name, "value": raw_file}]
        body = {"experiment_id": "0", "timestamp_ms": 1, "execution_time_ms": 1, "status": "OK", "tags": tags}
        assert low.post("/traces", json=body).status_code == 400
        assert low.patch("/traces/x/tags", json=tags[0]).status_code == 400


def test_foreign_artifact_location_in_the_database_is_not_opened(
    low: httpx.Client, platform: Stack, raw_file: str
) -> None:
    """An experiment from before the check keeps its location in the database."""
    experiment = low.post("/experiments/create", json={"name": "older"}).json()["experiment_id"]
    for location in (raw_file, "file:///etc"):
        with (
            psycopg2.connect(platform.database("mlflow", "x").replace("+x", "")) as database,
            database.cursor() as cursor,
        ):
            cursor.execute("UPDATE experiments SET artifact_location=%s WHERE experiment_id=%s", (location, experiment))
        run = low.post("/runs/create", json={"experiment_id": experiment}).json()["run"]["info"]["run_id"]
        listed = low.get("/artifacts/list", params={"run_id": run, "path": ".."})
        assert listed.status_code == 400 and "Jane" not in listed.text
        page = platform.mlflow_address + "/get-artifact"
        for path in ("cd", "passwd"):
            assert httpx.get(page, params={"run_uuid": run, "path": path}, auth=low.auth).status_code in {400, 500}
