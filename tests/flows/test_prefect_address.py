"""A Prefect server that is not there ends in a line."""

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from dcube.errors import DcubeError
from dcube.runtime.ports import free_port
from flows.temporary_server import ensure_server


def test_a_dead_address_is_named():
    address = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: address}):
        with pytest.raises(DcubeError, match=f"the Prefect server {address} does not answer"):
            ensure_server()
