"""The table of internals in docs/architecture.md, compared with the code and with what is installed."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tests.support.checkout import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Internals that an upgrade")[2]
ROWS = [[cell.strip() for cell in line[1:-1].split("|")] for line in PAGE.splitlines() if line.startswith("| ")][2:]
OWN = {"dcube", "flows", "tests", "benchmarks"}


def listed() -> dict[str, str]:
    """The text of all rows of each module."""
    found: dict[str, str] = {}
    modules: list[str] = []
    for module, *rest in ROWS:
        modules = re.findall(r"`([^`]+)`", module) or modules  # a row without a module belongs to the previous one
        for name in modules:
            place = name if (ROOT / name).exists() else f"dcube/{name}"
            found[place] = f"{found.get(place, '')} {' '.join(rest)}"
    return found


def defined_in(tree: ast.Module) -> set[str]:
    """Names that a module defines itself."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
    return found


def private_names(file: Path) -> Iterator[str]:
    """Private names of other packages that a module imports or reads as an attribute."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    own = defined_in(tree)
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.partition(".")[0] not in OWN:
                words = [*module.split("."), *(alias.name for alias in names)]
                yield from (word for word in words if word.startswith("_") and not word.startswith("__"))
            case ast.Attribute(value=value, attr=name) if name.startswith("_") and not name.startswith("__"):
                if name not in own and ast.unparse(value) not in sys.stdlib_module_names:
                    yield name


def test_used_private_names_of_other_packages_are_listed():
    rows = listed()
    for folder in sorted(OWN):
        for file in (ROOT / folder).rglob("*.py"):
            place = str(file.relative_to(ROOT))
            missing = [name for name in private_names(file) if name not in rows.get(place, "")]
            assert not missing, f"{place} uses {missing}: avoid them, or list them in docs/architecture.md"


def test_modules_and_tests_named_in_the_table_exist():
    for place in listed():
        assert (ROOT / place).exists(), place
    for *_, tests in ROWS:
        for file in re.findall(r"`(\w+/\w+\.py)", tests):
            assert (ROOT / "tests" / file).exists(), file


def test_installed_versions_equal_those_named_in_the_docs():
    named = " ".join(PAGE.partition("Checked with ")[2].partition("\n\n")[0].split()).rstrip(".")
    for package, checked in re.findall(r"([\w-]+) ([\d.]+)", named):
        assert version(package) == checked, f"check the table of docs/architecture.md with {package} {version(package)}"
