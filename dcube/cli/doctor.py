"""`dcube doctor`: repairs a working copy after a crash, a kill, a move, or the loss of registered models."""

from pathlib import Path
from shutil import rmtree


def doctor() -> None:
    """Remove or repair what blocks `dvc repro`: stale lock files of a killed DVC or git process, data sets set aside,
    paths in the MLflow database of a working copy that was copied or moved, and records of versions that are lost. Says
    how to undo `dvc freeze` and `dvc move`, after which stages cannot run."""
    from psutil import pid_exists

    from dcube.cli.terminal import quiet_mlflow
    from dcube.errors import DcubeError
    from dcube.registry.presence import REGISTRATION, lost_versions
    from dcube.repository.commands import repository_around
    from dcube.repository.dvc_internals import hide_names_of_files, locks_held
    from dcube.repository.graph import stages_in_order
    from dcube.repository.workspace import remove_torn_files
    from dcube.tracking.local_store import adopt_artifacts, database_of, refuse_damage
    from dcube.tracking.mlflow_client import mlflow_errors_in_one_line, tracking_uri

    repository = repository_around(Path.cwd())
    _refuse_files_of_others(repository)
    _refuse_torn_record(repository)
    if running := [f"{command} (process {pid})" for pid, command in locks_held(repository) or [] if pid_exists(pid)]:
        raise DcubeError(f"DVC is at work in {repository}: wait for {', '.join(running)}, or end it")
    blocking = [
        f"restored {folder}, which an interrupted `dcube data add` had set aside"
        for folder in _restore_sets(repository)
    ]
    blocking += [f"removed {name}, which a killed process had left" for name in remove_torn_files(repository)]
    hide_names_of_files(repository)
    paths = []
    if (database := database_of(tracking_uri())) and database.exists():
        refuse_damage(database)
        others = adopt_artifacts(database)
        paths = [f"{database} names the artifacts beside it now, not those in {other}" for other in others]
    quiet_mlflow()
    with mlflow_errors_in_one_line():
        if lost := lost_versions():
            rmtree(REGISTRATION.parent)
            blocking.append(f"removed the record of a registration: {lost}")
    print("\n".join(blocking + paths) or "nothing to repair")
    if blocking:
        print("Finished stages are not computed again: the run cache knows them. Next:\n  dvc repro")
    stages_in_order(repository)  # its error says how to mend what a person has changed


def _refuse_files_of_others(repository: Path) -> None:
    """Raise `DcubeError` if DVC or D-Cube cannot write its own files, because another user of the clone made them."""
    from dcube.errors import DcubeError, foreign

    for folder in (repository / ".dvc/tmp", repository / ".dcube"):
        for path in (folder, *folder.glob("*")) if folder.exists() else ():
            if problem := foreign(path):
                raise DcubeError(problem)


def _refuse_torn_record(repository: Path) -> None:
    from dcube.artifacts.dvc_files import is_data_record
    from dcube.artifacts.layout import DATA_RECORD
    from dcube.errors import DcubeError

    record = repository / DATA_RECORD
    if record.exists() and not is_data_record(record.read_bytes()):
        raise DcubeError(f"{DATA_RECORD} is torn: `git checkout {DATA_RECORD}` restores that of the last commit")


def _restore_sets(repository: Path) -> list[Path]:
    """Restore the data sets that a killed `dcube data add --replace` has set aside, and return their folders."""
    from filelock import FileLock

    from dcube.artifacts.atomic import restore, set_aside
    from dcube.artifacts.layout import RAW
    from dcube.cli.data import ADDING

    if not set_aside(repository / RAW):
        return []
    with FileLock(repository / ADDING):  # waits for one that is at work
        folders = set_aside(repository / RAW)
        for folder in folders:
            restore(folder)
    return [folder.relative_to(repository) for folder in folders]
