"""The first line that a stage prints: its position among the stages, with the planned time or a description."""

import sys
from contextlib import suppress
from pathlib import Path

from dcube.artifacts.dvc_files import stages_in_order
from dcube.artifacts.layout import PARAMS, PLAN
from dcube.artifacts.schemas.plan import PlanSummary
from dcube.config.loading import load_params
from dcube.errors import DcubeError
from dcube.runtime.settings import read_settings


def announce(stage: str) -> None:
    """Print the line for a `dvc repro` by hand, but not for an orchestrator or in processes that torchrun started."""
    settings = read_settings()
    if settings.stage is None or settings.stages is not None or settings.torchrun is not None:
        return
    line = ""
    with suppress(DcubeError):  # the line is only information, so a missing or damaged plan is ignored
        line = planned_line(stage, Path())
    if line := line or unplanned_line(stage):
        print(line, file=sys.stderr, flush=True)


def unplanned_line(stage: str) -> str:
    """Return the line without times; empty if `dvc.yaml` does not contain the stage."""
    described = stages_in_order()
    if stage not in described:
        return ""
    return f"stage {list(described).index(stage) + 1} of {len(described)}: {stage} ({described[stage]})"


def planned_line(stage: str, folder: Path) -> str:
    """Return the line, or empty text if the plan is for another data set or does not contain the stage.

    Args:
        stage: DVC's name of the stage.
    """
    plan = PlanSummary.load(folder / PLAN)
    if stage not in plan.estimate or plan.dataset != load_params(folder / PARAMS).data.name:
        return ""
    names = list(plan.estimate)
    place = names.index(stage)
    left = sum(plan.estimate[name] for name in names[place:])
    seconds = plan.estimate[stage]
    return (
        f"stage {place + 1} of {len(names)}: {stage} (planned: {seconds / 60:.1f} min, "
        f"{left / 60:.1f} min with all that follow)"
    )
