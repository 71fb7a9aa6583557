"""What a person has changed in params.yaml since it was planned."""

from typing import Any

from dcube.artifacts.schemas.plan import PlanRecord
from dcube.config.loading import flattened, with_overrides
from dcube.config.schema import Params
from dcube.planning.draft import BY_HAND


def set_by_hand(params: Params, last: PlanRecord) -> dict[str, Any]:
    """Parameter → value, of what was changed since the last plan or set by hand in it."""
    planned = with_overrides(Params(), {one.parameter: one.value for one in last.decisions}, "plan")
    then, now = (flattened(it.model_dump(mode="json")) for it in (planned, params))
    before = {one.parameter: one.value for one in last.decisions if one.reason == BY_HAND}
    changed = {name: value for name, value in now.items() if value != then.get(name) and name != "data.name"}
    return before | changed
