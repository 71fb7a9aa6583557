"""The line that a stage begins with: which one of how many it is, and how long the plan says that it takes."""

import sys
from contextlib import suppress
from pathlib import Path

from dcube.artifacts.layout import PARAMS, PLAN
from dcube.artifacts.schemas.plan import PlanSummary
from dcube.config.loading import load_params
from dcube.errors import DcubeError
from dcube.runtime.settings import read_settings


def announce(stage: str) -> None:
    """Print it for a person's own `dvc repro`; an orchestrator shows its stages itself, and torchrun starts copies."""
    settings = read_settings()
    if settings.stage is None or settings.stages is not None or settings.torchrun is not None:
        return
    with suppress(DcubeError):  # no plan, or none that can be read: nothing depends on it
        if line := planned_line(stage, Path()):
            print(line, file=sys.stderr, flush=True)


def planned_line(stage: str, folder: Path) -> str:
    """Empty where the plan is of another data set, or does not know the stage.

    Args:
        stage: as DVC names it.
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
