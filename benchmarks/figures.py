"""A figure, the limits it is held against, and its goal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What the machine itself did in the same run, in the unit of the figure it belongs to."""

    name: str
    rounds: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median round."""
        return statistics.median(self.rounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured quantity, a value for each round."""

    name: str
    unit: str
    better: Better
    rounds: tuple[float, ...]
    limits: tuple[Limit, ...] = ()
    goal: float | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median round."""
        return statistics.median(self.rounds)

    @property
    def limit(self) -> Limit | None:
        """The tightest of the limits: nothing that has to do all of them can pass it."""
        if not self.limits:
            return None
        tightest = min if self.better == "higher" else max
        return tightest(self.limits, key=lambda limit: limit.value)

    @property
    def share_of_limit(self) -> float | None:
        """How much of the limit was reached; 1 is all of it. None where there is nothing to divide."""
        if self.limit is None:
            return None
        above, below = self.value, self.limit.value
        if self.better == "lower":
            above, below = below, above
        return above / below if below else None

    @property
    def goal_met(self) -> bool | None:
        """Whether the goal was reached; None where there is no goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        """For the result file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "better": self.better,
            "value": self.value,
            "rounds": self.rounds,
            "limits": {limit.name: {"value": limit.value, "rounds": limit.rounds} for limit in self.limits},
            "limit": self.limit.name if self.limit else None,
            "share_of_limit": self.share_of_limit,
            "goal": self.goal,
            "goal_met": self.goal_met,
            "note": self.note,
        }


def gigabytes_per_second(byte_count: int, seconds: Sequence[float]) -> tuple[float, ...]:
    """Rates in GB/s (10^9) of moving `byte_count` bytes in each of `seconds`."""
    return tuple(byte_count / 1e9 / each for each in seconds)
