"""Which stages a changed parameter reruns, by DVC's own answer for the real dvc.yaml, with files of one line."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from networkx import ancestors

from dcube.artifacts.candidates import STAGES
from dcube.config.loading import with_overrides
from dcube.config.schema import Params
from tests.support.checkout import ROOT, outs_of

GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())
EVALUATIONS = {f"evaluate@{name}" for name in STAGES}
ALL = set(GRAPH["stages"]) - {"evaluate"} | EVALUATIONS
AFTER_DIFFUSION = ALL - {"prepare", "train_imagenet_probe", "evaluate@imagenet_probe"}


def trainings(*candidates: str) -> set[str]:
    """The stages that train these candidates, and those that depend on them."""
    evaluations = {f"evaluate@{name}" for name in candidates}
    return {STAGES[name] for name in candidates} | evaluations | {"register"}


RERUN: dict[str, tuple[Any, set[str]]] = {
    "data.seed": (1, ALL),
    "diffusion.seed": (1, AFTER_DIFFUSION),
    "fid.seed": (1, AFTER_DIFFUSION),
    "features.keep": (2, {"select_features", "probe"} | trainings("dcube", "untrained_uvit")),
    "synthesis.seed": (1, {"synthesize"} | trainings(*set(STAGES) - {"imagenet_probe"})),
    "labels.count": (20, trainings(*STAGES)),
    "classifier.seed": (1, trainings("dcube", "untrained_uvit", "sub_features")),
    "classifier.cycle_weight": (1.0, trainings("dcube", "untrained_uvit")),
    "classifier.evaluation_timesteps": ([2], {"probe"} | trainings("dcube", "untrained_uvit")),
    "baseline.seed": (1, trainings("imagenet_probe", "baseline")),
    "probe.seed": (1, {"probe"}),
    "evaluation.seed": (1, EVALUATIONS | {"register"}),
    "compute.precision": ("float32", ALL - {"prepare"}),
}


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository in which every stage is up to date: its inputs and outputs are files of one line."""
    folder = tmp_path_factory.mktemp("committed")
    paths = {path for stage in GRAPH["stages"].values() for path in (*stage["deps"], *outs_of(stage))}
    names = {path.replace("${item.model}", name) for path in paths for name in STAGES}
    for name in names:
        file = folder / name if Path(name).suffix else folder / name / "file"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a line\n")
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "params.yaml").write_text(Params().to_yaml())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Repo.init(str(folder), no_scm=True) as repo:
            repo.commit(force=True)
    return folder


def rerun(folder: Path) -> set[str]:
    """The stages whose inputs or parameters changed, and all that depend on them."""
    with Repo(str(folder)) as repo:
        changed = [stage for name in repo.status() for stage in repo.stage.collect(name)]
        return {stage.name for it in changed for stage in (it, *ancestors(repo.index.graph, it))}


@pytest.mark.slow
@pytest.mark.parametrize("parameter", ["", *RERUN])
def test_changed_parameter_reruns_the_stages_that_depend_on_it(
    parameter: str, committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(committed)
    value, expected = RERUN.get(parameter, (None, set()))
    changed = with_overrides(Params(), {parameter: value}, "test") if parameter else Params()
    Path("params.yaml").write_text(changed.to_yaml())
    assert rerun(committed) == expected


def test_every_parameter_group_has_a_rerun_case() -> None:
    assert {parameter.partition(".")[0] for parameter in RERUN} == set(Params.model_fields)
