"""Output of a study: a folder with tables, a plot, and all metrics of all repeats."""

import shutil
from pathlib import Path

import pandas as pd

from dcube.artifacts.atomic import atomic_folder
from dcube.artifacts.markdown import markdown_table
from dcube.artifacts.tables import read_csv, to_csv
from dcube.studies.plots import plot
from dcube.studies.rendering import comparisons_frame, latex, markdown, repeats_frame
from dcube.studies.table import Line, StudyTable
from dcube.studies.trials import Variant

MARKDOWN, LATEX, REPEATS, COMPARISONS = "table.md", "table.tex", "repeats.csv", "comparisons.csv"
PLOT = "plot.png"
LONGEST_SHOWN = 60  # longer CSV files are not shown in the Markdown


def write(table: StudyTable, folder: Path) -> None:
    """Write the whole output, in place of that of an earlier run of the study."""
    with atomic_folder(folder) as partial:
        text = markdown(table)
        if table.study.report == "files":
            text += "".join(f"\n{_reported(line, partial)}" for line in table.lines)
        else:
            to_csv(repeats_frame(table), partial / REPEATS)
            (partial / LATEX).write_text(latex(table), encoding="utf-8")
            if table.lines:
                plot(table).savefig(partial / PLOT, dpi=150)
                text += f"\n![{table.study.title}]({PLOT})\n"
        if table.comparisons:
            to_csv(comparisons_frame(table), partial / COMPARISONS)
        (partial / MARKDOWN).write_text(text, encoding="utf-8")


def _reported(line: Line, folder: Path) -> str:
    """Copy the files of a line's results into `folder`, and return Markdown with pictures and short tables."""
    shown = []
    for repeat, result in enumerate(line.results):
        for file in sorted(result.folder.iterdir()):
            name = file.name if len(line.results) == 1 else f"{file.stem}-{repeat}{file.suffix}"
            name = name if line.variant.value is None else _slug(line.variant) + name
            shutil.copyfile(file, folder / name)
            shown.append(_shown(folder / name))
    return "\n\n".join(filter(None, shown)) + "\n"


def _slug(variant: Variant) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in variant.title.lower()) + "-"


def _shown(file: Path) -> str:
    if file.suffix == ".png":
        return f"![{file.stem}]({file.name})"
    if file.suffix == ".csv" and len(frame := read_csv(file)) <= LONGEST_SHOWN:
        rows = frame.round(4).itertuples(index=False)
        return markdown_table(list(frame.columns), (["–" if pd.isna(it) else str(it) for it in row] for row in rows))
    return ""
