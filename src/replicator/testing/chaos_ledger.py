"""What the clients of a chaos run were told, and what they sent without hearing of it: kept outside of the database.

An answer binds; a request without one may have had its effect or not, and counts as *unanswered*.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from replicator.wire.sessions import TaskResult


class Attempt(NamedTuple):
    """One try of a task, as the database names it."""

    task_id: int
    epoch: int


class ResultName(NamedTuple):
    """A result: that of one process about one attempt."""

    attempt: Attempt
    boot_id: str


@dataclass
class Submission:
    """A request under one Idempotency-Key, however often it was sent.

    `job_ids` are all the ids that were ever told for it; `created` counts the answers that said it was new.
    """

    key: str
    kind: str
    body: dict[str, Any]
    job_ids: set[int] = field(default_factory=set)
    created: int = 0
    unanswered: int = 0
    refused: int = 0


@dataclass
class SentResult:
    """A result and its deliveries; `is_complete` says that all of its task was done."""

    outcome: str
    is_complete: bool
    answered: int = 0
    unanswered: int = 0


@dataclass(frozen=True)
class SlotLimits:
    """What a node or a link was told to be held to: database time when the answer was there; None for no limit."""

    tasks_max: int | None
    since_ms: int
    serves_max: int | None = None


@dataclass
class Ledger:
    """All of it. Event loop only."""

    submissions: dict[str, Submission] = field(default_factory=dict)
    retries: Counter[int] = field(default_factory=Counter)
    retries_unanswered: Counter[int] = field(default_factory=Counter)
    results: dict[ResultName, SentResult] = field(default_factory=dict)
    began: dict[Attempt, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Attempts that processes were told to begin, and by which of them."""
    limits: dict[str, SlotLimits] = field(default_factory=dict)
    link_limits: dict[tuple[str, str], SlotLimits] = field(default_factory=dict)
    maintenance_since_ms: dict[str, int] = field(default_factory=dict)
    seen: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """How jobs stood, as users were told."""
    _forgotten: int = 0

    def submission(self, key: str, kind: str, body: dict[str, Any]) -> Submission:
        """The one under `key`, which is about to be sent for the first time or again."""
        return self.submissions.setdefault(key, Submission(key, kind, body))

    def sending(self, results: Iterable[TaskResult]) -> list[SentResult]:
        """`results` are about to be sent: until they are answered they are not."""
        sent = []
        for result in results:
            name = ResultName(Attempt(result.task_id, result.epoch), result.boot_id)
            known = self.results.get(name) or SentResult(result.outcome, _is_complete(result))
            if result.task_id > self._forgotten:
                self.results[name] = known
            known.unanswered += 1
            sent.append(known)
        return sent

    @staticmethod
    def answered(sent: Iterable[SentResult]) -> None:
        """They were taken, or refused as stale: either way they were dealt with."""
        for each in sent:
            each.unanswered -= 1
            each.answered += 1

    @staticmethod
    def refused(sent: Iterable[SentResult]) -> None:
        """The message that carried them was refused as a whole, so it had no effect."""
        for each in sent:
            each.unanswered -= 1

    def forget(self, task_id: int) -> None:
        """Results about tasks up to `task_id`: their jobs have ended and were looked at. More of them may come."""
        self._forgotten = max(self._forgotten, task_id)
        self.results = {name: sent for name, sent in self.results.items() if name.attempt.task_id > task_id}
        self.began = defaultdict(
            set, {attempt: boots for attempt, boots in self.began.items() if attempt.task_id > task_id}
        )

    @property
    def job_ids(self) -> set[int]:
        """Every job that a client knows of."""
        return {job_id for each in self.submissions.values() for job_id in each.job_ids}


def _is_complete(result: TaskResult) -> bool:
    return result.outcome == "succeeded" and all(each.outcome != "failed" for each in result.objects)
