"""Where a page's material comes from: the run in this working copy, or a registered version and nothing else."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from dcube.artifacts.layout import EVALUATION, METRICS_FILE, PARAMS, PREPARED, REGISTERED, REPORT, VERSIONS
from dcube.artifacts.schemas.metrics import Metrics
from dcube.artifacts.schemas.registered import Registered
from dcube.errors import DcubeError
from dcube.evaluation.metrics import METRICS
from dcube.registry.staleness import refuse, stale_run
from dcube.registry.version import Version, readable
from dcube.registry.versions import Registry, evaluation_artifacts
from dcube.report.material import Material
from dcube.tracking import lineage, tags

# Shown elsewhere, or nobody's business.
OF_TODAY = ("commit", "params_sha256", "pipeline", "uncommitted")  # of a checkout, not of results
HIDDEN = (tags.CHAMPION, tags.STAGE, tags.REGISTERED_MODEL)

NOT_KEPT = "The registry does not keep that: make the report in the working copy of the run."


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
    refuse(stale_run())
    return replace(material, title=f"D-Cube on {material.info.name}", lineage=_recorded())


def material_to_register(dataset: str) -> Material:
    """The run in this working copy, with no more images than the registry keeps.

    Args:
        dataset: its name.
    """
    return Material(
        Path(),
        title=f"D-Cube on {dataset}",
        origin="the run that registered these models",
        lineage=_shown(lineage.origin_tags("register")),
        absent=NOT_KEPT,
        with_images=False,
    )


def material_of(registry: Registry, version: Version, folder: Path) -> Material:
    """A registered version, from what the registry keeps, as it was registered; its files go below `folder`.

    Beside it the candidates of the same pipeline that were tested on the same images.
    """
    model = version.needed(tags.MODEL)
    for one in (version, *_siblings(registry, version)):
        name = one.tags.get(tags.MODEL, model)
        if (folder / EVALUATION / name).exists():
            continue
        with TemporaryDirectory() as work:
            files = registry.verified(one, Path(work), code=False).or_refuse()
            _refuse_incomplete(files / evaluation_artifacts(name) / METRICS_FILE)
            shutil.copytree(files / evaluation_artifacts(name), folder / EVALUATION / name)
            if one is version:
                _keep(files / REPORT, folder)
                _keep(files / lineage.ORIGIN / PARAMS, folder / PARAMS)
    return Material(
        folder,
        title=f"{registry.name}, version {version.version} ({model})",
        origin="what the registry keeps of this version",
        lineage=_facts(registry, version),
        absent=NOT_KEPT,
        wanted=model,
    )


def _refuse_incomplete(file: Path) -> None:
    """Raises: DcubeError: an evaluation lacks a metric that the page shows."""
    test = Metrics.load(file).test
    for metric in METRICS:
        if not (metric.by_class or metric.of_images) and metric.name not in test:
            raise DcubeError(f"{file.name} of {file.parent.name} has no {metric.name}: {Metrics.remedy}")


def _siblings(registry: Registry, version: Version) -> list[Version]:
    same = (tags.PIPELINE, tags.TEST)
    return [
        one
        for one in readable(registry.versions())[0]
        if one.tags.get(tags.MODEL) and all(one.tags.get(tag) == version.tags.get(tag) for tag in same)
    ]


def _keep(arrived: Path, target: Path) -> None:
    """As far as it is there."""
    if arrived.is_dir():
        shutil.copytree(arrived, target, dirs_exist_ok=True)
    elif arrived.exists():
        shutil.copyfile(arrived, target)


def _facts(registry: Registry, version: Version) -> dict[str, str]:
    held = sorted(alias for alias, which in registry.aliases().items() if which == version.version)
    moment = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return {
        "version": f"{registry.name}/{version.version}",
        "aliases": ", ".join(held) or "none",
        "registered": f"{moment:%Y-%m-%d %H:%M} UTC",
        **_shown(version.tags),
    }


def _shown(known: dict[str, str]) -> dict[str, str]:
    """Tags as rows for people, the commit first."""
    own = {name: value for name, value in known.items() if name.startswith(tags.PREFIX) and not name.startswith(HIDDEN)}
    rest = {name.removeprefix(tags.PREFIX): value for name, value in own.items()}
    return {"commit": known.get(tags.COMMIT, "none"), **dict(sorted(rest.items()))}


def _recorded() -> dict[str, str]:
    """The origin of the results as registration recorded it, not that of today's checkout; and whether it differs."""
    today = lineage.origin_tags("register")
    file = REGISTERED / VERSIONS
    result = Registered.load(file) if file.exists() else None
    if result is None or not _same_results(result.origin, today):
        known = {"commit": "not recorded: these results were not registered", "today's checkout": today[tags.COMMIT]}
        return known | {name: value for name, value in _shown(today).items() if name not in (*known, *OF_TODAY)}
    versions = {f"registered: {model}": f"{result.name}/{version}" for model, version in result.versions.items()}
    differs = {
        f"today's checkout has another {what}": today[tag]
        for what, tag in (("commit", tags.COMMIT), ("params.yaml", tags.PARAMS_SHA256), ("data set", tags.DATA))
        if result.origin.get(tag) != today[tag]
    }
    return _shown(result.origin) | versions | differs


def _same_results(recorded: dict[str, str], today: dict[str, str]) -> bool:
    """By DVC's hashes of every output that was read."""
    outputs = [{k: v for k, v in one.items() if k.startswith(tags.DVC) and k != tags.DATA} for one in (recorded, today)]
    return bool(recorded) and outputs[0] == outputs[1]
