"""Planning of a run's parameters on the worker, for its hardware and for the time given in the form."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from prefect.artifacts import create_markdown_artifact

from dcube.artifacts.atomic import atomic_write
from dcube.artifacts.layout import PARAMS, PLAN, PLAN_PAGE
from dcube.artifacts.schemas.plan import PlanSummary
from dcube.errors import DcubeError, last_error
from dcube.planning.changes import planned_params
from dcube.runtime.process_output import follow
from dcube.runtime.processes import child_environment

KEPT_PLAN = Path(".dcube/plan.json")  # plan of this run; the file plan.json may come from the commit


def plan_parameters(
    folder: Path, name: str, minutes: float, settings: Sequence[str], on_line: Callable[[str], None]
) -> None:
    """Write params.yaml of the workspace `folder` with `dcube plan`. A rescheduled run keeps its first plan.

    Args:
        name: name of the data set.
        minutes: planned duration of the run, in minutes.
        settings: settings in the form `group.key=value` that the plan must keep.
        on_line: called with every line of output.

    Raises:
        DcubeError: if `dcube plan` fails, with its message.
    """
    kept = folder / KEPT_PLAN
    if kept.exists():
        atomic_write(folder / PARAMS, planned_params(PlanSummary.load(kept)).to_yaml().encode())
        return
    lines: list[str] = []

    def read(line: str) -> None:
        lines.append(line)
        on_line(line)

    by_hand = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "dcube.cli", "plan", name, "--minutes", str(minutes), "--replace", *by_hand]
    if follow(command, folder, child_environment(code=folder), read):
        raise DcubeError(last_error(lines) or "dcube plan ended without a message")
    atomic_write(kept, (folder / PLAN).read_bytes())
    page = (folder / PLAN_PAGE).read_text(encoding="utf-8")
    create_markdown_artifact(page, key="plan", description="Parameters, their reasons, and the time of every stage")
