"""The documented commands with a real Docker daemon, from a fresh clone to results on the host: `make test-docker`.

`COMPOSE_FILES` names further compose files, for example if the image registries cannot be reached. `TRANSCRIPT` names a
file (by default in the test's folder) for all commands, each with the last line that it printed.
"""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from dcube.config.schema import Params
from dcube.runtime.ports import free_port
from tests.support.checkout import ROOT
from tests.support.working_copy import SMALL, WorkingCopy

pytestmark = [pytest.mark.docker, pytest.mark.timeout(3600)]
SHORT = SMALL | {
    "diffusion": SMALL["diffusion"] | {"epochs": 2, "fid_every": 1},
    "classifier": SMALL["classifier"] | {"epochs": 1},
    "baseline": SMALL["baseline"] | {"epochs": 1},
}
LONGEST = 2400.0  # seconds until a run that was killed once has finished
# Credentials of docker/.env and files of the checkout that each container can read, as in docs/platform.md.
DATABASES = {"MLFLOW_DATABASE_PASSWORD", "PREFECT_DATABASE_PASSWORD"}
MLFLOW = {"MLFLOW_DATABASE_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_PASSWORD", "MLFLOW_SESSION_KEY"}
READABLE: dict[str, tuple[set[str], set[str]]] = {
    "postgres": ({"POSTGRES_PASSWORD", *DATABASES}, {"docker/databases.sh"}),
    "s3": ({"S3_ACCESS_KEY", "S3_SECRET_KEY"}, set()),
    "mlflow": (MLFLOW, set()),
    "prefect": ({"PREFECT_DATABASE_PASSWORD", "PREFECT_PASSWORD"}, set()),
    "setup": ({"PREFECT_PASSWORD"}, {".git"}),
    "worker": ({"S3_ACCESS_KEY", "S3_SECRET_KEY", "MLFLOW_PASSWORD", "PREFECT_PASSWORD"}, {".git"}),
}
READABLE["worker-1"] = READABLE["worker"]
WORKERS = ("worker", "worker-1")


class Compose:
    """The stack of a fresh clone with two workers, on free ports and with names and images of its own."""

    def __init__(self, folder: Path) -> None:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        self.copy = WorkingCopy(folder)
        names = ("MLFLOW", "PREFECT", "S3")
        self.ports = {name: free_port() for name in names}
        self.name = folder.name
        self.images = {name: f"{self.name}-{name.lower()}" for name in ("SERVER", "WORKER")}
        self.transcript = Path(os.environ.get("TRANSCRIPT", folder.with_name("transcript.txt")))
        self.transcript.unlink(missing_ok=True)
        settings = [f"DCUBE_{name}_PORT={port}\n" for name, port in self.ports.items()]
        settings += [f"DCUBE_{name}_IMAGE={image}\n" for name, image in self.images.items()]
        (folder / "docker/.env").write_text("".join(settings) + "DCUBE_WORKER_MEMORY=9g\n")
        self.run("docker/credentials.sh")
        lines = (folder / "docker/env").read_text().splitlines()
        self.host = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        self.copy.environment |= self.host
        without_gpu = folder.with_name("compose.test.yaml")
        without_gpu.write_text("services: {worker-1: {deploy: !reset null}}\n")
        files = [f"docker/compose{kind}.yaml" for kind in ("", ".cpu", ".gpus")]
        files += [str(without_gpu), *os.environ.get("COMPOSE_FILES", "").split()]
        self.command = ["docker", "compose", "--project-name", self.name]
        self.command += [word for file in files for word in ("--file", file)]

    def __call__(self, *words: str, fails: bool = False) -> str:
        done = subprocess.run(
            [*self.command, *words], cwd=self.copy.folder, capture_output=True, text=True, timeout=3000, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout[-3000:] + done.stderr[-3000:]
        self.record(["docker", "compose", *words], done.stdout.strip() or done.stderr)
        return done.stdout

    def run(self, *words: str) -> str:
        """Run a command on the host, as documented, and return its output."""
        output = self.copy.run(*words).output
        self.record(words, output)
        return output

    def record(self, words: Sequence[str], output: str) -> None:
        """Add a command to the transcript, with its last line of output."""
        lines = [line for line in output.splitlines() if line.strip()]
        with self.transcript.open("a") as file:
            file.write("\n".join([f"$ {shlex.join(words)}", *lines[-1:]]) + "\n")

    def inside(self, service: str, script: str, fails: bool = False) -> str:
        return self("exec", "-T", service, "sh", "-c", script, fails=fails)

    def labelled(self, *listing: str) -> list[str]:
        """Ids of the Docker objects of this stack: `labelled("ps", "--all")`, `labelled("volume", "ls")`."""
        label = f"label=com.docker.compose.project={self.name}"
        command = ["docker", *listing, "--quiet", "--filter", label]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    def run_deployment(self, name: str, **parameters: object) -> dict:
        deployment = self.prefect("GET", f"/deployments/name/pipeline/{name}")["id"]
        run = self.prefect("POST", f"/deployments/{deployment}/create_flow_run", json={"parameters": parameters})
        self.record(["#", "run of", f"pipeline/{name}"], run["name"])
        return run

    def prefect(self, method: str, path: str, **options: object) -> Any:
        auth = tuple(self.host["PREFECT_API_AUTH_STRING"].split(":"))
        answer = httpx.request(method, f"{self.host['PREFECT_API_URL']}{path}", auth=auth, timeout=60, **options)
        return answer.raise_for_status().json()

    def state(self, run: str) -> str:
        try:
            return self.prefect("GET", f"/flow_runs/{run}")["state"]["type"]
        except httpx.HTTPError:
            return "UNKNOWN"

    def wait(self, run: str, *states: str) -> None:
        deadline = time.monotonic() + LONGEST
        while (state := self.state(run)) not in states:
            assert time.monotonic() < deadline and state not in {"FAILED", "CANCELLED"}, self("logs", *WORKERS)[-9000:]
            time.sleep(5)
        self.record(["#", "run", run], state)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    compose = Compose(tmp_path_factory.mktemp("dcube") / f"dcube-test-{os.getpid()}")
    try:
        compose("up", "--build", "--wait")
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "5")
        subprocess.run(["docker", "image", "rm", *compose.images.values()], capture_output=True, check=False)
        left = [compose.labelled(*listing) for listing in (("ps", "--all"), ("volume", "ls"), ("network", "ls"))]
        named = ["docker", "image", "ls", "--quiet", "--filter", f"reference={compose.name}-*"]
        left += [subprocess.run(named, capture_output=True, text=True, check=True).stdout.split()]
        assert left == [[], [], [], []]


def test_services_require_a_password_and_listen_on_localhost(stack: Compose) -> None:
    mlflow, prefect, s3 = (f"http://127.0.0.1:{stack.ports[name]}" for name in ("MLFLOW", "PREFECT", "S3"))
    assert httpx.get(f"{mlflow}/api/2.0/mlflow/registered-models/search").status_code == 401
    assert httpx.get(f"{prefect}/api/admin/version").status_code == 401
    assert httpx.get(f"{s3}/dcube").is_client_error
    published = json.loads(stack("config", "--format", "json"))["services"]
    assert {port["host_ip"] for one in published.values() for port in one.get("ports", [])} == {"127.0.0.1"}


def test_containers_read_only_the_listed_credentials_and_files(stack: Compose) -> None:
    assert stack.inside("worker", "id -u; ls -A /checkout") == "1000\n.git\n"
    stack.inside("worker", "touch /checkout/.git/anything", fails=True)
    lines = (stack.copy.folder / "docker/.env").read_text().splitlines()
    secrets = {name: value for name, value in (line.split("=", 1) for line in lines) if not name.startswith("DCUBE_")}
    containers = stack.labelled("ps", "--all")
    inspected = subprocess.run(["docker", "inspect", *containers], capture_output=True, text=True, check=True).stdout
    readable = {}
    for container in json.loads(inspected):
        given = " ".join(container["Config"]["Env"])
        binds = [mount for mount in container["Mounts"] if mount["Type"] == "bind"]
        assert not any(mount["RW"] for mount in binds)
        readable[container["Config"]["Labels"]["com.docker.compose.service"]] = (
            {name for name, value in secrets.items() if value in given},
            {str(Path(mount["Source"]).relative_to(stack.copy.folder)) for mount in binds},
        )
    assert readable == READABLE
    account = (stack.host["MLFLOW_TRACKING_USERNAME"], stack.host["MLFLOW_TRACKING_PASSWORD"])
    users = f"{stack.host['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/users/create"
    refused = httpx.post(users, auth=account, json={"username": "another", "password": "a-long-password"})
    assert refused.status_code == 403
    assert "CapEff:\t0000000000000000" in stack.inside("worker", "cat /proc/self/status")


def test_two_runs_at_once_on_a_newly_started_stack_outlast_the_prefect_server(stack: Compose) -> None:
    """Two workers with one clone: one run of a tag, one of the branch that the host has switched to."""
    stack.run("git", "tag", "v1")
    stack.run("git", "switch", "--quiet", "--create", "feature")
    (stack.copy.folder / "README.md").write_text("Another state\n")
    stack.copy.commit()
    small = {"settings": ["data.image_size=32"], "targets": ["prepare"]}
    runs = {
        "v1": stack.run_deployment("phantom", revision="v1", **small)["id"],
        "feature": stack.run_deployment("breastmnist", targets=["prepare"])["id"],
    }
    for run in runs.values():
        stack.wait(run, "RUNNING", "COMPLETED")
    workers = stack("ps", "--quiet", *WORKERS)
    stack("stop", "prefect")
    time.sleep(240)  # longer than 180 s without heartbeats, after which a run counts as crashed
    stack("start", "prefect")
    labels = []
    for revision, run in runs.items():
        stack.wait(run, "COMPLETED")
        labels.append(stack.prefect("GET", f"/flow_runs/{run}")["labels"])
        assert labels[-1]["dcube.commit"] == stack.run("git", "rev-parse", f"{revision}^{{commit}}").strip()
    assert stack("ps", "--quiet", "--status", "running", *WORKERS) == workers, "both still run; none was started again"
    assert {one["prefect.worker.name"] for one in labels} <= {"worker-0", "worker-1"}


def test_run_survives_killed_worker_and_stopped_database_and_is_fetched(stack: Compose) -> None:
    """A run on own data completes although PostgreSQL is stopped for a minute and both workers are killed."""
    stack.run("dcube", "data", "add", "phantom")
    mine = stack.copy.folder.with_name("mine")
    shutil.move(stack.copy.folder / "data/phantom", mine)
    stack.run("dcube", "data", "add", "mydata", str(mine))
    stack.copy.commit()
    assert "copied to the bucket" in stack.run("dcube", "data", "push")
    own = SHORT | {"data": SHORT["data"] | {"name": "mydata"}}
    begun = stack.run_deployment("phantom", params=Params.model_validate(own).model_dump(mode="json"))
    run = begun["id"]
    stack.wait(run, "RUNNING")
    time.sleep(30)
    stack("stop", "postgres")
    time.sleep(60)
    stack("start", "postgres")
    time.sleep(60)
    assert stack.state(run) == "RUNNING" and stack.prefect("GET", f"/flow_runs/{run}")["run_count"] == 1
    stack("restart", "--timeout", "0", *WORKERS)
    stack.wait(run, "COMPLETED")
    shown = json.dumps(stack.prefect("POST", "/artifacts/filter", json={"flow_runs": {"id": {"any_": [run]}}}))
    assert f"({stack.host['MLFLOW_TRACKING_URI']}/#/" in shown and "http://mlflow:" not in shown, "links for browsers"
    name = f"{begun['name']}-{run[:8]}"
    assert name in stack("logs", *WORKERS)
    stack.run("dcube", "fetch", name)
    stack.run("dvc", "exp", "apply", name)
    assert (stack.copy.folder / "outputs/evaluation/dcube/metrics.json").exists()
    assert "dcube-mydata" in stack.run("dcube", "models", "dcube-mydata")
