"""Planning of parameters, each with a reason, for a raw data set and an available time (`dcube plan`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dcube.artifacts.layout import RAW
from dcube.artifacts.schemas.plan import Goal, PlanSummary
from dcube.config.schema import Params
from dcube.planning.dataset_and_machine import DatasetFacts, dataset_facts, machine_facts
from dcube.planning.decisions import decide_data, decide_training
from dcube.planning.params_draft import ParamsDraft
from dcube.planning.sizes import UVITS, uvit_values
from dcube.planning.time_planner import TimePlanner


@dataclass(frozen=True)
class Plan:
    params: Params
    summary: PlanSummary
    facts: DatasetFacts


def make_plan(
    name: str,
    seconds: float,
    goal: Goal,
    stages: Sequence[str],
    by_hand: Mapping[str, Any],
    keep_names: bool,
    note: Callable[[str], None],
) -> Plan:
    """Plan the parameters for the data set data/NAME.

    Args:
        seconds: available time for all `stages`.
        by_hand: parameters set by hand, by dotted name.
        keep_names: whether file names and patient ids are kept (`data.identifiers`).
        note: called with a text about every measurement.

    Raises:
        DcubeError: if the data set is refused, the time is too short, or a value set by hand does not fit.
    """
    smallest = {name: value for name, value in uvit_values(UVITS[0]).items() if name.startswith("diffusion__")}
    draft = ParamsDraft({**by_hand, "data.name": name}, start=smallest)
    facts = dataset_facts(RAW / name, draft.params().data)
    machine = machine_facts(draft.params().compute)
    decide_data(draft, facts, keep_names)
    decide_training(draft, facts, machine)
    planner = TimePlanner(draft, facts, machine, stages, seconds, goal, note)
    estimate = planner.decide()
    summary = PlanSummary(
        dataset=name,
        seconds=seconds,
        goal=goal,
        machine=str(machine),
        waiting=round(planner.cores.waiting(), 3),
        decisions=[one for one in draft.decisions if one.parameter != "data.name"],
        estimate=estimate,
    )
    return Plan(draft.params(), summary, facts)
