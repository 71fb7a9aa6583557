"""Pull step before every deployed run: the worker prepares and enters the repository of the run."""

from hashlib import sha256
from pathlib import Path
from uuid import UUID

from filelock import FileLock
from prefect.runtime import flow_run

from dcube.errors import DcubeError
from dcube.repository.commands import git, repository_lock
from dcube.runtime.settings import read_settings
from dcube.tracking.mlflow_client import without_password
from flows.attempts import refuse_hopeless

THEIR_HEAD = "refs/dcube/head"  # HEAD of the repository, also if it is detached
# Branches and tags have the same names in the clone; experiments of runs (refs/exps) are kept.
MIRRORED = (f"HEAD:{THEIR_HEAD}", "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*")


def working_directory(repository: str = "") -> dict[str, str]:
    """Pull step of `prefect.yaml`: return the folder in which the flow runs.

    Args:
        repository: a checkout on this machine, or the address of another repository. The worker keeps a clone of the
            latter below `DCUBE_HOME` (by default ~/.dcube), updates it and checks out the repository's HEAD.
            `DCUBE_REPOSITORY` takes precedence if it is set.

    Raises:
        DcubeError: if there is no repository, if it cannot be cloned, or if the run can never begin; in the last case
            the run is set to failed.
    """
    if run := flow_run.get_id():
        refuse_hopeless(UUID(run))
    source = read_settings().repository or repository
    if not source:
        raise DcubeError("no repository: set DCUBE_REPOSITORY where the worker runs, or deploy from a checkout")
    if Path(source).is_dir():
        return {"directory": str(Path(source).absolute())}
    try:
        return {"directory": str(_clone(source).absolute())}
    except DcubeError as error:  # the message contains the command with the address, and so its password
        raise DcubeError(without_password(str(error))) from None


def is_clone_of_worker(repository: Path) -> bool:
    """Return whether this is a clone that `working_directory` keeps. Nobody edits it, but other workers update it."""
    return repository.parent.resolve() == read_settings().home.expanduser().resolve()


def _clone(address: str) -> Path:
    """Return the updated clone of an address. The folder's name contains a hash of the address without user names."""
    place = without_password(address.rstrip("/"))
    name = f"{Path(place).stem}-{sha256(place.encode()).hexdigest()[:8]}"
    folder = read_settings().home.expanduser() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / ".git").exists():
            git(folder.parent, "clone", "--quiet", "--no-checkout", "--", address, str(folder))
        with repository_lock(folder):  # another worker may be adding or removing a workspace
            git(folder, "remote", "set-url", "--", "origin", address)  # its password may have changed
            git(folder, "update-ref", "--no-deref", "HEAD", "HEAD")  # detach HEAD, because all branches will move
            git(folder, "fetch", "--quiet", "--prune", "--force", "origin", *MIRRORED)
            git(folder, "reset", "--quiet", "--hard", THEIR_HEAD)
    return folder
