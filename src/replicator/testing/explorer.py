"""Walks through every state that a small model can come into, and finds those that must not be.

Breadth first, so the trace to a violation is as short as any. States are hashed and visited once. A seeded walk
goes deeper than all states can be visited.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

State = TypeVar("State", bound=Hashable)


class Violation(AssertionError):
    """A rule was broken; `trace` is what led there."""

    def __init__(self, rule: str, trace: list[str]) -> None:
        super().__init__(f"{rule}: {' > '.join(trace) or 'at the start'}")
        self.rule = rule
        self.trace = trace


class Broken(Exception):
    """Raised by a model's step or check: the rule that the state breaks."""


class Model(Protocol[State]):
    """States are hashable values; a step does not change the one it starts from."""

    def start(self) -> State:
        """The first state."""
        ...

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """What can happen next, with a name for it; raises `Broken`."""
        ...

    def is_goal(self, state: State) -> bool:
        """Whether this is what must stay possible; states at the model's bounds count as such."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """How much was seen."""

    states: int
    steps: int
    depth: int


def explore(model: Model[State], *, states_max: int = 5_000_000) -> Explored:
    """Every state that can be reached, and from each of them a goal.

    Raises:
        Violation: a rule was broken, or there is a state from which no goal can be reached.
        OverflowError: there are more than `states_max`.
    """
    start = model.start()
    came: dict[State, tuple[State, str] | None] = {start: None}
    backwards: defaultdict[State, list[State]] = defaultdict(list)
    layer, depth, steps = [start], 0, 0
    while layer:
        found: list[State] = []
        for state in layer:
            for name, after in _steps(model, state, came):
                steps += 1
                backwards[after].append(state)
                if after not in came:
                    came[after] = (state, name)
                    found.append(after)
        if len(came) > states_max:
            raise OverflowError(f"more than {states_max} states")
        layer, depth = found, depth + bool(found)
    _require_progress(model, came, backwards)
    return Explored(states=len(came), steps=steps, depth=depth)


def wander(model: Model[State], *, seed: int, steps: int) -> int:
    """A walk of that many steps, or until nothing more can happen; returns how many were made.

    Raises:
        Violation: a rule was broken.
    """
    rng, state, trace = random.Random(seed), model.start(), list[str]()
    for made in range(steps):
        try:
            choices = list(model.steps(state))
        except Broken as rule:
            raise Violation(str(rule), trace) from rule
        if not choices:
            return made
        name, state = rng.choice(choices)
        trace.append(name)
    return steps


def _steps(
    model: Model[State], state: State, came: dict[State, tuple[State, str] | None]
) -> Iterator[tuple[str, State]]:
    try:
        yield from model.steps(state)
    except Broken as rule:
        raise Violation(str(rule), _trace(state, came)) from rule


def _trace(state: State, came: dict[State, tuple[State, str] | None]) -> list[str]:
    names: list[str] = []
    origin = came[state]
    while origin is not None:
        state, name = origin
        names.append(name)
        origin = came[state]
    return names[::-1]


def _require_progress(
    model: Model[State],
    came: dict[State, tuple[State, str] | None],
    backwards: dict[State, list[State]],
) -> None:
    """Everything that leads to a goal is found from the goals backwards."""
    hopeful = {state for state in came if model.is_goal(state)}
    edge = list(hopeful)
    while edge:
        before = [each for state in edge for each in backwards.get(state, ()) if each not in hopeful]
        hopeful.update(before)
        edge = list(dict.fromkeys(before))
    stuck = next((state for state in came if state not in hopeful), None)
    if stuck is not None:
        raise Violation("no goal can be reached any more", _trace(stuck, came))
