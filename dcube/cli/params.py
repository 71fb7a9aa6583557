"""`dcube params`: choose, show and check the parameters (params.yaml)."""

from typing import Annotated

import typer

from dcube.artifacts.layout import PARAMS
from dcube.cli.terminal import Replace, print_rich
from dcube.config.loading import load_params, load_preset, preset_names
from dcube.errors import DcubeError

app = typer.Typer(help="Choose, show and check the parameters (params.yaml).", no_args_is_help=True)


@app.command("use")
def params_use(
    name: Annotated[str, typer.Argument(help="Name of a preset, see `dcube params list`.")], replace: Replace = False
) -> None:
    """Write params.yaml from a preset."""
    from dcube.artifacts.atomic import atomic_write

    text = load_preset(name).to_yaml()
    if PARAMS.exists() and not replace:
        refuse_edited()
    atomic_write(PARAMS, text.encode())
    print(f"{PARAMS} holds the preset {name}")


@app.command("list")
def params_list() -> None:
    """Names of the presets."""
    print("\n".join(preset_names()))


@app.command("show")
def params_show() -> None:
    """Every parameter with its value and meaning."""
    from rich.table import Table

    for group_name, group in load_params(PARAMS):
        table = Table("parameter", "value", "meaning", title=f"{group_name}: {type(group).__doc__}")
        for field, info in type(group).model_fields.items():
            table.add_row(field, str(getattr(group, field)), info.description)
        print_rich(table)


@app.command("check")
def params_check() -> None:
    """Whether params.yaml is valid."""
    load_params(PARAMS)
    print(f"{PARAMS} is valid")


def refuse_edited() -> None:
    """Raises: DcubeError: params.yaml differs from every preset."""
    known = {load_preset(preset).to_yaml() for preset in preset_names()}
    if PARAMS.read_text(encoding="utf-8") not in known:
        raise DcubeError(f"{PARAMS} was edited and differs from every preset: keep a copy of it, then give --replace")
