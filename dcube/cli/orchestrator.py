"""Calls to the orchestrator. Only this module of `dcube` names programs of `flows`.

They run as separate processes, because `dcube` must not import the orchestrator.
"""

import re
import subprocess
import sys
from collections.abc import Sequence

from dcube.errors import DcubeError, last_error
from dcube.runtime.processes import child_environment
from dcube.runtime.settings import read_settings

STUDY, FLOW_RUN = "flows.study", "flows.flow_run"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # name of a pipeline that Prefect has run


def compute_study(options: Sequence[str]) -> None:
    """Compute a study on the workers. `options` are those of `python -m flows.study`."""
    if subprocess.run([sys.executable, "-m", STUDY, *options]).returncode:
        raise DcubeError("the workers did not compute all of it: see above; finished trials are reused next time")


def describe_pipeline(name: str) -> str:
    """Return the name of a pipeline. If Prefect has run it, add the description from the server of `PREFECT_API_URL`.

    Raises:
        DcubeError: if the server does not answer or does not know the run.
    """
    if not UUID.fullmatch(name):
        return name
    if not read_settings().prefect_api_url:
        return f"{name} (Prefect run, PREFECT_API_URL is not set: not looked up)"
    command = [sys.executable, "-m", FLOW_RUN, name]
    found = subprocess.run(command, env=child_environment(), capture_output=True, text=True)
    if found.returncode:
        raise DcubeError(last_error(found.stderr.splitlines()) or f"the Prefect run {name} cannot be looked up")
    return f"{name} (Prefect run {found.stdout.strip()})"
