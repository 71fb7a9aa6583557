"""The stages of `dvc.yaml` in DVC's own order, which `artifacts/dvc_files.py` follows for the lines of stages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dcube.errors import DcubeError
from dcube.repository.dvc_internals import PlannedStage, open_repository, outputs, planned_stages


@dataclass(frozen=True)
class StageNeeds:
    """A stage with its display name (`desc`) and its requirements (`meta`)."""

    name: str
    description: str
    gpu: bool = False
    retries: int = 0
    timeout_minutes: float | None = None


def stages_in_order(folder: Path, targets: Sequence[str] = ()) -> list[StageNeeds]:
    """Return all stages of the working copy, or `targets` and their dependencies (`evaluate`: every `evaluate@…`).

    Raises:
        DcubeError: if DVC refuses the graph, if a target is unknown, if a `meta` has unknown keys, if a stage is
            frozen, or if a source file that no stage makes is missing.
    """
    with open_repository(folder) as repo:
        stages = planned_stages(repo, targets)
        _refuse_frozen(stages)
        _refuse_missing_sources(folder, stages, outputs(repo))
        return [_needs(stage) for stage in stages]


def _needs(stage: PlannedStage) -> StageNeeds:
    try:
        return StageNeeds(name=stage.name, description=stage.description or stage.name, **stage.meta)
    except TypeError:
        known = ", ".join(list(StageNeeds.__dataclass_fields__)[2:])
        raise DcubeError(f"dvc.yaml: meta of {stage.name} may hold {known}; found {', '.join(stage.meta)}") from None


def _refuse_frozen(stages: list[PlannedStage]) -> None:
    if frozen := [stage.name for stage in stages if stage.frozen]:
        raise DcubeError(
            f"dvc.yaml: {', '.join(frozen)} is frozen, and DVC never runs it: `dvc unfreeze {' '.join(frozen)}`"
        )


def _refuse_missing_sources(folder: Path, stages: list[PlannedStage], made: list[Path]) -> None:
    for stage in stages:
        for path in stage.reads:
            related = any(path.is_relative_to(out) or out.is_relative_to(path) for out in made)
            if not related and not path.exists():
                name = path.relative_to(folder.resolve())
                moved = _unread(stages, made)
                mend = f"`dvc move {moved[0].name} {name}`" if moved else f"commit {name} or {name}.dvc"
                raise DcubeError(f"{name}, which {stage.name} reads, is not in this revision: {mend}")


def _unread(stages: list[PlannedStage], made: list[Path]) -> list[Path]:
    """Return the data of `.dvc` files that no stage reads, such as `data` after `dvc move data elsewhere`."""
    read = [path for stage in stages for path in stage.reads]
    tracked = [out for out in made if Path(f"{out}.dvc").exists()]
    return [out for out in tracked if not any(path.is_relative_to(out) or out.is_relative_to(path) for path in read)]
