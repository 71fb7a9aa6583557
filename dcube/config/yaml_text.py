"""YAML 1.2 as DVC reads it: `no` and `1:30` are strings, `010` is the number 10, and `1e-4` is a number."""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dcube.errors import DcubeError


def parse_yaml(content: str | bytes, where: str) -> Any:
    """Parse a YAML text. `where` names its source in error messages.

    Raises:
        DcubeError: if the text is not valid YAML, or a key occurs twice.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date
        raise DcubeError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


def dump_yaml(values: Any) -> str:
    """Write values as YAML in the order of their keys. Text that would be read as another type is quoted."""
    writer, text = YAML(typ="safe", pure=True), io.StringIO()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel's stub
    writer.allow_unicode, writer.width = True, 1000
    writer.dump(values, text)
    return text.getvalue()
