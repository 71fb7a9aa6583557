"""The platform's servers, and Prefect's API."""

from collections.abc import Iterator

import httpx
import pytest

from flows.stack.settings import ADMINISTRATOR, Stack
from tests.support.platform_servers import running_platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, S3, MLflow and Prefect, shared by all tests; `Stack.client` is what a client needs to know."""
    with running_platform(tmp_path_factory.mktemp("platform")) as stack:
        yield stack


@pytest.fixture
def prefect_api(platform: Stack) -> Iterator[httpx.Client]:
    """Prefect's API, as its administrator."""
    account = (ADMINISTRATOR, platform.secrets.prefect_password)
    with httpx.Client(base_url=f"{platform.prefect_address}/api", auth=account, timeout=60) as api:
        yield api
