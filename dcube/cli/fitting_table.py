"""A table that fits a terminal of any width."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

UNLIMITED = 10_000


@dataclass(frozen=True)
class Column:
    """A column of a `FittingTable`.

    Attributes:
        number: whether cells are numbers, which are centred.
        optional: whether the column is left out first if the table is wider than the terminal.
    """

    title: str
    number: bool = False
    optional: bool = False

    @property
    def header(self) -> str:
        return self.title.replace(" ", "\n")


class FittingTable:
    """A table that leaves out columns that do not fit, and names them below, instead of breaking words.

    The widest optional columns are left out first, then the widest number columns, except the last one. Cells may
    contain rich markup such as `[dim]`.
    """

    def __init__(self, title: str, columns: Sequence[Column]) -> None:
        self.title, self.columns = title, columns
        self.rows: list[tuple[str, ...]] = []

    def add_row(self, *cells: str) -> None:
        self.rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        shown = list(range(len(self.columns)))
        unlimited = options.update(max_width=UNLIMITED)
        while console.measure(self._table(shown), options=unlimited).maximum > options.max_width:
            optional = [place for place in shown if self.columns[place].optional]
            numbers = [place for place in shown if self.columns[place].number]
            if not optional and len(numbers) < 2:
                break
            shown.remove(max(optional or numbers, key=self._width))
        yield self._table(shown)
        if left_out := [column.title for place, column in enumerate(self.columns) if place not in shown]:
            yield f"A wider terminal also shows: {', '.join(left_out)}."

    def _table(self, shown: Sequence[int]) -> Table:
        table = Table(
            title=Text(self.title, style="table.title"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False
        )
        for column in (self.columns[place] for place in shown):
            table.add_column(column.header, justify="center" if column.number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text.from_markup(row[place]) for place in shown))
        return table

    def _width(self, place: int) -> int:
        cells = [self.columns[place].header, *(row[place] for row in self.rows)]
        return max(line.cell_len for cell in cells for line in Text.from_markup(cell).split("\n"))
