"""The installed package holds every file that is not Python, e.g. `py.typed`, without which callers get no types."""

import tomllib

from tests.support.checkout import ROOT


def test_files_that_are_not_python_are_package_data() -> None:
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["dcube"]
    declared = {file for glob in globs for file in (ROOT / "dcube").glob(glob)}
    there = {file for file in (ROOT / "dcube").rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert ROOT / "dcube/py.typed" in declared and there <= declared
