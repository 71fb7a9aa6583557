"""The platform on one machine: what it keeps private, what it survives, what it leaves behind."""

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import httpx
import psutil
import psycopg2
import pytest

from dcube.errors import DcubeError
from flows.stack.postgres import ROLES, postgres
from flows.stack.settings import ADMINISTRATOR, HOST, Ports, Stack
from flows.stack.supervision import Server, processes_of, supervised
from tests.support.checkout import ROOT
from tests.support.ports import free_ports


def server_of(program: str, healthy: bool = True) -> Server:
    return Server(name="listener", command=[sys.executable, "-c", program], environment={}, is_healthy=lambda: healthy)


def stack_command(folder: Path, ports: Ports) -> list[str]:
    variables = [f"DCUBE_{name.upper()}_PORT={port}" for name, port in asdict(ports).items()]
    return ["env", *variables, sys.executable, "-m", "flows.stack", "--folder", str(folder)]


def test_secrets_are_generated_once_and_private_to_their_owner(tmp_path: Path) -> None:
    first = Stack.at(tmp_path / "a")
    file, environment = tmp_path / "a/credentials.json", first.write_environment()
    assert Stack.at(tmp_path / "a").secrets == first.secrets != Stack.at(tmp_path / "b").secrets
    assert {stat.S_IMODE(path.stat().st_mode) for path in (file, environment)} == {0o600}
    values = list(first.secrets.model_dump(exclude={"format_version"}).values())
    assert len(set(values)) == len(values) and min(map(len, values)) >= 40


def test_secrets_that_an_older_version_lacked_are_added_once(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    older = Stack.at(tmp_path).secrets.model_dump(exclude={"artifacts_access_key", "artifacts_secret_key"})
    file.write_text(json.dumps(older))
    upgraded = Stack.at(tmp_path).secrets
    assert older.items() <= upgraded.model_dump().items() and Stack.at(tmp_path).secrets == upgraded


def test_platform_folder_is_private_to_its_owner(tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir(mode=0o755)
    assert stat.S_IMODE(Stack.at(tmp_path / "stack").folder.stat().st_mode) == 0o700


def test_environment_file_gives_a_shell_all_client_settings(tmp_path: Path) -> None:
    stack = Stack.at(tmp_path / "it's here")
    file = stack.write_environment()
    told = subprocess.run(["sh", "-c", '. "$0"; env', str(file)], capture_output=True, text=True, env={}, check=True)
    assert stack.client.items() <= dict(line.split("=", 1) for line in told.stdout.splitlines()).items()


def test_lost_secrets_are_not_replaced(tmp_path: Path) -> None:
    Stack.at(tmp_path)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "credentials.json").unlink()
    with pytest.raises(DcubeError, match=r"credentials.json is missing.*restore it, or remove"):
        Stack.at(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", '{"format_version": 1, "mlflow_password": 7070707}'])
def test_damaged_secrets_end_in_one_line_and_stay_unchanged(tmp_path: Path, content: str) -> None:
    secrets = Stack.at(tmp_path).secrets.model_dump(exclude={"format_version"}).values()
    (tmp_path / "credentials.json").write_text(content)
    with pytest.raises(DcubeError, match=r"credentials\.json .*: restore it, or remove the whole folder") as refused:
        Stack.at(tmp_path)
    assert not any(letters in str(refused.value) for letters in ("\n", "7070707", *secrets))
    assert (tmp_path / "credentials.json").read_text() == content


def test_taken_port_is_refused_with_a_hint(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        command = stack_command(tmp_path, replace(free_ports(), mlflow=port))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (f"error: port {port} of mlflow is taken: end what listens there, or set DCUBE_MLFLOW_PORT\n")


@pytest.mark.slow
def test_server_that_does_not_start_reports_the_reason(tmp_path: Path) -> None:
    server = server_of("print('no such disk'); exit(1)", healthy=False)
    with (
        pytest.raises(DcubeError, match=r"listener did not start: no such disk \(full log: .*listener.log\)"),
        supervised(tmp_path, [server]) as supervisor,
    ):
        supervisor.start(server)


def test_child_processes_of_a_server_end_before_it_restarts(tmp_path: Path) -> None:
    """A flow that a worker has started in a session of its own ends with the worker."""
    flow = "import subprocess, time; subprocess.Popen(['sleep', '1000'], start_new_session=True); time.sleep(1000)"
    server = server_of(flow)
    with supervised(tmp_path, [server]) as supervisor:
        supervisor.start(server)
        first = leader(tmp_path, flow)
        eventually(first.children)
        (left,) = first.children()
        first.kill()
        second = leader(tmp_path, flow, after=first)
        assert is_gone(left)
        eventually(second.children)
        (left,) = second.children()
    assert is_gone(left) and processes_of(tmp_path) == []


def leader(folder: Path, words: str, after: psutil.Process | None = None) -> psutil.Process:
    """The process of a server that has these words in its command, as soon as there is one."""
    found: list[psutil.Process] = []

    def has_started() -> bool:
        for process in processes_of(folder):
            with suppress(psutil.Error):
                parent, command = process.parent() or process, " ".join(process.cmdline())
                if "flows.stack.program" in parent.cmdline() and words in command and process != after:
                    found.append(process)
        return bool(found)

    eventually(has_started)
    return found[0]


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_settings_of_other_servers_do_not_reach_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "AWS_PROFILE", "RCLONE_CONFIG", "PGHOST"):
        monkeypatch.setenv(name, "elsewhere")
    program = "import os, time; print(sorted(n for n, v in os.environ.items() if v == 'elsewhere')); time.sleep(100)"
    server, log = server_of(program), tmp_path / "logs/listener.log"
    with supervised(tmp_path, [server]) as supervisor:
        supervisor.start(server)
        eventually(lambda: log.exists() and log.read_text())
    assert log.read_text() == "[]\n"


@pytest.mark.slow
def test_postgres_keeps_its_data_and_refuses_wrong_passwords(tmp_path: Path) -> None:
    stack = Stack.at(tmp_path, free_ports())

    def connect(role: str, database: str, password: str) -> "psycopg2.extensions.connection":
        return psycopg2.connect(host=HOST, port=stack.ports.postgres, user=role, dbname=database, password=password)

    passwords = {"mlflow": stack.secrets.mlflow_database, "prefect": stack.secrets.prefect_database}
    server = postgres(stack)
    with supervised(tmp_path, [server]) as supervisor:
        supervisor.start(server)
        with connect("mlflow", "mlflow", passwords["mlflow"]) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT 42 AS value")
        for role in (*ROLES, "postgres"):
            for password in ("", "wrong"):
                with pytest.raises(psycopg2.OperationalError, match="password"):
                    connect(role, "mlflow", password)
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            connect("prefect", "mlflow", passwords["prefect"])
        leader(tmp_path, "bin/postgres").kill()  # its stale postmaster.pid stays behind
        eventually(lambda: not server.is_healthy())
        eventually(server.is_healthy)
        with connect("mlflow", "mlflow", passwords["mlflow"]) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT value FROM kept")
            assert cursor.fetchone() == (42,)


@contextmanager
def running_stack(folder: Path, ports: Ports) -> "Iterator[tuple[subprocess.Popen[str], Path]]":
    """Run `python -m flows.stack` until it is ready; yield the process and the file with its output."""
    output = folder.with_suffix(".out")
    with output.open("w") as file:
        process = subprocess.Popen(stack_command(folder, ports), cwd=ROOT, stdout=file, stderr=file, text=True)
    try:
        eventually(lambda: "ready after" in output.read_text() or process.poll() is not None, seconds=300)
        assert "ready after" in output.read_text(), output.read_text()
        yield process, output
    finally:
        process.terminate()
        process.wait(60)


def eventually(true: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.2)


@pytest.mark.slow
def test_platform_keeps_its_data_through_kills_and_restarts(tmp_path: Path) -> None:
    folder, ports = tmp_path / "stack", free_ports()
    with running_stack(folder, ports) as (process, output):
        stack = Stack.at(folder, ports)
        mlflow, administrator = stack.mlflow_address, (ADMINISTRATOR, stack.secrets.mlflow_password)
        experiments = f"{mlflow}/api/2.0/mlflow/experiments"
        made = httpx.post(f"{experiments}/create", json={"name": "kept"}, auth=administrator).raise_for_status()
        assert_private(stack, output)
        assert "already: end it first" in refusal(folder, ports)

        def is_kept() -> bool:
            found = httpx.get(f"{experiments}/get", params=made.json(), auth=administrator)
            return found.is_success and found.json()["experiment"]["name"] == "kept"

        leader(folder, "mlflow server").kill()
        eventually(lambda: "exited: mlflow" in output.read_text())
        eventually(lambda: answers(is_kept))
        leader(folder, "bin/postgres").kill()
        eventually(lambda: "exited: postgres" in output.read_text())
        eventually(lambda: answers(is_kept))  # clients of a restarted database connect anew by themselves

        process.send_signal(signal.SIGKILL)
        process.wait()
    with running_stack(folder, ports) as (process, output):
        assert httpx.get(f"{experiments}/get", params=made.json(), auth=administrator).is_success
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert time.monotonic() - began < 30
        assert output.read_text().endswith("stack: ended\n")
        assert processes_of(folder) == []


def answers(ask: Callable[[], bool]) -> bool:
    with suppress(httpx.TransportError):
        return ask()
    return False


def refusal(folder: Path, ports: Ports) -> str:
    done = subprocess.run(stack_command(folder, ports), cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stderr


def assert_private(stack: Stack, output: Path) -> None:
    """No secret on a command line, in a log or on the screen; no port for other machines."""
    secrets = list(stack.secrets.model_dump(exclude={"format_version"}).values())
    readable = [path for path in stack.folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    texts = [output.read_text(), *(path.read_bytes().decode(errors="replace") for path in readable)]
    running = processes_of(stack.folder)
    texts += [" ".join(process.cmdline()) for process in running]
    assert not [text for text in texts for secret in secrets if secret in text]
    listening = [c for one in running for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {connection.laddr.ip for connection in listening} == {HOST}
    assert {connection.laddr.port for connection in listening} >= set(asdict(stack.ports).values())
