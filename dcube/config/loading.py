"""Loading parameters from files, presets and single settings, with one-line errors that say what to do."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dcube.config.schema import Group, Params
from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError

SomeGroup = TypeVar("SomeGroup", bound=Group)


def load_params(path: Path) -> Params:
    """Read and validate a parameter file.

    Raises:
        DcubeError: if the file is missing or invalid. The message names the key and, if unknown, the nearest valid one.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DcubeError(f"{path} is missing: write one with `dcube params use phantom`") from None
    return params_from(parse_yaml(content, where=str(path)), where=str(path))


def params_from(values: Any, where: str) -> Params:
    """Validate plain values. `where` names their source in error messages."""
    return validated(Params, values, where)


def with_settings(params: Params, settings: Sequence[str]) -> Params:
    """Return `params` with each `group.key=value` applied. Values are read as YAML.

    Raises:
        DcubeError: if a setting is not of the form `group.key=value`, or not valid.
    """
    return with_overrides(params, parse_settings(settings), where="--set")


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return dotted path → value for each `group.key=value`. Values are read as YAML.

    Raises:
        DcubeError: if a setting is not of this form.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise DcubeError(f"--set {setting}: expected group.key=value")
        values[path] = parse_yaml(value, where=f"--set {setting}")
    return values


def with_overrides(params: Params, settings: Mapping[str, Any], where: str) -> Params:
    """Return `params` with other values at dotted paths. `where` names their source in error messages."""
    values = params.model_dump(mode="json")
    for path, value in settings.items():
        *groups, key = path.split(".")
        target = values
        for group in groups:
            target = target.setdefault(group, {})
            if not isinstance(target, dict):
                raise DcubeError(f"{where}: {path}: {group} has no keys below it")
        target[key] = value
    return params_from(values, where)


def not_given(group: Group, prefix: str = "") -> list[str]:
    """Return the parameters left at their defaults, except those whose default is empty: a form omits empty values."""
    missing = []
    for name, value in group:
        if name not in group.model_fields_set and value not in (None, [], {}):
            missing.append(f"{prefix}{name}")
        elif isinstance(value, Group):
            missing += not_given(value, f"{prefix}{name}.")
    return missing


def validated(group: type[SomeGroup], values: Any, where: str) -> SomeGroup:
    """Validate plain values as a parameter group. `where` names their source in error messages.

    Raises:
        DcubeError: if a key is not valid; the message names all invalid keys.
    """
    try:
        return group.model_validate(values)
    except ValidationError as error:
        raise DcubeError(f"{where}: " + "; ".join(_explain(e, group) for e in error.errors())) from None


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings and pydantic models to one level of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json")
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def preset_names() -> list[str]:
    return sorted(p.name.removesuffix(".yaml") for p in _preset_folder().iterdir() if p.name.endswith(".yaml"))


def load_preset(name: str) -> Params:
    """Load a preset: the defaults with the changes that it makes."""
    if name not in preset_names():
        raise DcubeError(f"no preset {name!r}{_nearest(name, preset_names())}: choose from {', '.join(preset_names())}")
    where = f"preset {name}"
    return params_from(parse_yaml((_preset_folder() / f"{name}.yaml").read_bytes(), where), where)


def _preset_folder() -> Any:
    return resources.files("dcube.config") / "presets"


def _explain(error: Any, group: type[Group]) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}{_meant(location, group)}"
    message = error["msg"].removeprefix("Value error, ")
    if not key:
        return message
    got = "" if isinstance(error["input"], dict) else f" (got {error['input']!r})"  # a group is too long to show
    return f"{key}: {message[0].lower()}{message[1:]}{got}"


def _meant(location: list[str], group: type[Group]) -> str:
    """Return a hint for an unknown key: the keys of this name in groups below it, or else the nearest key."""
    below = [path for path in _paths(group) if path.endswith(f".{location[0]}")] if len(location) == 1 else []
    if below:
        return f" (did you mean {', '.join(below)}?)"
    return _nearest(location[-1], _keys_at(group, location[:-1]))


def _paths(group: type[Group], prefix: str = "") -> Iterator[str]:
    for name, field in group.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            yield from _paths(field.annotation, f"{prefix}{name}.")


def _keys_at(group: Any, location: list[str]) -> list[str]:
    for part in location:
        group = group.model_fields[part].annotation
    return list(group.model_fields)


def _nearest(word: str, choices: list[str]) -> str:
    match = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f" (did you mean {match[0]}?)" if match else ""
