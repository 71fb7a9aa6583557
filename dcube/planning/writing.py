"""The text files of a plan: `params.yaml` with the reasons as comments, and `plan.md`."""

from collections.abc import Iterator, Mapping
from typing import Any

from dcube.artifacts.candidates import BASELINE, DCUBE
from dcube.artifacts.layout import PLAN_PAGE
from dcube.artifacts.markdown import markdown_table
from dcube.artifacts.schemas.plan import PlanSummary
from dcube.classifier.recipe import recipe_of
from dcube.config.schema import Params
from dcube.config.yaml_text import dump_yaml
from dcube.data.readers.modes import modes_in_words
from dcube.errors import counted
from dcube.planning.busy_cores import busy_in_words
from dcube.planning.dataset_and_machine import DatasetFacts
from dcube.planning.estimate import images_seen

UNEQUAL = 1.1  # ratio of the images seen by two candidates from which plan.md says whom it favours


def params_text(params: Params, plan: PlanSummary) -> str:
    """Return the text of params.yaml: every parameter, with a comment before each that the plan decided."""
    reasons = {one.parameter: one.reason for one in plan.decisions}
    header = (
        f"# Planned for {plan.dataset} in {plan.seconds / 60:g} minutes ({plan.goal}) on {plan.machine}: {PLAN_PAGE} "
        "has the reasons and the estimate.\n# Change what you like: planning again keeps it.\n"
    )
    return header + "\n".join(_lines(params.model_dump(mode="json"), reasons)) + "\n"


def _lines(values: Mapping[str, Any], reasons: Mapping[str, str], path: str = "", indent: str = "") -> Iterator[str]:
    said = ""
    for key, value in values.items():
        reason = reasons.get(path + key, "")
        if reason and reason != said:
            yield f"{indent}# {reason}"
        said = reason
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:"
            yield from _lines(value, reasons, f"{path}{key}.", f"{indent}  ")
        else:
            text = dump_yaml({key: value})
            yield from (f"{indent}{line}" for line in text.splitlines())


def value_as_text(value: object) -> str:
    """Return a parameter as a person would write it in params.yaml: `null`, and `384` instead of `384.0`."""
    return "null" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def plan_page(params: Params, plan: PlanSummary, facts: DatasetFacts) -> str:
    """Return the text of plan.md."""
    total = sum(plan.estimate.values())
    decisions = [(f"`{one.parameter}`", f"`{value_as_text(one.value)}`", one.reason) for one in plan.decisions]
    stages = [(name, _minutes(seconds)) for name, seconds in plan.estimate.items()]
    return "\n".join(
        [
            f"# Plan for {plan.dataset}",
            "",
            f"Goal: {plan.goal}, in {_minutes(plan.seconds)} on {plan.machine}. Estimate: {_minutes(total)}.",
            "",
            _images_seen(params, facts),
            "",
            *([f"**{busy}**", ""] if (busy := busy_in_words(plan.waiting)) else []),
            "## Data",
            "",
            markdown_table(("what", "found"), list(_found(facts).items())),
            "",
            "## Decisions",
            "",
            markdown_table(("parameter", "value", "reason"), decisions),
            "",
            "## Estimate",
            "",
            markdown_table(("stage", "time"), [*stages, ("all", _minutes(total))]),
            "",
        ]
    )


def _images_seen(params: Params, facts: DatasetFacts) -> str:
    """Return a sentence about how many images D-Cube and the baseline see in training."""
    of_dcube, of_baseline = (
        images_seen(recipe_of(name, params).optimisation, facts.training_images) for name in (DCUBE, BASELINE)
    )
    seen = f"In training, D-Cube sees {of_dcube:,} images and the baseline {of_baseline:,}"
    more, fewer = max(of_dcube, of_baseline), min(of_dcube, of_baseline)
    if more <= UNEQUAL * fewer:
        return f"{seen}."
    favoured = "D-Cube" if of_dcube > of_baseline else "the baseline"
    return f"{seen}: {more / fewer:.1f} times as many favour {favoured} in a comparison."


def _found(facts: DatasetFacts) -> dict[str, str]:
    """Return the facts about the data set as name → text, without file names."""
    report, raw = facts.report, facts.report.raw
    sides = [f"{side.smallest} … {side.largest}, median {side.median:g}" for side in (raw.width, raw.height) if side]
    return {
        "images": f"{report.images}, {report.unlabelled or 'none'} of them without a label",
        "patients": str(report.patients or "unknown"),
        "stored as": modes_in_words(raw.modes),
        "modality": counted(raw.modalities) or "not said by the files",
        "width and height in pixels": "; ".join(sides),
        "colour": f"{facts.coloured:.0%} of {facts.examples} examples",
        "aspect": f"a centre crop would cut off up to {facts.cut_by_crop:.0%}",
        "exact duplicates": str(sum(report.duplicates.values())),
        "near duplicates": f"{report.near_duplicates.images} images",
        "training images with a label": counted(facts.classes),
        "validation and test": f"{facts.count('validation')} and {facts.count('test')} images",
    }


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"
