"""The stages of `dvc.yaml` in DVC's own order. The chain is written there and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dvc.repo import Repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.stage import PipelineStage

from dcube.errors import DcubeError
from dcube.repository.workspace import dvc_errors_in_one_line


@dataclass(frozen=True)
class StageNeeds:
    """A stage, its name for people (`desc`), and what it needs of the machine (`meta`)."""

    name: str
    description: str
    gpu: bool = False
    retries: int = 0
    timeout_minutes: float | None = None


def stages_in_order(folder: Path, targets: Sequence[str] = ()) -> list[StageNeeds]:
    """All stages of the working copy, or `targets` (`evaluate` means every `evaluate@…`) and what they depend on.

    Raises:
        DcubeError: for a graph that DVC refuses, an unknown target, or a source file that nothing makes.
    """
    with dvc_errors_in_one_line(), Repo(str(folder)) as repo:
        chosen = [stage for target in targets for stage in repo.stage.collect(_addressed(folder, target))]
        plan = plan_repro(get_active_graph(repo.index.graph), chosen or None)
        stages = [stage for stage in plan if isinstance(stage, PipelineStage)]
        _refuse_missing_sources(repo, stages)
        return [_needs(stage) for stage in stages]


def _addressed(folder: Path, target: str) -> str:
    return f"{folder / 'dvc.yaml'}:{target}"


def _needs(stage: PipelineStage) -> StageNeeds:
    try:
        return StageNeeds(name=stage.name, description=stage.desc or stage.name, **(stage.meta or {}))
    except TypeError:
        known = ", ".join(list(StageNeeds.__dataclass_fields__)[2:])
        raise DcubeError(f"dvc.yaml: meta of {stage.name} may hold {known}; found {', '.join(stage.meta)}") from None


def _refuse_missing_sources(repo: Repo, stages: list[PipelineStage]) -> None:
    made = [Path(out.fs_path) for out in repo.index.outs]
    for stage in stages:
        for dependency in stage.deps:
            path = Path(dependency.fs_path)
            related = any(path.is_relative_to(out) or out.is_relative_to(path) for out in made)
            if not related and not path.exists():
                name = path.relative_to(repo.root_dir)
                raise DcubeError(
                    f"{name}, which {stage.name} reads, is not in this revision: commit {name} or {name}.dvc"
                )
