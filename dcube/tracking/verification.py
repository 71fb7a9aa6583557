"""Is a registered version still what was registered? Its manifest says what that was, and a tag names the manifest.

Registration writes the manifest once. Whoever says something about a version, or with it, calls `verify` first and uses
the files that were verified.
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
ARTIFACTS = f"{MODEL}/artifacts"  # those of them that this program loads
ADDED_BY_DOWNLOAD = "registered_model_meta"
WRITTEN_BY_PEOPLE = (tags.NOTE, tags.RUN_NAME)
WRITTEN_LATER = (tags.CHAMPION, tags.MANIFEST, tags.EXTERNAL)  # what the names of such tags start with

Files = Mapping[str, dict[str, str]]  # place → path → sha256


@dataclass(frozen=True)
class VerificationResult:
    """A version's files, and what of the version is no longer as it was registered.

    Attributes:
        title: `MODEL/VERSION`.
        folder: holds the files, those of a place below its name.
        problems: a sentence each; none: all is as registered.
        manifest: None where that itself is gone or changed.
    """

    title: str
    folder: Path
    problems: list[str]
    manifest: VersionManifest | None = None

    @property
    def compared(self) -> str:
        """How much was compared, in words."""
        if self.manifest is None:
            return "nothing, since the manifest is gone or changed"
        files = sum(map(len, self.manifest.files.values()))
        counts = {"files": files, "tags": len(self.manifest.tags), "parameters": len(self.manifest.params)}
        return ", ".join(f"{n} {what}" for what, n in (counts | {"metrics": len(self.manifest.metrics)}).items())

    def or_refuse(self) -> Path:
        """The folder.

        Raises:
            DcubeError: something is not as registered.
        """
        if self.problems:
            more = f" (and {len(self.problems) - 1} more: `dcube lineage {self.title}`)" if self.problems[1:] else ""
            raise DcubeError(
                f"{self.title} is not what was registered: {self.problems[0]}{more}: use another version, or register "
                "that model again"
            )
        return self.folder


def write_manifest(client: "MlflowClient", entry: "ModelVersion", run: "Run", sent: Files, folder: Path) -> None:
    """Write the manifest of a version into its source run, and its hash into a tag of the version.

    Args:
        sent: what was sent. What MLflow added to the model is read back.
        folder: an empty one, to work in.
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
        tags=_fixed_tags(entry, run) | {tags.REGISTERED_MODEL: entry.name},  # that one is set last
        params=run.data.params,
        metrics=run.data.metrics,
    )
    manifest.save(folder / MANIFEST)
    client.log_artifact(run.info.run_id, str(folder / MANIFEST))
    client.set_model_version_tag(entry.name, entry.version, tags.MANIFEST, sha256_of(folder / MANIFEST))


def verify(
    client: "MlflowClient", entry: "ModelVersion", run: "Run | None", folder: Path, code: bool = True
) -> VerificationResult:
    """Bring every file of a version into `folder`, and compare files, tags, parameters and metrics with its manifest.

    Args:
        run: its source run; None where that is gone.
        folder: an empty one.
        code: also the copy of this program in the model, for others to serve it with: hundreds of small files.

    Raises:
        DcubeError: MLflow does not give a file that it holds.
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
    for place, recorded in (manifest.files if code else _without_code(manifest.files)).items():
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


def _without_code(files: Files) -> Files:
    start = ARTIFACTS.removeprefix(f"{MODEL}/") + "/"
    own = {path.removeprefix(start): digest for path, digest in files[MODEL].items() if path.startswith(start)}
    return {ARTIFACTS: own} | {place: recorded for place, recorded in files.items() if place != MODEL}


def _address(entry: "ModelVersion", run: "Run", registration: str, place: str) -> str:
    if place.startswith(MODEL):
        return f"models:/{entry.name}/{version_number(entry)}{place.removeprefix(MODEL)}"
    return f"runs:/{run.info.run_id if place.startswith('evaluation/') else registration}/{place}"


def _hashes(folder: Path) -> dict[str, str]:
    return {path: digest for path, digest in hashes_of(folder).items() if path != ADDED_BY_DOWNLOAD}


def _fixed_tags(entry: "ModelVersion", run: "Run") -> dict[str, str]:
    """What registration wrote and nobody should change."""
    known = run.data.tags | entry.tags
    return {
        key: value for key, value in known.items() if key not in WRITTEN_BY_PEOPLE and not key.startswith(WRITTEN_LATER)
    }


def _counts(tag: str, manifest: VersionManifest) -> bool:
    """People may add tags of their own, but none of this program's."""
    return tag in manifest.tags or tag.startswith(tags.PREFIX)


def _shown(values: Mapping[str, object], name: str) -> str:
    return repr(values[name]) if name in values else "missing"
