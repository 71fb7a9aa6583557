"""Verification of a registered version against its manifest, whose sha256 is in a tag of the version.

Registration writes the manifest once. Code that describes a version or predicts with it must call `verify` first, and
use the verified files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcube.artifacts.checksums import hashes_of, sha256_of
from dcube.artifacts.schemas.manifest import VersionManifest
from dcube.errors import DcubeError
from dcube.tracking import tags
from dcube.tracking.downloads import download
from dcube.tracking.mlflow_client import version_number

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

MANIFEST = "manifest.json"
MODEL = "model"  # place of the files that MLflow loads
ARTIFACTS = f"{MODEL}/artifacts"  # place of the files that this program loads
ADDED_BY_DOWNLOAD = "registered_model_meta"
WRITTEN_BY_PEOPLE = (tags.NOTE, tags.RUN_NAME)
WRITTEN_LATER = (tags.CHAMPION, tags.MANIFEST, tags.EXTERNAL)  # prefixes of tags that are set after registration

Files = Mapping[str, dict[str, str]]  # place → path → sha256


@dataclass(frozen=True)
class VerificationResult:
    """A version's files, and its differences from what was registered.

    Attributes:
        title: `MODEL/VERSION`.
        folder: folder with the files, with one subfolder per place.
        problems: messages about differences; empty if there are none.
        manifest: manifest of the version; None if it is missing or changed.
    """

    title: str
    folder: Path
    problems: list[str]
    manifest: VersionManifest | None = None

    @property
    def compared(self) -> str:
        """Text with the numbers of compared files, tags, parameters and metrics."""
        if self.manifest is None:
            return "nothing, since the manifest is gone or changed"
        files = sum(map(len, self.manifest.files.values()))
        counts = {"files": files, "tags": len(self.manifest.tags), "parameters": len(self.manifest.params)}
        return ", ".join(f"{n} {what}" for what, n in (counts | {"metrics": len(self.manifest.metrics)}).items())

    def or_refuse(self) -> Path:
        """Return the folder.

        Raises:
            DcubeError: if the version differs from what was registered.
        """
        if self.problems:
            more = f" (and {len(self.problems) - 1} more: `dcube lineage {self.title}`)" if self.problems[1:] else ""
            raise DcubeError(
                f"{self.title} is not what was registered: {self.problems[0]}{more}: use another version, or register "
                "that model again"
            )
        return self.folder


def write_manifest(client: "MlflowClient", entry: "ModelVersion", run: "Run", sent: Files, folder: Path) -> None:
    """Write the manifest of a version to its source run, and its hash to a tag of the version.

    Args:
        sent: hashes of the sent files. Files that MLflow added to the model are read back.
        folder: empty folder for temporary files.
    """
    registration = run.data.tags.get(tags.REGISTRATION_RUN, run.info.run_id)
    if not download(client, _address(entry, run, registration, MODEL), folder / MODEL):
        raise DcubeError(
            f"the model of {entry.name}/{version_number(entry)} cannot be read back from MLflow: try again"
        )
    manifest = VersionManifest(
        name=entry.name,
        version=version_number(entry),
        registration_run=registration,
        files={
            **{place: dict(its) for place, its in sent.items()},
            MODEL: _hashes(folder / MODEL) | dict(sent.get(MODEL, {})),
        },
        tags=_fixed_tags(entry, run) | {tags.REGISTERED_MODEL: entry.name},  # this tag is set after the manifest
        params=run.data.params,
        metrics=run.data.metrics,
    )
    manifest.save(folder / MANIFEST)
    client.log_artifact(run.info.run_id, str(folder / MANIFEST))
    client.set_model_version_tag(entry.name, entry.version, tags.MANIFEST, sha256_of(folder / MANIFEST))


def verify(client: "MlflowClient", entry: "ModelVersion", run: "Run | None", folder: Path) -> VerificationResult:
    """Download all files of a version into `folder`, and compare files, tags, parameters and metrics with its manifest.

    Args:
        run: source run of the version; None if it is gone.
        folder: empty folder for the files.

    Raises:
        DcubeError: if the download of an existing file fails.
    """
    title = f"{entry.name}/{version_number(entry)}"
    if run is not None:
        download(client, f"runs:/{run.info.run_id}/{MANIFEST}", folder / MANIFEST)
    try:
        manifest = _manifest(entry, run, folder / MANIFEST)
    except DcubeError as error:
        return VerificationResult(title, folder, [str(error)])
    assert run is not None
    problems = [*_values(manifest, entry, run)]
    for place, recorded in manifest.files.items():
        download(client, _address(entry, run, manifest.registration_run, place), folder / place)
        problems += _differences(place, recorded, _hashes(folder / place))
    return VerificationResult(title, folder, problems, manifest)


def _manifest(entry: "ModelVersion", run: "Run | None", file: Path) -> VersionManifest:
    recorded = entry.tags.get(tags.MANIFEST)
    if recorded is None:
        raise DcubeError(f"it has no tag {tags.MANIFEST} (registered by an earlier version of D-Cube, or deleted)")
    if run is None:
        raise DcubeError(f"its source run {entry.run_id} was deleted for good")
    where = f"{MANIFEST} of run {run.info.run_id}"
    if not file.exists():
        raise DcubeError(f"{where} is gone")
    if sha256_of(file) != recorded:
        raise DcubeError(f"{where} is not the one that the tag {tags.MANIFEST} names")
    manifest = VersionManifest.load(file)
    if (manifest.name, manifest.version) != (entry.name, version_number(entry)):
        raise DcubeError(f"{where} is that of {manifest.name}/{manifest.version}")
    return manifest


def _values(manifest: VersionManifest, entry: "ModelVersion", run: "Run") -> Iterator[str]:
    found_tags = _fixed_tags(entry, run)
    kinds = (
        ("tag", manifest.tags, {key: value for key, value in found_tags.items() if _counts(key, manifest)}),
        ("parameter", manifest.params, run.data.params),
        ("metric", manifest.metrics, run.data.metrics),
    )
    for what, recorded, found in kinds:
        for name in sorted(recorded.keys() | found.keys()):
            if recorded.get(name) != found.get(name):
                yield f"{what} {name} is {_shown(found, name)}, and was registered as {_shown(recorded, name)}"


def _differences(place: str, recorded: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    if recorded and not found:
        yield f"the files of {place} are gone"
        return
    for path in sorted(recorded.keys() | found.keys()):
        if path not in found:
            yield f"{place}/{path} is gone"
        elif path not in recorded:
            yield f"{place}/{path} was added later"
        elif found[path] != recorded[path]:
            yield f"{place}/{path} has other contents (sha256 {found[path][:12]} instead of {recorded[path][:12]})"


def _address(entry: "ModelVersion", run: "Run", registration: str, place: str) -> str:
    if place.startswith(MODEL):
        return f"models:/{entry.name}/{version_number(entry)}{place.removeprefix(MODEL)}"
    return f"runs:/{run.info.run_id if place.startswith('evaluation/') else registration}/{place}"


def _hashes(folder: Path) -> dict[str, str]:
    return {path: digest for path, digest in hashes_of(folder).items() if path != ADDED_BY_DOWNLOAD}


def _fixed_tags(entry: "ModelVersion", run: "Run") -> dict[str, str]:
    """Return the tags that registration wrote and that must not change."""
    known = run.data.tags | entry.tags
    return {
        key: value for key, value in known.items() if key not in WRITTEN_BY_PEOPLE and not key.startswith(WRITTEN_LATER)
    }


def _counts(tag: str, manifest: VersionManifest) -> bool:
    """Return whether a tag is compared: it is in the manifest or has this program's prefix. People may add others."""
    return tag in manifest.tags or tag.startswith(tags.PREFIX)


def _shown(values: Mapping[str, object], name: str) -> str:
    return repr(values[name]) if name in values else "missing"
