"""A process that is killed at any instant leaves either the old folder or the new one, never a partial one."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcube.artifacts import atomic
from dcube.artifacts.atomic import atomic_folder, atomic_write, set_aside

EVENTS = {"ctypes.dlopen", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.mkdir"}
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


def after_each_kill(parent: Path) -> Iterator[Path]:
    """Yield a folder for each file system change before which its replacement was killed, and the one that finished."""
    event, killed = 0, True
    while killed:
        folder = parent / str(event)
        folder.mkdir()
        fill(folder, "old")
        killed = killed_at(event, folder)
        yield folder
        event += 1
    assert event > 5 and (folder / NAMES[0]).read_text() == "new"


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot exchange two folders."""
    monkeypatch.setattr(atomic, "_exchange", lambda *folders: False)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems rename twice")
def test_folder_exists_at_every_instant(tmp_path: Path) -> None:
    for folder in after_each_kill(tmp_path):
        assert [(folder / name).read_text() for name in NAMES] in (["old"] * 5, ["new"] * 5), folder
        assert not set_aside(tmp_path)


def test_link_to_a_folder_elsewhere_is_replaced_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "set"
    folder.symlink_to("elsewhere")
    for content in ("old", "new"):
        with atomic_folder(folder) as partial:
            fill(partial, content)
    assert (folder / NAMES[0]).read_text() == "new" and len(list(tmp_path.iterdir())) == 2


def test_killed_process_leaves_a_whole_folder(tmp_path: Path, no_exchange: None) -> None:
    for folder in after_each_kill(tmp_path):
        if folder in set_aside(tmp_path):
            assert not folder.exists()
        else:
            assert [(folder / name).read_text() for name in NAMES] in (["old"] * 5, ["new"] * 5), folder
        with pytest.raises(RuntimeError), atomic_folder(folder):
            raise RuntimeError  # a failed attempt restores the previous folder and leaves no other files
        assert {(folder / name).read_text() for name in NAMES} in ({"old"}, {"new"}), folder
        assert not list(tmp_path.glob(".*"))


def test_failed_replacement_restores_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_exchange: None
) -> None:
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
