"""The planned parameters, and the parameters that a person has set by hand in params.yaml."""

from typing import Any

from dcube.artifacts.schemas.plan import PlanSummary
from dcube.config.loading import flattened, with_overrides
from dcube.config.schema import Params
from dcube.planning.params_draft import BY_HAND


def planned_params(plan: PlanSummary) -> Params:
    """Return the parameters as they were planned."""
    decided = {one.parameter: one.value for one in plan.decisions}
    return with_overrides(Params(), {**decided, "data.name": plan.dataset}, "plan")


def set_by_hand(params: Params, last: PlanSummary) -> dict[str, Any]:
    """Return parameter → value for parameters that were changed since the last plan or were set by hand in it."""
    then, now = (flattened(it.model_dump(mode="json")) for it in (planned_params(last), params))
    before = {one.parameter: one.value for one in last.decisions if one.reason == BY_HAND}
    changed = {name: value for name, value in now.items() if value != then.get(name)}
    return before | changed
