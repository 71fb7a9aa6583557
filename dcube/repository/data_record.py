"""DVC's record of the raw data, `data.dvc`."""

from pathlib import Path

from dcube.artifacts.dvc_files import parse_data_hash
from dcube.artifacts.layout import DATA_RECORD
from dcube.errors import DcubeError
from dcube.repository.commands import dvc, git


def add_data(folder: Path) -> None:
    """Record the present raw data with `dvc add`.

    Raises:
        DcubeError: if `dvc add` fails.
    """
    from dcube.repository.dvc_internals import hide_names_of_files

    hide_names_of_files(Path.cwd())
    try:
        dvc(Path.cwd(), "add", "--quiet", str(folder))
    except DcubeError as error:
        raise DcubeError(f"{folder} is in place but was not versioned: {error}") from None


def recorded_data(repository: Path, commit: str) -> str:
    """Return DVC's hash of the raw data that a commit records.

    Raises:
        DcubeError: if the commit records no data.
    """
    try:
        text = git(repository, "show", f"{commit}:{DATA_RECORD}")
    except DcubeError:
        raise DcubeError(f"commit {commit} records no data: `dcube data add` them, then commit {DATA_RECORD}") from None
    return parse_data_hash(text, f"{DATA_RECORD} of commit {commit}")
