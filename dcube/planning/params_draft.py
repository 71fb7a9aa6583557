"""The parameters that a plan has decided so far, each with its reason. What a person has set is kept."""

from collections.abc import Mapping
from typing import Any

from dcube.artifacts.schemas.plan import Decision
from dcube.config.loading import with_overrides
from dcube.config.schema import Params

BY_HAND = "set by hand"


class ParamsDraft:
    """Args:
    by_hand: parameter → value that stays, whatever is decided.
    start: `group__name` → value of what is not decided yet: a value by hand may not go with the defaults.
    """

    def __init__(self, by_hand: Mapping[str, Any], start: Mapping[str, Any]) -> None:
        self.by_hand = by_hand
        self._start = {_dotted(name): value for name, value in start.items()}
        self._decided = {name: Decision(parameter=name, value=value, reason=BY_HAND) for name, value in by_hand.items()}

    @property
    def decisions(self) -> list[Decision]:
        return list(self._decided.values())

    def params(self, **trial: Any) -> Params:
        """The decisions so far.

        Args:
            trial: further values for this once, `group__name`.

        Raises:
            DcubeError: what a person has set does not fit.
        """
        values = self._start | {one.parameter: one.value for one in self.decisions}
        others = {_dotted(name): value for name, value in trial.items()}
        return with_overrides(Params(), values | {k: v for k, v in others.items() if k not in self.by_hand}, "plan")

    def decide(self, reason: str, **values: Any) -> None:
        """Take `group__name=value` for one reason."""
        for name, value in values.items():
            parameter = _dotted(name)
            if parameter not in self.by_hand:
                self._decided[parameter] = Decision(parameter=parameter, value=value, reason=reason)


def _dotted(name: str) -> str:
    return name.replace("__", ".")
