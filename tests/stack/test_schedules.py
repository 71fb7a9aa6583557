"""A schedule on the running platform: it fires, its runs wait for one another, and none is lost."""

import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from dcube.runtime.processes import child_environment, process_group
from flows.stack.settings import Stack
from tests.support.checkout import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        version("sqlalchemy") >= "2.1",
        reason="the installed versions are not those of requirements.lock: with SQLAlchemy 2.1, no schedule fires",
    ),
]
RUNS, SECONDS_BETWEEN = 3, 10
SLOW = "import time\nfrom prefect import flow\n\n@flow\ndef slow():\n    time.sleep(12)\n"


def test_scheduled_runs_wait_for_one_another_and_all_complete(
    platform: Stack, prefect_api: httpx.Client, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    api = prefect_api
    begin = datetime.now(UTC) + timedelta(seconds=20)
    rule = f"DTSTART:{begin:%Y%m%dT%H%M%SZ}\nRRULE:FREQ=SECONDLY;INTERVAL={SECONDS_BETWEEN};COUNT={RUNS}"
    api.post("/work_pools/", json={"name": "one-at-a-time", "type": "process"}).raise_for_status()
    deployment = {
        "name": "often",
        "flow_id": api.post("/flows/", json={"name": "slow"}).raise_for_status().json()["id"],
        "work_pool_name": "one-at-a-time",
        "path": str(tmp_path),
        "entrypoint": "slow.py:slow",
        "schedules": [{"active": True, "schedule": {"rrule": rule, "timezone": "UTC"}}],
    }
    api.post("/deployments/", json=deployment).raise_for_status()

    def states() -> Counter[str]:
        found = api.post("/flow_runs/filter", json={"flows": {"name": {"any_": ["slow"]}}}).raise_for_status().json()
        now = datetime.now(UTC)
        due = [run for run in found if datetime.fromisoformat(run["expected_start_time"]) < now]
        return Counter(run["state_type"] for run in due)

    command = [sys.executable, "-m", "flows.worker", "start", "--pool", "one-at-a-time", "--limit", "1"]
    environment = child_environment({**platform.client, "PREFECT_HOME": str(tmp_path / "prefect")})
    seen: list[Counter[str]] = []
    with process_group(command, env=environment, cwd=ROOT) as worker:
        deadline = time.monotonic() + 300
        while states()["COMPLETED"] < RUNS:
            assert worker.poll() is None and time.monotonic() < deadline, seen[-1:]
            seen.append(states())
            time.sleep(0.5)
        worker.terminate()
    assert any(at["RUNNING"] and at["SCHEDULED"] for at in seen), "runs have waited for another"
    assert all(at["RUNNING"] + at["PENDING"] <= 1 for at in seen)
    assert states() == {"COMPLETED": RUNS}
