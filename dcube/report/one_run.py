"""Do the files of a working copy come from one run? While another one is under way, they do not."""

from collections.abc import Iterator
from pathlib import Path

from dcube.artifacts.dvc_files import read_lock, read_params
from dcube.artifacts.layout import CONFIG, MODELS, PARAMS
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.errors import DcubeError
from dcube.report.material import Material


def refuse_mixture(material: Material) -> None:
    """Compare the hashes of data, weights and metrics with one another, and the parameters with those of each stage.

    Raises:
        DcubeError: some are of another run. It names the first.
    """
    for reason in (*_other_weights(material), *_other_inputs(material.folder)):
        raise DcubeError(f"{reason}: a run is under way or has not ended; finish it with `dvc repro`")


def _other_weights(material: Material) -> Iterator[str]:
    for name, metrics in material.evaluations.items():
        if material.info and metrics.dataset_fingerprint != material.info.fingerprint:
            yield f"the metrics of {name} are of another data set than the prepared one"
        config = material.folder / MODELS / name / CONFIG
        if not config.exists() and config.parents[1].exists():  # other models are there
            yield f"the weights of {name} are missing, and its metrics are of an earlier run"
        if config.exists() and CandidateConfig.load(config).weights_sha256 != metrics.weights_sha256:
            yield f"the metrics of {name} are of other weights than those in {MODELS / name}"


def _other_inputs(folder: Path) -> Iterator[str]:
    """By what DVC has recorded of each stage: what it read and wrote, and its parameters."""
    lock = read_lock(folder)
    for stage, path in lock.other_outputs(lock.stages):
        yield f"{stage} ran with another {path} than the present one"
    for stage, parameter in lock.other_parameters(lock.stages, read_params(folder)):
        yield f"{stage} ran with another {parameter} than {PARAMS} has"
