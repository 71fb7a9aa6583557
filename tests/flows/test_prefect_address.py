"""An address at which no Prefect server answers ends in one line."""

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from dcube.errors import DcubeError
from dcube.runtime.ports import free_port
from flows.temporary_server import ensure_server


def test_unreachable_prefect_server_is_named():
    address = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: address}):
        with pytest.raises(DcubeError, match=f"the Prefect server {address} does not answer"):
            ensure_server()
