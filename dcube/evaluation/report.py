"""The table that ends a run: every model's figures with intervals, and what can honestly be said about them."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dcube.config import Evaluation
from dcube.errors import DcubeError
from dcube.evaluation.comparison import Comparison, Difference, compare
from dcube.evaluation.metrics import HEADLINES
from dcube.evaluation.model_card import NO_ERROR, PHANTOM
from dcube.evaluation.predictions import Predictions
from dcube.stages.paths import EVALUATION

MAIN = "dcube"


def print_results(folder: Path = EVALUATION) -> None:
    """Print all evaluations below `folder`."""
    results = evaluations(folder)
    console = Console()
    console.print(results_table(results))
    if any(result["test"]["accuracy"] == 1 for result in results.values()):
        console.print(f"Without an error on the test, {NO_ERROR}.")
    for line in comparison_lines(folder, results):
        console.print(line, highlight=False)
    console.print(f"\nPictures and model cards: {folder}/*/ (confusion.png, roc.png, …, model_card.md)")
    console.print("All runs, curves and registered models: make ui")
    if any(result["is_phantom"] for result in results.values()):
        console.print(f"[bold]{PHANTOM}[/]")


def evaluations(folder: Path) -> dict[str, dict]:
    """Name → content of `metrics.json`, the main model first."""
    files = sorted(folder.glob("*/metrics.json"), key=lambda file: (file.parent.name != MAIN, file.parent.name))
    if not files:
        raise DcubeError(f"nothing has been evaluated in {folder}: run `dvc repro`")
    return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}


def results_table(results: dict[str, dict]) -> Table:
    first = next(iter(results.values()))
    size = f"{first['test_images']} images"
    if first["test_patients"]:
        size += f" of {first['test_patients']} patients"
    table = Table(title=f"Test split ({size}), {first['confidence']:.0%} intervals over {first['resampled']}")
    table.add_column("model", no_wrap=True)
    for name in HEADLINES:
        table.add_column(_spelled(name), justify="center")
    for model, result in results.items():
        table.add_row(model, *(_cell(result, name) for name in HEADLINES))
    return table


def comparison_lines(folder: Path, results: dict[str, dict]) -> list[str]:
    """The main model against every other, in words that claim no more than the interval shows."""
    if MAIN not in results:
        return []
    tables = {name: Predictions.load(folder / name / "predictions.csv") for name in results}
    made = results[MAIN]
    evaluation = Evaluation(bootstrap_samples=made["resamples"], confidence=made["confidence"])
    others = [name for name in results if name != MAIN]
    return [_sentence(name, compare(tables[MAIN], tables[name], evaluation)) for name in others]


def _sentence(other: str, comparison: Comparison) -> str:
    parts = [f"{_spelled(name)} {_difference(value)}" for name, value in comparison.differences.items()]
    auroc = comparison.differences["auroc"]
    verdict = "no difference shown" if auroc.low <= 0 <= auroc.high else "better" if auroc.value > 0 else "worse"
    return f"{MAIN} − {other}: {'; '.join(parts)}; McNemar p = {comparison.mcnemar_p:.2g} → AUROC: {verdict}"


def _spelled(name: str) -> str:
    return name.replace("_", " ").replace("auroc", "AUROC").replace("f1", "F1")


def _difference(value: Difference) -> str:
    return f"{value.value:+.3f} ({value.low:+.3f} … {value.high:+.3f}, p = {value.p:.2g})"


def _cell(result: dict, name: str) -> str:
    return "{value:.3f}\n[dim]{low:.3f}–{high:.3f}[/]".format(value=result["test"][name], **result["interval"][name])
