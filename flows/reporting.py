"""What a run shows in the Prefect UI: a progress bar a stage, and the table of results."""

import json
import logging
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from dcube.errors import DcubeError
from dcube.evaluation.metrics import HEADLINES, spelled

PHANTOM = "**Phantom data: invented images. This shows that everything runs; it proves nothing about medicine.**"


class StageProgress:
    """The progress artifact of one stage, made with the first record. A server that is away stops no stage."""

    def __init__(self, stage: str) -> None:
        self.key = f"progress-{slug(stage)}"
        self.artifact: UUID | None = None

    def show(self, record: dict[str, Any]) -> None:
        """`record` as `dcube.engine.progress` writes it."""
        percent, text = 100 * record["completed"] / max(record["total"], 1), progress_text(record)
        try:
            if self.artifact is None:
                self.artifact = create_progress_artifact(percent, key=self.key, description=text)  # type: ignore[assignment]
            else:
                update_progress_artifact(self.artifact, percent, description=text)
        except httpx.HTTPError:
            pass  # the next record tries again


def progress_text(record: dict[str, Any]) -> str:
    parts = [f"{record['completed']}/{record['total']} {record['unit']}", f"{record['rate']:.3g} {record['unit']}/s"]
    if record["remaining_s"]:
        parts.append(f"{record['remaining_s']:.0f} s left")
    parts += [f"{name} {value:.4g}" for name, value in record["values"].items()]
    return f"{record['description']}: {', '.join(parts)}"


def show_results(evaluations: Path) -> None:
    """Put the table of all evaluations below the folder, if there are any, on the run's page."""
    results = {file.parent.name: json.loads(file.read_text()) for file in sorted(evaluations.glob("*/metrics.json"))}
    if results:
        create_markdown_artifact(results_table(results), key="results", description="Figures on the test split")


def results_table(results: dict[str, dict[str, Any]]) -> str:
    """`results` (model → content of its `metrics.json`) as a Markdown table, each figure with its interval."""
    rows = [["model", *map(spelled, HEADLINES)], ["---"] * (len(HEADLINES) + 1)]
    rows += [[model, *(_cell(result, name) for name in HEADLINES)] for model, result in results.items()]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    phantom = any(result.get("is_phantom") for result in results.values())
    return f"{PHANTOM}\n\n{table}" if phantom else table


def _cell(result: dict[str, Any], name: str) -> str:
    return "{value:.3f} ({low:.3f}–{high:.3f})".format(value=result["test"][name], **result["interval"][name])


class WithoutTraceback(logging.Filter):
    """What a person can mend needs one line in the log, and no traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], DcubeError):
            record.exc_info = None
        return True


for runs in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(runs).addFilter(WithoutTraceback())


def slug(name: str) -> str:
    """Lower-case letters, digits and dashes: what Prefect takes as a key and git as a part of a reference."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
