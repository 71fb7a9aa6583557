"""Modules that are named in a string, as `python -m` and `import_module` take them, escape import-linter."""

import ast
import re
from pathlib import Path

from tests.support.checkout import ROOT

# These programs are started as separate processes, so their names have to be strings.
PROGRAMS = {"dcube/cli/orchestrator.py": {"flows.study", "flows.flow_run"}}
MODULE = re.compile(r"(?:dcube|flows)(?:\.\w+)+")
CODE = re.compile(rf"(?:from|import) ({MODULE.pattern})")


def exists(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


def named_modules(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} if MODULE.fullmatch(node.value) else set(CODE.findall(node.value))
    return set(filter(exists, found))


def package_of(place: str) -> str:
    return ".".join(Path(place).with_suffix("").parts[:2])


def test_modules_of_other_packages_are_not_named_in_strings():
    files = {str(file.relative_to(ROOT)): file for file in (ROOT / "dcube").rglob("*.py")}
    named = {
        place: {it for it in named_modules(file) if not it.startswith(package_of(place))}
        for place, file in files.items()
    }
    assert {place: modules for place, modules in named.items() if modules} == PROGRAMS
