"""Terminal tables of the registry: versions, champions, comparison of challenger and champion, lineage."""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dcube.cli.fitting_table import Column, FittingTable
from dcube.evaluation.metrics import COMPARED, metric_of
from dcube.registry.champions import Event
from dcube.registry.promotion import Proposal
from dcube.registry.promotion_policy import COLUMNS
from dcube.registry.versions import CHAMPION, ModelSnapshot
from dcube.tracking import tags

if TYPE_CHECKING:
    from dcube.registry.provenance import Provenance
    from dcube.registry.reproduction import Reproduction
    from dcube.registry.version import Version

CHOOSES = metric_of("auroc")  # the validation metric that chooses the challenger


def versions_table(snapshot: ModelSnapshot, versions: Sequence["Version"]) -> FittingTable:
    """Return the table of versions. Below a metric is its difference from the champion's on the same test images."""
    aliases = snapshot.aliases
    champion = next((it for it in versions if it.version == aliases.get(CHAMPION)), None)
    metrics = [f"{tags.TEST_METRIC}{metric.name}" for metric in COMPARED]
    metrics.append(f"{tags.VALIDATION_METRIC}{CHOOSES.in_validation or CHOOSES.name}")
    columns = [Column(name) for name in ("version", "model", "aliases")]
    columns += [Column(metric.title, number=True) for metric in COMPARED]
    columns.append(Column(f"validation {CHOOSES.title}", number=True, optional=True))
    columns += [Column(name, optional=True) for name in ("test", "registered", "pipeline")]
    table = FittingTable(snapshot.name, columns)
    for version in versions:
        table.add_row(
            version.version,
            escape(_model(version.tags)),
            escape("\n".join(sorted(alias for alias, at in aliases.items() if at == version.version))),
            *(_metric(version, champion, name) for name in metrics),
            escape(version.tags.get(tags.TEST, "")[:6]),
            _moment(datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)),
            escape(version.tags.get(tags.PIPELINE, "")[:8]),
        )
    return table


def split_notices(versions: Iterable["Version"]) -> list[Text]:
    """Return the warnings about the splits behind the versions' metrics."""
    return [Text(notice) for notice in sorted({it.tags.get(tags.SPLIT_NOTICE, "") for it in versions} - {""})]


def _model(known: dict[str, str]) -> str:
    """Return the candidate's name, and for a baseline also its method."""
    name, kind = known.get(tags.MODEL, ""), known.get(tags.KIND, "")
    return name if kind in (name, "") else f"{name}\n{kind}"


def history_table(name: str, events: list[Event]) -> Table:
    table = _table(f"Champions of {name}", "version", "since", "who", "how", "instead of", "why")
    for event in events:
        since = _moment(datetime.fromisoformat(event.when))
        cells = (event.who, event.how, event.replaced or "", event.why)
        table.add_row(event.version, Text.from_markup(since), *cells)
    return table


def proposal_table(proposal: Proposal) -> Table:
    table = _table(proposal.title, *COLUMNS)
    for row in proposal.verdict.rows:
        table.add_row(*row)
    return table


def lineage_table(origin: "Provenance") -> Table:
    table = _table(f"{origin.registered_model.name} version {origin.version.version}", "of", "what", "value")
    for group, facts in origin.facts.items():
        for place, (name, value) in enumerate(facts.items()):
            table.add_row("" if place else group, name, value)
    return table


def reproduction_table(result: "Reproduction") -> Table:
    table = _table("Recorded and reproduced values", "", "recorded", "reproduced", "equal")
    for name, (registered, rebuilt) in result.files.items():
        table.add_row(f"{name} (sha256)", registered[:16], rebuilt[:16], "yes" if registered == rebuilt else "NO")
    if not result.metrics:
        table.add_row("evaluation, every metric", "", "", "yes")
    for name, (before, after) in (*result.metrics.items(), *result.machine.items()):
        table.add_row(name, str(before), str(after), "NO")
    return table


def _metric(version: "Version", champion: "Version | None", name: str) -> str:
    value = version.metrics.get(name)
    if value is None or math.isnan(value):
        return "" if value is None else "undefined"
    shown = f"{value:.3f}"
    if champion is None or champion is version or champion.tags.get(tags.TEST) != version.tags.get(tags.TEST):
        return shown
    if math.isnan(champion.metrics.get(name, math.nan)):
        return shown
    return f"{shown}\n[dim]{value - champion.metrics[name]:+.3f}[/]"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}\n[dim]{moment:%H:%M} UTC[/]"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
