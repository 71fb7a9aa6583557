"""DVC experiments: code, parameters and results of a run, saved under a name."""

from pathlib import Path
from tempfile import TemporaryDirectory

from dcube.errors import DcubeError
from dcube.repository import dvc_internals
from dcube.repository.commands import dvc, git, repository_lock
from dcube.repository.data_remote import remote_settings
from dcube.runtime.s3 import Storage

# Workers in containers and many servers have no git configuration, but a commit needs an author.
NOBODY = {"NAME": "D-Cube", "EMAIL": "dcube@localhost"}


def save_experiment(repository: Path, folder: Path, name: str, stages: list[str]) -> None:
    """Save the workspace `folder`, with the results of `stages`, as an experiment of `repository`."""
    with repository_lock(repository):  # concurrent saves of one repository collide
        dvc(folder, "exp", "save", "--force", "--name", name, *stages, variables=_identity(folder))


def _identity(folder: Path) -> dict[str, str]:
    """Return environment variables with an author and committer, or none if git is configured."""
    try:
        git(folder, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    except DcubeError:
        return {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in NOBODY.items()}
    return {}


def share_experiment(repository: Path, name: str) -> None:
    """Copy the experiment to the bucket, if one is configured, for machines that do not share this repository.

    The copy does not contain the outputs, which are in the DVC remote.
    """
    storage = Storage.configured()
    if storage is None:
        return
    reference = git(repository, "for-each-ref", "--format=%(refname)", _pattern(name))
    with TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        git(repository, "bundle", "create", "--quiet", str(bundle), reference, f"^{reference}^")
        with storage.explained():
            storage.client().upload_file(str(bundle), storage.bucket, _key(storage, name))


def fetch_experiment(repository: Path, name: str) -> None:
    """Download an experiment from the bucket into the repository, and its outputs into the cache.

    Raises:
        DcubeError: if no bucket is configured, if the bucket does not contain the experiment, or if the repository
            does not contain the commit of the experiment.
    """
    storage = Storage.configured()
    if storage is None:
        raise DcubeError("no bucket to fetch from: set DCUBE_STORAGE and AWS_… (`source` the platform's env file)")
    with TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        with storage.explained():
            client = storage.client()
            key = _key(storage, name)
            if not client.list_objects_v2(Bucket=storage.bucket, Prefix=key).get("Contents"):
                raise DcubeError(f"{storage.address('experiments')} holds no experiment {name}: check its name")
            client.download_file(storage.bucket, key, str(bundle))
        try:
            git(repository, "fetch", "--quiet", "--force", str(bundle), "refs/exps/*:refs/exps/*")
        except DcubeError as error:
            raise DcubeError(f"the commit that {name} ran is not here, `git fetch` it: {error}") from None
    with dvc_internals.open_repository(repository, remote_settings()) as repo:
        dvc_internals.fetch(repo, git(repository, "for-each-ref", "--format=%(objectname)", _pattern(name)))


def commits_of_experiments(repository: Path, pattern: str) -> dict[str, str]:
    """Return commit → name of the experiments whose name fits `pattern` (with `*`), the newest first."""
    form = "--format=%(objectname) %(refname:lstrip=4)"
    lines = git(repository, "for-each-ref", "--sort=-committerdate", form, _pattern(pattern)).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def restore_from_experiment(repository: Path, commit: str, paths: list[Path], folder: Path) -> None:
    """Copy files and outputs of an experiment, given by its commit, into `folder`.

    Raises:
        DcubeError: if the experiment has no such file, or its outputs were removed.
    """
    with dvc_internals.open_repository(repository, remote_settings(), commit) as repo:
        dvc_internals.copy_files(repo, paths, folder)


def _pattern(name: str) -> str:
    return f"refs/exps/*/*/{name}"  # DVC saves an experiment below the commit that it started from


def _key(storage: Storage, name: str) -> str:
    return storage.key("experiments", f"{name}.bundle")
