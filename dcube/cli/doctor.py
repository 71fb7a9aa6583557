"""`dcube doctor`: what a crash of the machine, or a kill, has left in the working copy."""

from pathlib import Path


def doctor() -> None:
    """Remove what a killed DVC or git has left half-written here: torn lock files that stop `dvc repro`."""
    from psutil import pid_exists

    from dcube.errors import DcubeError
    from dcube.repository.commands import repository_around
    from dcube.repository.dvc_internals import locks_held
    from dcube.repository.workspace import remove_torn_files

    repository = repository_around(Path.cwd())
    if running := [f"{command} (process {pid})" for pid, command in locks_held(repository) or [] if pid_exists(pid)]:
        raise DcubeError(f"DVC is at work in {repository}: wait for {', '.join(running)}, or end it")
    removed = remove_torn_files(repository)
    print("\n".join(f"removed {name}, which a killed process had left" for name in removed) or "nothing to mend")
    if removed:
        print("Finished stages are not computed again: the run cache knows them. Next:\n  dvc repro")
