"""YAML 1.2, read as DVC reads it: `no` is a word, `010` is ten, `1:30` is no number, `1e-4` is one."""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dcube.errors import DcubeError


def parse_yaml(content: str | bytes, where: str) -> Any:
    """The values in a text; `where` names its source in errors.

    Raises:
        DcubeError: it is no YAML, or a key stands twice.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:  # a date that is none is a ValueError
        raise DcubeError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


def dump_yaml(values: Any) -> str:
    """In the order of the keys; text that would be read as something else is quoted."""
    writer, text = YAML(typ="safe", pure=True), io.StringIO()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel's stub
    writer.allow_unicode, writer.width = True, 1000
    writer.dump(values, text)
    return text.getvalue()
