"""Where a page's material comes from: the run in this working copy, or a registered version and nothing else."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dcube.artifacts.layout import EVALUATION, METRICS_FILE, PARAMS, PREPARED, REGISTERED, REPORT, VERSIONS
from dcube.artifacts.schemas.registered import Registered
from dcube.errors import DcubeError
from dcube.registry.version import Version
from dcube.registry.versions import Registry, evaluation_artifacts
from dcube.report.material import Material
from dcube.report.one_run import refuse_mixture
from dcube.tracking import lineage, tags
from dcube.tracking.mlflow_client import downloaded, version_number

# Shown elsewhere, or nobody's business.
HIDDEN = (tags.CHAMPION, tags.STAGE, tags.REGISTERED_MODEL)


def material_here() -> Material:
    """The run in this working copy."""
    material = Material(
        Path(),
        title="",
        origin="the run in a working copy",
        lineage={},
        absent="That has not been computed here: “dvc repro” does it.",
    )
    if material.info is None:
        raise DcubeError(f"{PREPARED} contains no prepared data set: run `dvc repro` here, or name MODEL@ALIAS")
    refuse_mixture(material)
    told = _shown(lineage.lineage_tags(f"evaluate@{material.model}"))
    return replace(material, title=f"D-Cube on {material.info.name}", lineage=told | _registered())


def material_of(registry: Registry, version: Version, folder: Path) -> Material:
    """A registered version, from what the registry keeps; its files go below `folder`.

    Beside it the candidates of the same pipeline that were tested on the same images.
    """
    model = version.tags.get(tags.MODEL, "unknown")
    _fetch(registry, version.registration_run_id, REPORT, folder)
    _fetch(registry, version.registration_run_id, f"{lineage.ORIGIN}/{PARAMS}", folder / PARAMS)
    for one in (version, *_siblings(registry, version)):
        name = one.tags.get(tags.MODEL, model)
        if not (folder / EVALUATION / name).exists():
            _fetch(registry, one.run_id, evaluation_artifacts(name), folder / EVALUATION / name)
    if not (folder / EVALUATION / model / METRICS_FILE).exists():
        raise DcubeError(
            f"the evaluation of {registry.name} version {version_number(version)} is gone from run {version.run_id}: "
            "evaluate and register that model again"
        )
    return Material(
        folder,
        title=f"{registry.name}, version {version_number(version)} ({model})",
        origin="what the registry keeps of this version",
        lineage=_facts(registry, version),
        absent="The registry does not keep that: make the report in the working copy of the run.",
        wanted=model,
    )


def _siblings(registry: Registry, version: Version) -> list[Version]:
    same = (tags.PIPELINE, tags.TEST)
    return [
        one
        for one in registry.versions()
        if one.tags.get(tags.MODEL) and all(one.tags.get(tag) == version.tags.get(tag) for tag in same)
    ]


def _fetch(registry: Registry, run_id: str, artifacts: str, target: Path) -> None:
    """What the run holds under `artifacts`, put at `target`, as far as it is there."""
    with downloaded(registry.client, run_id, artifacts) as arrived:
        if arrived is None:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if arrived.is_dir():
            shutil.copytree(arrived, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(arrived, target)


def _facts(registry: Registry, version: Version) -> dict[str, str]:
    held = sorted(alias for alias, which in registry.aliases().items() if which == version_number(version))
    moment = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return {
        "version": f"{registry.name}/{version_number(version)}",
        "aliases": ", ".join(held) or "none",
        "registered": f"{moment:%Y-%m-%d %H:%M} UTC",
        **_shown(version.tags),
    }


def _shown(known: dict[str, str]) -> dict[str, str]:
    """Tags as rows for people, the commit first."""
    own = {name: value for name, value in known.items() if name.startswith(tags.OWN) and not name.startswith(HIDDEN)}
    rest = {name.removeprefix(tags.OWN): value for name, value in own.items()}
    return {"commit": known.get(tags.COMMIT, "none"), **dict(sorted(rest.items()))}


def _registered() -> dict[str, str]:
    """The versions that the run's models became, where they were registered."""
    file = REGISTERED / VERSIONS
    if not file.exists():
        return {}
    result = Registered.load(file)
    return {f"registered: {model}": f"{result.name}/{version}" for model, version in result.versions.items()}
