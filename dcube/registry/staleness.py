"""Check that results match the present files of the working copy, for all code that shows or registers results.

Each `stale_…` function yields one message per reason why the results are stale, and nothing if they are up to date.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from dcube.artifacts.dvc_files import read_lock
from dcube.artifacts.layout import (
    CONFIG,
    DATASET,
    EVALUATION,
    LOCK,
    METRICS_FILE,
    MODELS,
    PREPARED,
)
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.artifacts.schemas.metrics import Metrics
from dcube.config.schema import Params
from dcube.errors import DcubeError, abbreviated
from dcube.registry.made_with import other_parameters
from dcube.tracking.lineage import upstream_stages
from dcube.tracking.lock_comparison import changed_inputs, complete_inputs, recorded_stages_of, replaced_outputs

UNFINISHED = "a run is under way or has not ended; finish it with `dvc repro`"


def stale_results(results: Path = EVALUATION) -> Iterator[str]:
    """Check results that are, or should be, in a folder. A person may still look at them after the warning."""
    yield from _replaced(replaced_outputs(results))
    yield from _changed(recorded_stages_of(results))
    yield from _of_other_files()


def stale_run() -> Iterator[str]:
    """Check that all existing results belong to the same run. Code and raw data may have changed since."""
    outputs = EVALUATION.parent
    yield from _replaced(path for path in replaced_outputs(outputs) if Path(path).exists())
    yield from _of_other_files()
    yield from _changed(read_lock().stages, sources=False)


def stale_inputs(stage: str, params: Params) -> Iterator[str]:
    """Check the inputs of a stage, and the parameters that results were made with."""
    yield from _replaced(path for path in replaced_outputs(*complete_inputs(stage)) if Path(path).exists())
    yield from _changed(upstream_stages(stage))
    yield from other_parameters(params)


def refuse(reasons: Iterator[str]) -> None:
    """Raise `DcubeError` with the first reason, if there is one."""
    for reason in reasons:
        raise DcubeError(reason)


def _replaced(paths: Iterable[str]) -> Iterator[str]:
    if names := list(paths):
        yield f"{abbreviated(names)}: not as {LOCK} records. `dvc checkout` restores that, `dvc repro` makes it again"


def _changed(stages: Iterable[str], sources: bool = True) -> Iterator[str]:
    if names := changed_inputs(stages, sources):
        yield f"{abbreviated(names)} changed after the results were made of it: `dvc repro` makes them again"


def _of_other_files() -> Iterator[str]:
    """Compare the data set and weights that each evaluation names with the files that exist."""
    prepared = PREPARED / DATASET
    fingerprint = DatasetInfo.load(prepared).fingerprint if prepared.exists() else None
    for file in sorted(EVALUATION.glob(f"*/{METRICS_FILE}")):
        name, metrics = file.parent.name, Metrics.load(file)
        if fingerprint not in (None, metrics.dataset_fingerprint):
            yield f"the metrics of {name} are of another data set than the prepared one: {UNFINISHED}"
        config = MODELS / name / CONFIG
        if not config.exists() and MODELS.exists():
            yield f"the weights of {name} are missing, and its metrics are of an earlier run: {UNFINISHED}"
        if config.exists() and CandidateConfig.load(config).weights_sha256 != metrics.weights_sha256:
            yield f"the metrics of {name} are of other weights than those in {MODELS / name}: {UNFINISHED}"
