"""`dcube params`: choose, show and check the parameters (params.yaml)."""

from collections.abc import Iterator
from typing import Annotated

import typer

from dcube.artifacts.layout import DATASET, PARAMS, PLAN, PREPARED
from dcube.cli.terminal import print_rich
from dcube.config.loading import load_params, load_preset, preset_names
from dcube.config.schema import Group
from dcube.errors import DcubeError

app = typer.Typer(help="Choose, show and check the parameters (params.yaml).", no_args_is_help=True)


@app.command("use")
def params_use(
    name: Annotated[str, typer.Argument(help="Name of a preset, see `dcube params list`.")],
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite params.yaml even if it was edited.")] = False,
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
    """List the presets."""
    print("\n".join(preset_names()))


@app.command("show")
def params_show() -> None:
    """Show every parameter with its value and description."""
    from rich.table import Table

    for group_name, group in load_params(PARAMS):
        table = Table("parameter", "value", "meaning", title=f"{group_name}: {type(group).__doc__}")
        for name, value, description in _rows(group):
            table.add_row(name, value, description)
        print_rich(table)


def _rows(group: Group, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, value and meaning of each parameter of a group and its subgroups."""
    for name, info in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, Group):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value), info.description or ""


@app.command("check")
def params_check() -> None:
    """Check that params.yaml is valid and the stages can run with it: networks, weights, classes, labels."""
    params = load_params(PARAMS)
    from dcube.artifacts.schemas.dataset import DatasetInfo
    from dcube.feasibility import refuse_infeasible

    prepared = PREPARED / DATASET
    dataset = DatasetInfo.load(prepared) if prepared.exists() else None
    refuse_infeasible(params, dataset if dataset and dataset.name == params.data.name else None)
    print(f"{PARAMS} is valid")


def refuse_edited() -> None:
    """Raise `DcubeError` if params.yaml is neither a preset nor as `dcube plan` has written it."""
    from dcube.artifacts.schemas.plan import PlanSummary
    from dcube.planning.changes import planned_params

    known = [load_preset(preset) for preset in preset_names()]
    known += [planned_params(PlanSummary.load(PLAN))] if PLAN.exists() else []
    if load_params(PARAMS) not in known:
        raise DcubeError(f"{PARAMS} was edited and differs from every preset: keep a copy of it, then give --replace")
