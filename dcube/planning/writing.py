"""A plan for people: `params.yaml` with its reasons as comments, and `plan.md`."""

from collections.abc import Iterator, Mapping
from typing import Any

from dcube.artifacts.layout import PLAN_PAGE
from dcube.artifacts.markdown import markdown_table
from dcube.artifacts.schemas.plan import PlanRecord
from dcube.config.schema import Params
from dcube.config.yaml_text import dump_yaml
from dcube.planning.facts import DatasetFacts


def params_text(params: Params, plan: PlanRecord) -> str:
    """params.yaml: every parameter, and a comment before each that the plan decided."""
    reasons = {one.parameter: one.reason for one in plan.decisions}
    head = (
        f"# Planned for {plan.dataset} in {plan.seconds / 60:g} minutes ({plan.goal}) on {plan.machine}: {PLAN_PAGE} "
        "has the reasons and the estimate.\n# Change what you like: planning again keeps it.\n"
    )
    return head + "\n".join(_lines(params.model_dump(mode="json"), reasons)) + "\n"


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


def plan_page(plan: PlanRecord, facts: DatasetFacts) -> str:
    """plan.md."""
    report = facts.report
    total = sum(plan.estimate.values())
    classes = ", ".join(f"{name} {count}" for name, count in facts.classes.items())
    patients = f"{report.patients} patients" if report.patients else "patients unknown"
    known = (
        f"{report.images} images ({patients}), {report.unlabelled} without a label; training images: {classes}; "
        f"{facts.count('validation')} for validation, {facts.count('test')} for the test"
    )
    decisions = [(f"`{one.parameter}`", f"`{one.value}`", one.reason) for one in plan.decisions]
    stages = [(name, _minutes(seconds)) for name, seconds in plan.estimate.items()]
    return "\n".join(
        [
            f"# Plan for {plan.dataset}",
            "",
            f"Goal: {plan.goal}, in {_minutes(plan.seconds)} on {plan.machine}. Estimate: {_minutes(total)}.",
            "",
            f"Data: {known}.",
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


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"
