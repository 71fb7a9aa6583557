"""Material of a page from the run in this working copy, or from a registered version alone."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from dcube.artifacts.layout import EVALUATION, METRICS_FILE, PARAMS, PREPARED, REGISTERED, REPORT, VERSIONS
from dcube.artifacts.schemas.metrics import Metrics
from dcube.artifacts.schemas.registered import Registered
from dcube.errors import DcubeError
from dcube.evaluation.metrics import HEADLINES
from dcube.registry.external_tags import confirmed_external_tests
from dcube.registry.staleness import refuse, stale_run
from dcube.registry.version import Version, readable
from dcube.registry.versions import RegisteredModel, evaluation_artifacts
from dcube.report.material import Material
from dcube.tracking import lineage, tags
from dcube.tracking.code_revision import code_revision

# Tags that the table of lineage does not show.
OF_TODAY = ("commit", "params_sha256", "pipeline", "uncommitted")  # these describe the checkout, not the results
HIDDEN = (tags.CHAMPION, tags.STAGE, tags.REGISTERED_MODEL)

NOT_KEPT = "The registry does not keep that: make the report in the working copy of the run."


def material_here() -> Material:
    """Return the material of the run in this working copy.

    Raises:
        DcubeError: if there is no prepared data set, or if results are stale.
    """
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


def material_to_register(dataset: str, folder: Path, origin: dict[str, str]) -> Material:
    """Return the material of the run in `folder`, without images that the registry does not keep.

    Args:
        dataset: name of the data set.
        origin: tags with the run's origin.
    """
    return Material(
        folder,
        title=f"D-Cube on {dataset}",
        origin="the run that registered these models",
        lineage=_shown(origin),
        absent=NOT_KEPT,
        with_images=False,
    )


def material_of(registered_model: RegisteredModel, version: Version, folder: Path) -> Material:
    """Return the material of a registered version from the registry alone; its files are written below `folder`.

    It includes the candidates of the same pipeline that were tested on the same images.

    Raises:
        DcubeError: if a file differs from what was registered, or if an evaluation lacks a metric.
    """
    model = version.needed(tags.MODEL)
    for one in (version, *_siblings(registered_model, version)):
        name = one.tags.get(tags.MODEL, model)
        if (folder / EVALUATION / name).exists():
            continue
        with TemporaryDirectory() as work:
            files = registered_model.verified(one, Path(work)).or_refuse()
            _refuse_incomplete(files / evaluation_artifacts(name) / METRICS_FILE)
            shutil.copytree(files / evaluation_artifacts(name), folder / EVALUATION / name)
            if one is version:
                _keep(files / REPORT, folder)
                _keep(files / lineage.ORIGIN / PARAMS, folder / PARAMS)
    return Material(
        folder,
        title=f"{registered_model.name}, version {version.version} ({model})",
        origin="what the registry keeps of this version",
        lineage=_facts(registered_model, version),
        absent=NOT_KEPT,
        wanted=model,
        external_tests=confirmed_external_tests(registered_model, version),
    )


def _refuse_incomplete(file: Path) -> None:
    """Raise `DcubeError` if an evaluation lacks a headline metric, which every table of the page shows."""
    missing = [metric.name for metric in HEADLINES if metric.name not in Metrics.load(file).test]
    if missing:
        raise DcubeError(f"{file.name} of {file.parent.name} has no {missing[0]}: {Metrics.remedy}")


def _siblings(registered_model: RegisteredModel, version: Version) -> list[Version]:
    same = (tags.PIPELINE, tags.TEST)
    return [
        one
        for one in readable(registered_model.versions())[0]
        if one.tags.get(tags.MODEL) and all(one.tags.get(tag) == version.tags.get(tag) for tag in same)
    ]


def _keep(arrived: Path, target: Path) -> None:
    """Copy a file or a folder if it exists."""
    if arrived.is_dir():
        shutil.copytree(arrived, target, dirs_exist_ok=True)
    elif arrived.exists():
        shutil.copyfile(arrived, target)


def _facts(registered_model: RegisteredModel, version: Version) -> dict[str, str]:
    held = sorted(alias for alias, which in registered_model.aliases().items() if which == version.version)
    moment = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return {
        "version": f"{registered_model.name}/{version.version}",
        "aliases": ", ".join(held) or "none",
        "registered": f"{moment:%Y-%m-%d %H:%M} UTC",
        **_shown(version.tags),
    }


def _shown(known: dict[str, str]) -> dict[str, str]:
    """Return the tags to display, without their prefix, the commit first."""
    own = {name: value for name, value in known.items() if name.startswith(tags.PREFIX) and not name.startswith(HIDDEN)}
    rest = {name.removeprefix(tags.PREFIX): value for name, value in own.items()}
    return {"commit": code_revision(known) or "none", **dict(sorted(rest.items()))}


def _recorded() -> dict[str, str]:
    """Return the results' origin as recorded at registration, and how the present checkout differs from it."""
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
    """Compare DVC's hashes of all outputs that the registration read."""
    outputs = [{k: v for k, v in one.items() if k.startswith(tags.DVC) and k != tags.DATA} for one in (recorded, today)]
    return bool(recorded) and outputs[0] == outputs[1]
