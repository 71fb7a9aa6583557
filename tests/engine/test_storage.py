"""The settings of the shared bucket, checked against a real S3 server."""

import http.server
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import botocore.auth
import pytest

from dcube.errors import DcubeError
from dcube.repository.data_remote import REMOTE, remote_settings
from dcube.runtime.s3 import Storage, StorageUnavailableError, check_storage
from tests.support.s3_server import S3Server


@pytest.fixture
def server(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


def complaint() -> str:
    with pytest.raises(DcubeError) as caught:
        check_storage()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_correct_settings_pass_and_leave_no_probe_object(server: S3Server) -> None:
    check_storage()
    assert list(server.folder.rglob("*probe*")) == []


def test_check_passes_without_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DCUBE_STORAGE", raising=False)
    assert Storage.configured() is None
    check_storage()


@pytest.mark.parametrize(
    "variable, value, said",
    [
        ("AWS_ACCESS_KEY_ID", "another", "correct AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "another", "correct AWS_SECRET_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("DCUBE_STORAGE", "s3://elsewhere/project", "bucket elsewhere of"),
        ("AWS_ENDPOINT_URL", "nonsense", "correct AWS_ENDPOINT_URL"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", "does not answer"),
    ],
)
def test_wrong_setting_is_refused_with_a_hint(
    variable: str, value: str, said: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert said in complaint()


def test_https_address_of_a_server_without_tls_is_refused(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{server.port}")
    assert "has no valid TLS" in complaint()


@pytest.mark.parametrize("hours, said", [(2, "120 minutes ahead of"), (-2, "120 minutes behind")])
def test_wrong_clock_is_named_with_its_offset(
    hours: int, said: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = botocore.auth.get_current_datetime
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *words, **named: right(*words, **named) + timedelta(hours=hours)
    )
    monkeypatch.setattr("dcube.runtime.s3.datetime", _Shifted(hours))
    assert f"this machine's clock is {said} that of S3" in complaint()


class _Shifted:
    def __init__(self, hours: int) -> None:
        self.hours = hours

    def now(self, zone):
        return datetime.now(zone) + timedelta(hours=self.hours)


@pytest.fixture
def web_server() -> Iterator[http.server.HTTPServer]:
    """A server that is not S3 and answers every request with its `status`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(server.status)  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status, kind", [(404, DcubeError), (503, StorageUnavailableError)])
def test_endpoint_that_is_not_s3_or_fails_is_refused(
    status: int, kind: type, web_server, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    web_server.status = status
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{web_server.server_port}")
    with pytest.raises(kind, match="is not an S3 server" if status == 404 else "an internal error"):
        check_storage()


@pytest.mark.parametrize(
    "address", ["team", "s3://", "s3://x", "https://host/team", "s3://team/../other", "s3://te am"]
)
def test_malformed_storage_address_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCUBE_STORAGE", address)
    assert "write it as s3://bucket/prefix" in complaint()


def test_storage_addresses_include_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCUBE_STORAGE", "s3://team/")
    storage = Storage.configured()
    assert storage and storage.key("a", "b") == "a/b" and storage.address("dvc") == "s3://team/dvc"
    monkeypatch.setenv("DCUBE_STORAGE", "s3://team/one/two/")
    storage = Storage.configured()
    assert storage and storage.address("dvc") == "s3://team/one/two/dvc"
    assert remote_settings()["remote"][REMOTE]["url"] == "s3://team/one/two/dvc"
