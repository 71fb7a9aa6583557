"""`dcube methods`: the published methods to compare with."""

from dcube.cli.terminal import print_rich


def methods() -> None:
    """List the published methods that can be a baseline (baseline.method), and their training settings."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from dcube.classifier.method import all_methods

    table = Table("name", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True
    for column in ("optimiser", "rate", "decay", "epochs", "settings from"):
        table.add_column(column, overflow="fold")
    for it in all_methods():
        numbers = f"{it.learning_rate:g}", f"{it.weight_decay:g}", str(it.epochs)
        table.add_row(it.name, it.optimiser, *numbers, it.settings_from)
    print_rich(table)
    print("baseline.method is one of these, or a network of timm: NAME, or NAME_probe (frozen, with a linear probe).")
