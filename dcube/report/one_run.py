"""Do the files of a working copy come from one run? While another one is under way, they do not."""

from collections.abc import Iterator
from pathlib import Path

from dcube.artifacts.layout import CONFIG, LOCK, MODELS, PARAMS
from dcube.artifacts.schemas.candidate import CandidateConfig
from dcube.config.loading import flattened
from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError
from dcube.report.material import Material
from dcube.tracking.record import value_at


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
    if not (folder / LOCK).exists():
        return
    stages = parse_yaml((folder / LOCK).read_bytes(), str(folder / LOCK)).get("stages", {})
    params = parse_yaml((folder / PARAMS).read_bytes(), str(folder / PARAMS))
    written = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}
    for name, stage in stages.items():
        for read in stage.get("deps", []):
            if read["path"] in written and read.get("md5") != written[read["path"]]:
                yield f"{name} ran with another {read['path']} than the present one"
        for key, value in stage.get("params", {}).get(str(PARAMS), {}).items():
            ran_with, has = flattened({key: value}), flattened({key: value_at(params, key)})
            for parameter in ran_with:
                if ran_with[parameter] != has.get(parameter):
                    yield f"{name} ran with another {parameter} than {PARAMS} has"
