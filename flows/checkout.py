"""The step before every deployed run: the worker goes to the repository that the run works on."""

from hashlib import sha256
from pathlib import Path
from uuid import UUID

from filelock import FileLock
from prefect.runtime import flow_run

from dcube.errors import DcubeError
from dcube.repository.commands import git
from dcube.runtime.settings import read_settings
from dcube.tracking.mlflow_client import without_password
from flows.attempts import refuse_hopeless

THEIR_HEAD = "refs/dcube/head"  # of the repository, also where it stands at no branch
# Branches and tags are named in the clone as they are there; experiments of runs (refs/exps) stay.
MIRRORED = (f"HEAD:{THEIR_HEAD}", "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*")


def working_directory(repository: str = "") -> dict[str, str]:
    """Pull step of `prefect.yaml`: the folder that the flow runs in.

    Args:
        repository: a checkout on this machine; or the address of one elsewhere, of which the worker keeps a clone
            below `DCUBE_HOME` (by default ~/.dcube), brings it up to date and goes to the commit that is checked out
            there. Empty: `DCUBE_REPOSITORY`.

    Raises:
        DcubeError: there is no repository; or the run can never begin, and has failed with the reason.
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
    except DcubeError as error:  # names the command, and with it the address
        raise DcubeError(without_password(str(error))) from None


def _clone(address: str) -> Path:
    """The same address has the same clone, whoever asks for it; another one of the same name has another."""
    place = without_password(address.rstrip("/"))
    name = f"{Path(place).stem}-{sha256(place.encode()).hexdigest()[:8]}"
    folder = read_settings().home.expanduser() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / ".git").exists():
            git(folder.parent, "clone", "--quiet", "--no-checkout", "--", address, str(folder))
        git(folder, "remote", "set-url", "--", "origin", address)  # its password may have changed
        git(folder, "update-ref", "--no-deref", "HEAD", "HEAD")  # on no branch: all of them are about to move
        git(folder, "fetch", "--quiet", "--prune", "--force", "origin", *MIRRORED)
        git(folder, "reset", "--quiet", "--hard", THEIR_HEAD)
    return folder
