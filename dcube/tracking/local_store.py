"""MLflow's database in a working copy: its absolute paths are wrong after the working copy was copied or moved.

The artifacts are in `mlruns` beside the database. `docs/architecture.md` lists the tables of MLflow that are used here.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dcube.errors import DcubeError, abbreviated

ARTIFACTS = "mlruns"
# Table → its column with the location of artifacts.
PLACES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}


def database_of(uri: str) -> Path | None:
    """Return the file of an SQLite address; None for a server."""
    scheme, _, database = uri.partition(":///")
    return Path(database) if scheme == "sqlite" else None


def artifact_location(database: Path) -> str:
    """Return the address of the folder in which new experiments of this database keep their artifacts."""
    return (database.resolve().parent / ARTIFACTS).as_uri()


def refuse_foreign_paths(database: Path) -> None:
    """Raise `DcubeError` if the database is damaged, or names artifacts of another working copy."""
    if others := _foreign_locations(database):
        raise DcubeError(
            f"{database} was copied or moved: it names artifacts in {_path(others[0])}: run `dcube doctor`, which "
            "makes it name those in this folder"
        )


def refuse_damage(database: Path) -> None:
    """Raise `DcubeError` if the file exists and is no undamaged database."""
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:  # locked, for example
        return
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise _damaged(database, found)


def adopt_artifacts(database: Path) -> list[str]:
    """Replace paths of another working copy by those of the artifacts beside the database; return the replaced folders.

    Raises:
        DcubeError: if some of these artifacts are only in the other working copy; then nothing is changed.
    """
    here, others = artifact_location(database), _foreign_locations(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        for other in others:
            _refuse_missing(connection, _path(other), _path(here))
            _rename(connection, other, here)
            _rename(connection, str(_path(other)), str(_path(here)))  # MLflow's default experiment has a plain path
    return [str(_path(other)) for other in others]


def _damaged(database: Path, reason: str) -> DcubeError:
    return DcubeError(
        f"{database} is damaged ({' '.join(reason.split())}): restore a copy of it, or move it away; then "
        "`dcube doctor` and `dvc repro` register the present models again"
    )


def _foreign_locations(database: Path) -> list[str]:
    """Return the other folders `mlruns` in which experiments of the database keep their artifacts."""
    if not database.exists():
        return []
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    except sqlite3.OperationalError:  # no table yet: MLflow creates it
        return []
    except sqlite3.DatabaseError as error:
        raise _damaged(database, str(error)) from None
    ours = (it for (it,) in found if it and it.startswith("file:") and it.endswith(f"/{ARTIFACTS}"))
    return [it for it in ours if it != artifact_location(database)]


def _refuse_missing(connection: sqlite3.Connection, other: Path, here: Path) -> None:
    missing = [] if here.exists() else [here.name]
    for place in map(_path, _places(connection)):
        if place.is_relative_to(other) and place.exists() and not (here / place.relative_to(other)).exists():
            missing.append(str(place.relative_to(other)))
    if missing:
        raise DcubeError(
            f"{here} lacks artifacts that this database names: {abbreviated(missing)}: copy them from {other} "
            f"(`cp -rn {other} {here.parent}`), then run `dcube doctor` again"
        )


def _places(connection: sqlite3.Connection) -> Iterator[str]:
    for table, column in PLACES.items():
        yield from (it for (it,) in connection.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"))


def _rename(connection: sqlite3.Connection, old: str, new: str) -> None:
    for table, column in PLACES.items():
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
            (new, len(old) + 1, len(old) + 1, f"{old}/"),
        )


def _path(uri: str) -> Path:
    return Path(url2pathname(urlsplit(uri).path))
