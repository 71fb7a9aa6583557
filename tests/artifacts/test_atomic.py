"""A process that is killed at any instant leaves either the old folder or the new one, never a partial one."""

import os
import sys
from pathlib import Path

import pytest

from dcube.artifacts.atomic import atomic_folder, atomic_write

EVENTS = {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.mkdir"}
NAMES = [f"{number}.png" for number in range(5)]


def fill(folder: Path, content: str) -> None:
    for name in NAMES:
        (folder / name).write_text(content)


def killed_at(event: int, folder: Path) -> bool:
    """Replace `folder` in a process that dies just before its `event`-th file system change; False if it finished."""
    child = os.fork()
    if child == 0:
        left = iter(range(event))
        sys.addaudithook(lambda name, _: None if name not in EVENTS or next(left, None) is not None else os._exit(9))
        with atomic_folder(folder) as partial:
            fill(partial, "new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_killed_process_leaves_a_whole_folder(tmp_path: Path) -> None:
    event, killed = 0, True
    while killed:
        folder = tmp_path / str(event)
        folder.mkdir()
        fill(folder, "old")
        killed = killed_at(event, folder)
        if folder.exists():
            assert [(folder / name).read_text() for name in NAMES] in (["old"] * 5, ["new"] * 5), event
        with pytest.raises(RuntimeError), atomic_folder(folder):
            raise RuntimeError  # a failed attempt restores the previous folder and leaves no other files
        assert {(folder / name).read_text() for name in NAMES} in ({"old"}, {"new"}), event
        assert not list(tmp_path.glob(".*"))
        event += 1
    assert event > 5 and (folder / NAMES[0]).read_text() == "new"


def test_failed_replacement_restores_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    fill(folder, "old")
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if target == folder and path.name == ".set.partial":
            raise OSError("no space")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no space"), atomic_folder(folder) as partial:
        fill(partial, "new")
    assert (folder / NAMES[0]).read_text() == "old" and list(tmp_path.iterdir()) == [folder]


def test_atomic_write_keeps_a_link_to_a_device(tmp_path):
    link = tmp_path / "nowhere"
    link.symlink_to(os.devnull)
    atomic_write(link, b"gone")
    assert link.is_symlink() and not link.is_file()
