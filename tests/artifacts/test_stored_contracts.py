"""No field of a stored file changes by mistake, because files outlive the code that wrote them.

`contracts.txt` contains the fields of all artifacts with their `format_version`. Before you change a field, decide:
either files of this version can still be read, or the version is raised. Then write `contracts.txt` again:

    python -m tests.artifacts.test_stored_contracts > tests/artifacts/contracts.txt
"""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from dcube.artifacts.schemas.artifact import FORMAT_VERSION, ArtifactPart
from tests.support.checkout import ROOT

FIELDS = Path(__file__).with_name("contracts.txt")
FOR_PEOPLE = {"title", "description", "default"}


def contracts() -> Iterator[type[ArtifactPart]]:
    """Yield the classes of all artifacts and of their parts, by name."""
    for file in sorted((*(ROOT / "dcube").rglob("*.py"), *(ROOT / "flows").rglob("*.py"))):
        if "artifacts.schemas.artifact import" in file.read_text(encoding="utf-8"):
            import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    known = [ArtifactPart]
    for each in known:
        known += each.__subclasses__()
    ours = (cls for cls in known if not cls.__module__.startswith("tests"))
    yield from sorted(ours, key=lambda cls: cls.__name__)


def fields_of(cls: type[ArtifactPart]) -> Iterator[str]:
    """Yield a line for each field, without titles, descriptions and defaults; `=` marks a field that may be missing."""
    schema = cls.model_json_schema()
    schema = schema["$defs"][cls.__name__] if "$ref" in schema else schema  # of a class with parts of its own kind
    number = schema["properties"].pop(FORMAT_VERSION)["const"] if FORMAT_VERSION in schema.get("properties", {}) else ""
    yield f"{cls.__name__} {number}".strip()
    for name, its in schema.get("properties", {}).items():
        sign = ":" if name in schema.get("required", ()) else " ="
        kept = {key: value for key, value in its.items() if key not in FOR_PEOPLE}
        yield f"    {name}{sign} {json.dumps(kept, sort_keys=True)}"


def test_fields_of_stored_files_equal_the_recorded_ones():
    then, now = FIELDS.read_text(encoding="utf-8").splitlines(), [line for it in contracts() for line in fields_of(it)]
    changed = [line for line in now if line not in then] + [f"gone: {line}" for line in then if line not in now]
    assert then == now, f"are files of the same format_version still read? See {__name__}: {changed}"


if __name__ == "__main__":
    print("\n".join(line for it in contracts() for line in fields_of(it)))
