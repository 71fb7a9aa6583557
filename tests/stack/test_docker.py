"""Images, compose file and job templates, as far as they can be checked without a Docker engine."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import compose
import jsonschema
import kubernetes_validate
import prefect_kubernetes.worker
import psycopg2
import pytest
import yaml
from docker.models.containers import _create_container_args
from prefect.client.schemas.objects import FlowRun
from prefect.server.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from prefect_docker.worker import DockerWorkerJobConfiguration
from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration

from dcube.runtime.ports import free_port
from dcube.runtime.settings import ELSEWHERE
from flows.stack.postgres import as_unprivileged, binaries
from flows.stack.servers import MLFLOW_USERS
from flows.stack.settings import HOST, Secrets, Stack
from flows.stack.supervision import Server, supervised
from tests.support.checkout import ROOT

DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
CREDENTIALS = [
    "POSTGRES_PASSWORD",
    "MLFLOW_DATABASE_PASSWORD",
    "PREFECT_DATABASE_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_PASSWORD",
    "MLFLOW_SESSION_KEY",
    "PREFECT_PASSWORD",
]


BASE = {"BASE_IMAGE": "docker.io/library/python:3.11-slim-bookworm"}
NOBODY: Any = object()  # a Prefect client that is never called; without one, Prefect starts a server


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, arguments), continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_passes_hadolint(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint")
    assert hadolint, "hadolint is among the development requirements: `make setup`"
    done = subprocess.run([hadolint, str(dockerfile)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_copies_existing_files_and_runs_without_privileges(dockerfile: Path) -> None:
    found = instructions(dockerfile)
    for instruction, arguments in found:
        if instruction in {"COPY", "ADD"} and not arguments.startswith("--from="):
            assert all((ROOT / source).exists() for source in arguments.split()[:-1]), arguments
        if instruction in {"ENV", "ARG", "LABEL"}:
            assert not re.search(r"password|secret|token|_key", arguments, re.IGNORECASE), arguments
    assert [arguments for instruction, arguments in found if instruction == "USER"] == ["1000"]
    after_user = found[[instruction for instruction, _ in found].index("USER") :]
    assert not [instruction for instruction, _ in after_user if instruction == "RUN"]
    text = dockerfile.read_text()
    assert "--constraint requirements.lock" in text and "UV_COMPILE_BYTECODE=1" in text
    last = text[text.rindex("\nFROM") :]
    assert "pip install" not in last and "--mount=type=cache" not in last, "what builds stays in earlier stages"


def test_build_context_is_an_explicit_list() -> None:
    """No data, credential, database or history can reach an image."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    assert allowed == {"dcube", "flows", "docker/*.sh", "pyproject.toml", "requirements.lock", "README.md", "LICENSE"}
    assert not [path for path in DOCKER.glob("*.sh") if ".env" in path.name]


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=lambda path: path.name)
def test_script_is_executable_and_parses(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True)


def resolved(*files: str | Path, without: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
    """`docker compose config` with every credential except `without`."""
    environment = variables | {name: f"value-of-{name}" for name in CREDENTIALS if name != without}
    command = [str(Path(compose.__file__).with_name("docker-compose"))]
    for file in ("compose.yaml", *files):
        command += ["--file", str(DOCKER / file)]
    # An empty file instead of docker/.env, which a person may have filled.
    command += ["--env-file", os.devnull, "config", "--format", "json"]
    path = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(command, env=path | environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def platform() -> dict[str, Any]:
    done = resolved()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("missing", CREDENTIALS)
def test_compose_refuses_a_missing_credential(missing: str) -> None:
    done = resolved(without=missing)
    assert done.returncode != 0
    assert f"required variable {missing} is missing a value: give it in docker/.env" in done.stderr


def test_compose_file_requires_every_credential(platform: dict[str, Any]) -> None:
    """The file itself contains no password."""
    assert set(re.findall(r"\${(\w+):\?", (DOCKER / "compose.yaml").read_text())) == set(CREDENTIALS)
    for service in platform["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY|AUTH_STRING|CONNECTION_URL|STORE_URI", name):
                assert "value-of-" in value, name


def test_servers_are_reachable_only_from_this_machine(platform: dict[str, Any]) -> None:
    ports = {name: service.get("ports", []) for name, service in platform["services"].items()}
    assert {port["host_ip"] for published in ports.values() for port in published} == {"127.0.0.1"}
    assert {name for name, published in ports.items() if published} == {"s3", "mlflow", "prefect"}


def test_services_have_health_checks_limits_and_persistent_volumes(platform: dict[str, Any]) -> None:
    services = platform["services"]
    assert set(services) == {"postgres", "s3", "mlflow", "prefect", "setup", "worker"}
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"] and service["cap_drop"] == ["ALL"], name
        assert not service.get("privileged")
        built_here = service["image"].startswith("dcube-")
        assert built_here or re.search(r":\d", service["image"]), f"{name}: an image without a version"
        assert not built_here or "build" in service or service["pull_policy"] == "never", name
        for other in service.get("depends_on", {}):
            assert other in services
    watched = {name for name, service in services.items() if "test" in service.get("healthcheck", {})}
    assert watched == {"postgres", "s3", "mlflow", "prefect"}  # the worker's image brings its own
    assert "HEALTHCHECK" in dict(instructions(DOCKER / "worker.Dockerfile"))
    mounts = [volume for service in services.values() for volume in service.get("volumes", [])]
    kept = {mount["source"] for mount in mounts if mount["type"] == "volume"}
    assert kept == set(platform["volumes"]) == {"postgres", "objects", "artifacts", "worker"}
    for name, service in services.items():
        assert service["logging"]["options"]["max-size"], f"the log of {name} grows for ever"
        assert int(service["mem_limit"]) > int(service.get("shm_size", 0)), name


def test_containers_get_only_the_credentials_and_files_they_need(platform: dict[str, Any]) -> None:
    services = platform["services"]
    for name in ("worker", "setup"):
        given = json.dumps(services[name]["environment"])
        for credential in {"POSTGRES_PASSWORD", "MLFLOW_ADMIN_PASSWORD", "MLFLOW_SESSION_KEY"}:
            assert f"value-of-{credential}" not in given, name
        (mounted,) = [volume for volume in services[name]["volumes"] if volume["type"] == "bind"]
        assert mounted["source"] == str(ROOT / ".git") and mounted["read_only"], "beside it are docker/.env and data"
    for name in ("mlflow", "prefect", "postgres", "setup"):
        assert "value-of-S3" not in json.dumps(services[name]), name
    assert not any(volume["type"] == "volume" for volume in services["setup"]["volumes"]), "the salt is the worker's"
    assert services["setup"]["restart"] == "no", "else `up --wait` waits for ever"


def test_every_worker_has_its_own_gpu_and_shared_memory() -> None:
    services = json.loads(resolved("compose.gpus.yaml").stdout)["services"]
    for number, worker in enumerate([services["worker"], services["worker-1"]]):
        (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": [str(number)], "capabilities": ["gpu"]}
        assert int(worker["shm_size"]) == 8 * 1024**3
        assert worker["hostname"] == f"worker-{number}"  # its name on the Prefect server
    assert "build" not in services["worker-1"] and services["worker-1"]["pull_policy"] == "never"
    assert services["worker-1"]["volumes"] == services["worker"]["volumes"], "one clone"
    assert "NVIDIA_VISIBLE_DEVICES" not in (DOCKER / "worker.Dockerfile").read_text()


def test_credentials_are_generated_once_and_private_to_their_owner(tmp_path: Path) -> None:
    shutil.copy(DOCKER / "credentials.sh", tmp_path)
    (tmp_path / ".env").write_text("DCUBE_MLFLOW_PORT=5999\nS3_SECRET_KEY=mine\n")
    (tmp_path / ".env").chmod(0o600)
    for _ in range(2):
        subprocess.run(["sh", str(tmp_path / "credentials.sh")], check=True, capture_output=True)
        made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
        assert set(CREDENTIALS) < set(made) and made["S3_SECRET_KEY"] == "mine"
    assert (tmp_path / ".env").stat().st_mode & 0o77 == (tmp_path / "env").stat().st_mode & 0o77 == 0
    host = dict(line.removeprefix("export ").split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert host["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5999" and host["AWS_SECRET_ACCESS_KEY"] == "mine"
    assert host["MLFLOW_TRACKING_PASSWORD"] == made["MLFLOW_PASSWORD"] != made["MLFLOW_ADMIN_PASSWORD"]
    assert set(host) == set(Stack.at(tmp_path / "stack").client), "as `make stack` writes it"


def test_cpu_platform_requests_no_gpu() -> None:
    done = resolved("compose.cpu.yaml")
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    for name in ("worker", "setup"):
        assert services[name]["image"] == "dcube-worker:cpu"
        assert services[name]["build"]["args"] == {"TORCH_BACKEND": "cpu"} | BASE
    assert "deploy" not in services["worker"]


def test_every_image_can_be_named_and_pinned() -> None:
    pinned = "docker.io/library/{name}@sha256:" + 64 * "0"
    python, postgres = pinned.format(name="python"), pinned.format(name="postgres")
    ours = {"DCUBE_SERVER_IMAGE": "team/server", "DCUBE_WORKER_IMAGE": "team/worker"}
    bases = {"DCUBE_BASE_IMAGE": python, "DCUBE_POSTGRES_IMAGE": postgres}
    services = json.loads(resolved("compose.cpu.yaml", "compose.gpus.yaml", **ours, **bases).stdout)["services"]
    assert {service["image"] for service in services.values()} == {postgres, *ours.values()}
    builds = [service["build"] for service in services.values() if "build" in service]
    assert {build["args"]["BASE_IMAGE"] for build in builds} == {python}
    assert {"DCUBE_BASE_IMAGE", *ours, *bases} <= ELSEWHERE.keys()
    assert BASE == {"BASE_IMAGE": default_base(DOCKERFILES[0])} == {"BASE_IMAGE": default_base(DOCKERFILES[1])}


def test_services_that_build_an_image_accept_further_build_arguments(tmp_path: Path) -> None:
    """An override file for another package index names `setup` and `worker`, which both keep their build context."""
    file = tmp_path / "offline.yaml"
    file.write_text("services: {setup: &x {build: {args: {TORCH_BACKEND: ''}}}, worker: *x}")
    services = json.loads(resolved("compose.cpu.yaml", file).stdout)["services"]
    for name in ("setup", "worker"):
        assert services[name]["build"]["context"] == str(ROOT)
        assert services[name]["build"]["args"] == {"TORCH_BACKEND": ""} | BASE


def default_base(dockerfile: Path) -> str:
    """The base image of a build without arguments."""
    (default,) = re.findall(r"^ARG BASE_IMAGE=(.*)$", dockerfile.read_text(), re.MULTILINE)
    return default


def test_mlflow_users_are_configured_as_without_docker() -> None:
    written = re.search(r"<<END\n(.*?)END\n", (DOCKER / "mlflow.sh").read_text(), re.DOTALL)
    assert written
    here = re.sub(r"\${MLFLOW_USERS_STORE_URI[^}]*}", "ADDRESS", written[1])
    assert here == MLFLOW_USERS.format(database="ADDRESS", administrator="admin", guard="mlflow_guard")


@pytest.mark.slow
def test_database_script_creates_roles_and_databases(tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    data.mkdir(mode=0o700)
    if as_unprivileged():
        shutil.chown(data, "nobody")
    initdb = [str(binaries() / "initdb"), "-D", str(data), "-U", "postgres", "--auth=scram-sha-256"]
    initdb += ["--no-locale", "--encoding=SQL_ASCII"]  # with which Prefect's deployments fail
    password = tmp_path / "password"
    password.write_text("super")
    subprocess.run([*as_unprivileged(), *initdb, f"--pwfile={password}"], check=True, capture_output=True)
    clients = {"PGHOST": HOST, "PGPORT": str(port), "PGPASSWORD": "super"}
    ready = [str(binaries() / "pg_isready"), "-q", "-h", HOST, "-p", str(port)]
    options = ["-D", str(data), "-p", str(port), "-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="]
    passwords = {"mlflow": "it's; DROP", "prefect": Secrets().prefect_database}
    server = Server(
        name="postgres",
        command=[*as_unprivileged(), str(binaries() / "postgres"), *options],
        environment={},
        is_healthy=lambda: subprocess.run(ready, check=False).returncode == 0,
    )
    with supervised(tmp_path, [server]) as supervisor:
        supervisor.start(server)
        environment = clients | {"PATH": f"{binaries()}:{os.environ['PATH']}", "POSTGRES_USER": "postgres"}
        environment |= {f"{role.upper()}_DATABASE_PASSWORD": value for role, value in passwords.items()}
        subprocess.run([str(DOCKER / "databases.sh")], env=environment, check=True)
        for role, databases in {"mlflow": ["mlflow", "mlflow_auth"], "prefect": ["prefect"]}.items():
            for database in ("mlflow", "mlflow_auth", "prefect"):
                address = {"host": HOST, "port": port, "user": role, "dbname": database, "password": passwords[role]}
                if database in databases:
                    with closing(psycopg2.connect(**address)) as connection:
                        assert connection.get_parameter_status("server_encoding") == "UTF8"
                else:
                    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
                        psycopg2.connect(**address)


def documented(kind: str) -> dict[str, Any]:
    """The example of `job_variables` in docs/platform.md."""
    text = (ROOT / "docs/platform.md").read_text()
    (block,) = re.findall(rf"```yaml\n# {kind}\n(.*?)```", text, re.DOTALL)
    return yaml.safe_load(block)["job_variables"]


def checked(variables: dict[str, Any], template: dict[str, Any]) -> None:
    """Check types by the pool's schema, and refuse names that it does not know: Prefect would silently ignore them."""
    assert set(variables) <= set(template["variables"]["properties"])
    jsonschema.validate(variables, template["variables"])


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_prefect_server_accepts_the_job_template(kind: str) -> None:
    template = json.loads((DOCKER / f"{kind}-job-template.json").read_text())
    WorkPoolCreate(name="gpu", type=kind, base_job_template=template)


def test_documented_docker_variables_reach_the_container() -> None:
    template = json.loads((DOCKER / "docker-job-template.json").read_text())
    variables = documented("docker")
    checked(variables, template)
    defaults = {name: one["default"] for name, one in template["variables"]["properties"].items() if "default" in one}
    assert set(defaults["env"]) == {"MLFLOW_TRACKING_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert all(value.startswith("{{ prefect.blocks.secret.dcube-") for value in defaults["env"].values())
    template["variables"]["properties"]["env"]["default"] = {}  # only a server can look these up
    del defaults["env"]
    filled = asyncio.run(
        DockerWorkerJobConfiguration.from_template_and_values(template, defaults | variables, client=NOBODY)
    )
    container = _create_container_args({**filled.container_create_kwargs, "image": filled.image, "version": "1.44"})
    host = container["host_config"]
    (device,) = host["DeviceRequests"]
    assert device["Driver"] == "nvidia" and device["Capabilities"] == [["gpu"]] and device["DeviceIDs"] == ["0"]
    assert host["ShmSize"] == 8 * 1024**3
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges:true"]
    assert filled.image == "dcube-worker:cuda" and filled.networks == ["dcube_default"] and not filled.privileged
    assert filled.env["DCUBE_REPOSITORY"] == "file:///checkout", "the default, which needs the checkout's history"
    assert filled.volumes == ["dcube_worker:/home/dcube/.dcube", "/path/to/checkout/.git:/checkout/.git:ro"]
    assert filled.env["MLFLOW_TRACKING_URI"] == "http://mlflow:5000" and filled.env["DCUBE_SALT_FILE"]


def test_documented_kubernetes_variables_reach_the_pod() -> None:
    template = json.loads((DOCKER / "kubernetes-job-template.json").read_text())
    default = KubernetesWorker.get_default_base_job_template()
    assert set(default["variables"]["properties"]) < set(template["variables"]["properties"])
    variables = documented("kubernetes")
    checked(variables, template)
    filled = asyncio.run(KubernetesWorkerJobConfiguration.from_template_and_values(template, variables, client=NOBODY))
    filled.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="a-run"))
    for version in ("1.33", "1.35", "1.37"):  # strict: a server silently drops unknown names
        kubernetes_validate.validate(filled.job_manifest, version, strict=True)
    pod = filled.job_manifest["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert pod["runtimeClassName"] == "nvidia" and pod["tolerations"] and pod["imagePullSecrets"]
    assert not pod["automountServiceAccountToken"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["envFrom"] == [{"secretRef": {"name": "dcube"}}]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    shared, files = pod["volumes"]
    assert shared == {"name": mounts["/dev/shm"], "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}
    assert files["name"] == mounts["/etc/dcube"] and files["secret"]["secretName"] == "dcube-files"
    for context in (pod["securityContext"], container["securityContext"]):  # the policy "restricted"
        assert context["runAsNonRoot"] and context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_prefect_password_is_in_no_kubernetes_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's worker gives its own password to each job, unless the two documented variables name a secret."""
    text = (ROOT / "docs/platform.md").read_text()
    exported = re.findall(r"export (PREFECT_INTEGRATIONS_KUBERNETES_\w+)=(\w+)", text)
    assert len(exported) == 2
    for name, value in exported:
        monkeypatch.setenv(name, value)
    template = json.loads((DOCKER / "kubernetes-job-template.json").read_text())
    values = documented("kubernetes")
    filled = asyncio.run(KubernetesWorkerJobConfiguration.from_template_and_values(template, values, client=NOBODY))
    with temporary_settings({PREFECT_API_AUTH_STRING: "admin:the-password"}):
        filled.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="a-run"))
    assert "the-password" in json.dumps(filled.job_manifest), "Prefect has another way now"
    manifest = json.dumps(created_by_worker(filled, monkeypatch))
    assert "the-password" not in manifest
    reference = {"name": "PREFECT_API_AUTH_STRING", "valueFrom": {"secretKeyRef": {"name": "dcube"}}}
    reference["valueFrom"]["secretKeyRef"]["key"] = "PREFECT_API_AUTH_STRING"
    (container,) = json.loads(manifest)["spec"]["template"]["spec"]["containers"]
    assert [one for one in container["env"] if one["name"] == reference["name"]] == [reference]


def created_by_worker(configuration: KubernetesWorkerJobConfiguration, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The manifest of the job that Prefect's worker would create, just before the request to the cluster."""
    sent = []

    class Cluster:
        def __init__(self, client: object) -> None: ...

        async def create_namespaced_job(self, namespace: str, manifest: dict[str, Any]) -> None:
            sent.append(manifest)

    monkeypatch.setattr(prefect_kubernetes.worker, "BatchV1Api", Cluster)
    asyncio.run(KubernetesWorker(work_pool_name="gpu")._create_job(configuration, client=NOBODY))
    return sent[0]
