"""What the runner asks of whatever carries out a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from replicator.kernel.errors import ReplicatorError
from replicator.wire.sessions import (
    CorruptSource,
    ObjectResult,
    SurveyResult,
    TaskAssignment,
    TaskKind,
    Transfer,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkDone:
    """The parts of a `TaskResult` that the work itself knows.

    Attributes:
        objects: what became of the items; of each at most one.
        error: why the work ended before its end. It holds for every item that `objects` does not name.
    """

    objects: Sequence[ObjectResult] = ()
    survey: SurveyResult | None = None
    corrupt: Sequence[CorruptSource] = ()
    error: ReplicatorError | None = None


class Work(Protocol):
    """One attempt of a task. `run` is called once, in a thread of its own; the rest from any thread."""

    def run(self) -> WorkDone:
        """Carry it out, blocking until it is done.

        Whatever stays durable of an attempt that ends early is found by the next one. What was opened is closed
        when this returns or raises.

        Raises:
            Cancelled: `stop` was called, and nothing is known of any item.
            ReplicatorError: the task as a whole failed, and nothing is known of any item.
        """
        ...

    def stop(self) -> None:
        """Have `run` end soon, within the deadlines of its peers at the latest; again does no harm."""
        ...

    @property
    def transfer(self) -> Transfer:
        """How far it has come; after `run` how it ended."""
        ...


BeginWork = Mapping[TaskKind, Callable[[TaskAssignment], Work]]
"""Makes the work of a task, for each kind that this node carries out. Does not block."""
