"""Rendering of a study's table as Markdown, LaTeX, CSV and terminal output."""

import math
from collections.abc import Callable, Iterable

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from dcube.artifacts.markdown import markdown_table
from dcube.evaluation.conclusions import SIGNIFICANT, p_in_words
from dcube.evaluation.metrics import title_of
from dcube.studies.statistics import RepeatStatistics
from dcube.studies.table import FROM_SCRATCH, Line, StudyTable

Emphasise = Callable[[str], str]


def markdown(table: StudyTable) -> str:
    """Return title, table, notes, comparisons and failures as Markdown."""
    parts = [f"## {table.study.title}: {table.data}", table.study.about]
    parts += [markdown_table(*_grid(table, _bold))] if table.metrics else []
    parts += [" ".join(notes(table))]
    if table.comparisons:
        parts += [f"**{table.study.reference} minus each other row:**", markdown_table(*_comparison_grid(table))]
    parts += [f"Not computed: {title}: {reason}" for title, reason in table.failures.items()]
    return "\n\n".join(filter(None, parts)) + "\n"


def latex(table: StudyTable) -> str:
    """Return a LaTeX `booktabs` table for a paper."""
    header, rows = _grid(table, lambda text: rf"\textbf{{{text}}}")
    body = [" & ".join(map(_escaped, row)) + r" \\" for row in rows]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(table.study.title)}, {_escaped(table.data)}. {_escaped(' '.join(notes(table)))}}}",
            rf"\begin{{tabular}}{{l{'c' * (len(header) - 1)}}}",
            r"\toprule",
            " & ".join(map(_escaped, header)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def repeats_frame(table: StudyTable) -> pd.DataFrame:
    """Return all metrics of all repeats: row, group, at (value of the sweep), repeat, split, metric, result."""
    rows = []
    for line in table.lines:
        for repeat, result in enumerate(line.results):
            validation = result.validation
            own = {"test": {name: result.metrics.get(name, math.nan) for name in table.metrics}}
            own |= {"validation": validation} if validation else {}
            rows += [
                (line.variant.row.name, line.variant.row.group, line.variant.value, repeat, split, metric, value)
                for split, metrics in own.items()
                for metric, value in metrics.items()
            ]
    return pd.DataFrame(rows, columns=["row", "group", "at", "repeat", "split", "metric", "result"])


def comparisons_frame(table: StudyTable) -> pd.DataFrame:
    rows = [
        (table.study.reference, one.other.row.name, one.other.value, metric, *vars(difference).values(), one.p[metric])
        for one in table.comparisons
        for metric, difference in one.differences.items()
    ]
    own = ["first", "second", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=["reference", "row", "at", "metric", *own, "p_corrected"])


def notes(table: StudyTable) -> list[str]:
    """Return notes on how to read the table, one or two sentences each."""
    study, repeats = table.study, table.study.repeats
    said = [note for note in (table.split_notice, table.note) if note]
    if repeats > 1:
        said.append(f"Mean ± standard deviation of {repeats} repeats ({', '.join(study.vary)}).")
    if any(line.intervals for line in table.lines):
        said.append("Every repeat is tested on images of its own. In brackets: interval over their patients.")
    if table.metrics:
        better = "ahead of every other row within this split" if table.split_notice else "better than every other row"
        said.append(f"Bold: {better}, p < {SIGNIFICANT} (Holm).")
    if any(line.from_scratch for line in table.lines):
        said.append(f"{FROM_SCRATCH} trained from scratch: the weights that its authors start from were not available.")
    if table.definition:
        said.append("Measured with " + ", ".join(f"{key} {value}" for key, value in table.definition.items()) + ".")
    chosen = [f"{line.variant.title}: {_settings(line)}" for line in table.lines if line.chosen]
    if chosen:
        said.append(f"Chosen on validation: {'; '.join(chosen)}.")
    return said


def terminal(table: StudyTable) -> list[Table | str]:
    """Return the tables and lines that `dcube study` prints."""
    shown: list[Table | str] = []
    if table.metrics:
        shown.append(_rich(f"{table.study.title}: {table.data}", *_grid(table, lambda text: f"[bold]{text}[/]")))
    shown += notes(table)
    if table.comparisons:
        shown.append(_rich(f"{table.study.reference} minus each other row", *_comparison_grid(table)))
    return [*shown, *(f"not computed: {title}: {reason}" for title, reason in table.failures.items())]


def _grid(table: StudyTable, emphasise: Emphasise) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of cells."""
    sweep = table.study.sweep
    with_paper = any(line.paper for line in table.lines)
    header = ["", *([sweep.title] if sweep else []), *map(title_of, table.metrics)]
    header += [f"paper: {title_of(name)}" for name in table.study.metrics] if with_paper else []
    rows = []
    for line in table.lines:
        cells = [line.title, *([f"{line.variant.value}"] if sweep else [])]
        cells += [_cell(line, metric, emphasise) for metric in table.metrics]
        if with_paper:
            cells += [f"{line.paper[name] / 100:.3f}" if name in line.paper else "" for name in table.study.metrics]
        rows.append(cells)
    return header, rows


def _cell(line: Line, metric: str, emphasise: Emphasise) -> str:
    low, high = line.intervals.get(metric, (math.nan, math.nan))
    text = value_in_words(line.metrics[metric]) + ("" if math.isnan(low) else f" ({low:.3f}–{high:.3f})")
    return emphasise(text) if metric in line.best else text


def value_in_words(value: RepeatStatistics) -> str:
    digits = 3 if abs(value.mean) < 10 else 1
    if math.isnan(value.mean):
        return "–"
    spread = "" if math.isnan(value.deviation) else f" ± {value.deviation:.{digits}f}"
    return f"{value.mean:.{digits}f}{spread}"


def _comparison_grid(table: StudyTable) -> tuple[list[str], list[list[str]]]:
    rows = []
    for one in table.comparisons:
        cells = []
        for metric, value in one.differences.items():
            digits = 3 if abs(value.first) < 10 else 1
            spread = f"{value.low:+.{digits}f} … {value.high:+.{digits}f}"
            cells.append(f"{value.value:+.{digits}f} ({spread}), {p_in_words(one.p[metric])}")
        rows.append([one.other.title, *cells])
    return ["", *map(title_of, table.metrics)], rows


def _rich(title: str, header: list[str], rows: Iterable[list[str]]) -> Table:
    table = Table(*header, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(row[0], *map(Text.from_markup, row[1:]))
    return table


def _bold(text: str) -> str:
    return f"**{text}**"


def _escaped(text: str) -> str:
    replaced = {
        "%": r"\%",
        "&": r"\&",
        "_": r"\_",
        "#": r"\#",
        "±": r"$\pm$",
        "†": r"$^\dagger$",
        "–": "--",
        "×": r"$\times$",
    }
    return "".join(replaced.get(letter, letter) for letter in text)


def _settings(line: Line) -> str:
    return ", ".join(f"{parameter} = {value}" for parameter, value in line.chosen.items())
