"""The parameters that a plan has decided so far, each with its reason. Parameters set by hand are kept."""

from collections.abc import Mapping
from typing import Any

from dcube.artifacts.schemas.plan import Decision
from dcube.config.loading import with_overrides
from dcube.config.schema import Params

BY_HAND = "set by hand"


class ParamsDraft:
    """Draft of the parameters of a plan.

    Args:
        by_hand: parameter → value set by hand, which no decision changes.
        start: `group__name` → value of undecided parameters: the defaults may not be valid with values set by hand.
    """

    def __init__(self, by_hand: Mapping[str, Any], start: Mapping[str, Any]) -> None:
        self.by_hand = by_hand
        self._start = {_dotted(name): value for name, value in start.items()}
        self._decided = {name: Decision(parameter=name, value=value, reason=BY_HAND) for name, value in by_hand.items()}

    @property
    def decisions(self) -> list[Decision]:
        return list(self._decided.values())

    def params(self, **trial: Any) -> Params:
        """Return the parameters with all decisions so far.

        Args:
            trial: additional values `group__name=value` for this call only.

        Raises:
            DcubeError: if the values are not valid together, e.g. with those set by hand.
        """
        values = self._start | {one.parameter: one.value for one in self.decisions}
        others = {_dotted(name): value for name, value in trial.items()}
        return with_overrides(Params(), values | {k: v for k, v in others.items() if k not in self.by_hand}, "plan")

    def decide(self, reason: str, **values: Any) -> None:
        """Decide the values `group__name=value` for one reason; parameters set by hand do not change."""
        for name, value in values.items():
            parameter = _dotted(name)
            if parameter not in self.by_hand:
                self._decided[parameter] = Decision(parameter=parameter, value=value, reason=reason)


def _dotted(name: str) -> str:
    return name.replace("__", ".")
