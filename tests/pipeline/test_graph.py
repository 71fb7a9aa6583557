"""dvc.yaml checked against the code: every module that a stage imports is among its dependencies."""

import ast
from pathlib import Path
from typing import get_args

import pytest
import yaml

from dcube.artifacts.candidates import STAGES as TRAINING_STAGES
from dcube.artifacts.candidates import CandidateName
from dcube.repository.graph import stages_in_order
from tests.support.checkout import ROOT, outs_of

GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = GRAPH["stages"]

# Modules that report, or only name paths: a change in them changes no result.
REPORTING = (
    "dcube.artifacts.schemas.artifact",
    "dcube.artifacts.atomic",
    "dcube.artifacts.checksums",
    "dcube.artifacts.dvc_files",
    "dcube.artifacts.layout",
    "dcube.artifacts.markdown",
    "dcube.config",
    "dcube.engine.progress",
    "dcube.errors",
    "dcube.feasibility",
    "dcube.report",
    "dcube.runtime",
    "dcube.stages.process",
    "dcube.engine.checkpoint_cleanup",
    "dcube.tracking",
)


def reports(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in REPORTING) or module in (
        "dcube",
        "dcube.stages",
    )


def module_path(module: str) -> Path | None:
    base = ROOT / Path(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists()), None)


def imports(module: str) -> set[str]:
    path = module_path(module)
    assert path is not None
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] == "dcube" and module_path(name)}


def closure(module: str) -> set[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            if not reports(current):
                waiting += imports(current)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_changed_library_module_reruns_the_stages_that_use_it(stage: str) -> None:
    deps = [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith("dcube")]
    used = {module_path(m) for m in closure(f"dcube.stages.{stage}") if not reports(m)}
    empty = {p for p in used if p and p.name == "__init__.py" and len(ast.parse(p.read_text()).body) <= 1}
    missing = {p for p in used - empty if p and not any(p == d or d in p.parents for d in deps)}
    assert sorted(str(p.relative_to(ROOT)) for p in missing) == []
    assert all(dep.exists() for dep in deps)


def outside(path: Path) -> set[str]:
    """Top-level names of everything that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        names |= {node.module} if isinstance(node, ast.ImportFrom) and node.module else set()
    return {name.split(".")[0] for name in names}


def test_stages_import_no_prefect_or_dvc_and_flows_import_no_torch() -> None:
    for stage in STAGES:
        for module in closure(f"dcube.stages.{stage}"):
            path = module_path(module)
            assert path and not outside(path) & {"prefect", "dvc"}, module
    for path in (ROOT / "dcube").rglob("*.py"):
        assert "prefect" not in outside(path), path
    for path in (ROOT / "flows").rglob("*.py"):
        assert not outside(path) & {"torch", "timm", "diffusers", "torchvision"}, path


def test_stage_commands_contain_no_parameters() -> None:
    for stage in STAGES.values():
        assert stage["cmd"].replace("${item.model}", "").count("$") == 0


def test_every_stage_declares_its_description_and_needs() -> None:
    for name, stage in STAGES.items():
        assert stage["desc"], name
        assert set(stage["meta"]) == {"gpu", "retries", "timeout_minutes"}, name


def test_every_candidate_has_training_evaluation_and_metrics() -> None:
    candidates = STAGES["evaluate"]["matrix"]["model"]
    trained = {stage: out for stage, it in STAGES.items() for out in outs_of(it) if out.startswith("outputs/models/")}
    assert trained == {stage: f"outputs/models/{name}" for name, stage in TRAINING_STAGES.items()}
    assert candidates == list(TRAINING_STAGES) == list(get_args(CandidateName))
    assert {f"outputs/evaluation/{name}/headline.json" for name in candidates} < set(GRAPH["metrics"])


def test_imagenet_probe_is_evaluated_first_and_d_cube_before_other_candidates() -> None:
    order = [stage.name for stage in stages_in_order(ROOT)]
    assert order[:4] == ["prepare", "train_imagenet_probe", "evaluate@imagenet_probe", "train_diffusion"]
    later = ("train_untrained_uvit", "train_sub_features", "train_baseline", "track_fid", "probe")
    assert order.index("evaluate@dcube") < min(map(order.index, later))
    assert order[-1] == "register"
