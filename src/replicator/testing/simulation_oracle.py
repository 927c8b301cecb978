"""What the control plane must believe, kept beside it from the messages alone.

The oracle sees every message that arrives and every reply. From these it knows which process has which attempt,
when that process was last heard of, what it was told to do, and what it said about it. Of the control plane's own
records it reads how attempts have ended, and at the end of a schedule the jobs and their objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from replicator.control_plane.domain.object_row import ObjectRow
from replicator.testing.simulated_node import Message, Reply
from replicator.wire.jobs import JobView
from replicator.wire.sessions import (
    ObjectResult,
    OpenSession,
    Poll,
    PollReply,
    SessionOpened,
    TaskAssignment,
    TaskResult,
    Transfer,
)

Attempt = tuple[int, int]
"""Task and epoch."""
_GOOD = frozenset({"verified", "skipped", "deleted"})


@dataclass
class _InHand:
    """An attempt that a process has. `heard_ms` is when it last showed that it is at it, or was told of it."""

    node: str
    boot_id: str
    heard_ms: int


@dataclass
class _Session:
    """The latest of a node."""

    id: str
    boot_id: str
    heard_ms: int


@dataclass
class Oracle:
    """See the module. `attempts` are the control plane's: how each has ended, None for one that has not."""

    attempts: Callable[[], Mapping[Attempt, str | None]]
    lease_ms: int
    in_hand: dict[Attempt, _InHand] = field(default_factory=dict)
    blurred: set[int] = field(default_factory=set)
    """Jobs of which a task went on after some of its objects had failed for good, or whose failed objects were
    tried again in several tasks: which of them earlier bytes had come for is not known then."""
    _given_again: dict[int, int] = field(default_factory=dict)
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _latest_epoch: dict[int, int] = field(default_factory=dict)
    _job_of: dict[int, int] = field(default_factory=dict)
    _left: dict[int, set[int]] = field(default_factory=dict)
    _told: dict[int, dict[Attempt, Transfer]] = field(default_factory=lambda: defaultdict(dict))
    _said: dict[tuple[int, int], str] = field(default_factory=dict)
    _found: dict[int, list[tuple[str, str | None]]] = field(default_factory=lambda: defaultdict(list))
    _unchanged: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def answered(self, reply: Reply, *, now_ms: int) -> None:
        """A message has arrived and was answered."""
        content, told = reply.message.content, reply.content
        if told is None:
            self._require_fenced(reply.message, now_ms)
            self.look(now_ms=now_ms)
            return
        ended = self._ended()
        for result in content.results:
            self._take_result(result, reply.message.node.name, ended)
        if isinstance(content, OpenSession):
            assert isinstance(told, SessionOpened)
            self._opened(content, told, ended, now_ms)
        else:
            assert isinstance(told, PollReply)
            self._polled(reply.message.node.name, content, told, ended, now_ms)
        for attempt in ended:
            self.in_hand.pop(attempt, None)

    def look(self, *, now_ms: int) -> None:
        """No node was heard: attempts may have ended only because their leases are over."""
        for attempt in self._ended():
            self._require_lost(attempt, now_ms)
            del self.in_hand[attempt]

    def restarted(self, *, now_ms: int) -> None:
        """The control plane gives a full lease to all that had one."""
        rights: list[_InHand | _Session] = [*self.in_hand.values(), *self._sessions.values()]
        for right in rights:
            if now_ms < right.heard_ms + self.lease_ms:
                right.heard_ms = now_ms

    def retried(self, job_id: int) -> None:
        """What failed of a job is tried again."""
        self._given_again[job_id] = 0

    def given(self, task: TaskAssignment, rows: Sequence[ObjectRow]) -> None:
        """`task` was given out for the first time in this attempt; `rows` are its job's."""
        expected = self._left.setdefault(
            task.task_id, {row.id for row in rows if row.task_id == task.task_id and row.outcome == "pending"}
        )
        if task.items and task.job_id in self._given_again:
            self._given_again[task.job_id] += task.attempt == 1
            if self._given_again[task.job_id] > 1:
                self.blurred.add(task.job_id)
        told = [item.row for item in task.items]
        assert told == sorted(expected), "a task is not given as it was left"

    def check_job(self, job: JobView, rows: Sequence[ObjectRow], *, asked: Sequence[str] | None) -> None:
        """That `job`, which has ended, is what its nodes have said.

        Args:
            asked: the objects that were named when it was submitted; None where a survey had to find them.
        """
        told = self._told[job.id].values()
        wire, arrived = (
            sum(getattr(each, name) for each in told) for name in ("bytes_wire", "bytes_transferred")
        )
        progress = job.progress
        assert progress.bytes_wire == wire, (
            f"job {job.id} counts {progress.bytes_wire} and was told of {wire}"
        )
        short = arrived - progress.bytes_transferred
        # What came for an object that failed is not told from what came for those that its task went on with.
        exact = job.id not in self.blurred
        assert short == 0 or (short > 0 and not exact), (
            f"job {job.id} counts {short} bytes less than it was told of"
        )
        for row in rows:
            self._check_row(job, row)
        if job.status != "cancelled":
            found = self._found[job.id] if asked is None else [(name, None) for name in asked]
            assert [(row.object_id, row.finding) for row in rows] == found, "a job has not the objects found"
            skipped = self._unchanged[job.id] + sum(row.outcome == "skipped" for row in rows)
            assert job.progress.objects_skipped == skipped

    def _check_row(self, job: JobView, row: ObjectRow) -> None:
        said = self._said.get((job.id, row.id), "nothing")
        if row.finding == "newer" and said == "nothing":
            assert row.outcome in {"failed", "skipped", "planned"}
            return
        if row.outcome in _GOOD or said in _GOOD:
            assert row.outcome == said, f"row {row.id} is {row.outcome}, and its node said {said}"
        if row.outcome == "failed" and row.error is not None and row.error.code == "corrupt":
            assert row.attempts > 0, "an object failed that nobody has tried"

    def _ended(self) -> dict[Attempt, str]:
        """Those that were in hand and have ended since."""
        attempts = self.attempts()
        return {each: how for each in self.in_hand if (how := attempts[each]) is not None}

    def _require_fenced(self, message: Message, now_ms: int) -> None:
        session = self._sessions.get(message.node.name)
        if session is not None and session.id == message.session_id:
            over = now_ms >= session.heard_ms + self.lease_ms
            assert over, "a session was refused that was renewed in time"

    def _require_lost(self, attempt: Attempt, now_ms: int) -> None:
        assert self.attempts()[attempt] == "lost", f"attempt {attempt} ended by nobody's word"
        over = now_ms >= self.in_hand[attempt].heard_ms + self.lease_ms
        assert over, f"attempt {attempt} was taken from a process that had renewed its lease"

    def _take_result(self, result: TaskResult, node: str, ended: dict[Attempt, str]) -> None:
        attempt = (result.task_id, result.epoch)
        held = self.in_hand.get(attempt)
        if held is None or (held.node, held.boot_id) != (node, result.boot_id):
            return
        assert ended.get(attempt) == result.outcome, f"attempt {attempt} did not end by its own result"
        self._keep(attempt, result.transfer)
        del self.in_hand[attempt], ended[attempt]
        job_id = self._job_of[result.task_id]
        if result.survey is not None:
            survey = result.survey
            self._found[job_id] += [(each.object_id, each.finding) for each in survey.found]
            self._found[job_id] += [(object_id, None) for object_id in survey.unknown]
            self._unchanged[job_id] += survey.unchanged
        self._settle(job_id, result)

    def _settle(self, job_id: int, result: TaskResult) -> None:
        left = self._left[result.task_id]
        before = sorted(left)
        hopeless = result.outcome == "failed" and _is_permanent(result)
        named = {each.row: each for each in result.objects}
        for row in before:
            if row in named:
                outcome = named[row].outcome
                settled = outcome != "failed" or _is_permanent(named[row])
            else:
                outcome, settled = "failed", hopeless
            if settled:
                self._said[job_id, row] = outcome
                left.discard(row)
        if left and any(self._said.get((job_id, row)) == "failed" for row in before):
            self.blurred.add(job_id)

    def _opened(
        self, content: OpenSession, told: SessionOpened, ended: dict[Attempt, str], now_ms: int
    ) -> None:
        self._sessions[content.node] = _Session(told.session_id, content.boot_id, now_ms)
        for attempt, held in self.in_hand.items():
            ours = (held.node, held.boot_id) == (content.node, content.boot_id)
            if attempt not in ended:
                assert ours or held.node != content.node, (
                    "another process has the task of one that was replaced"
                )
                held.heard_ms = now_ms if ours else held.heard_ms
            elif ours or held.node != content.node:
                self._require_lost(attempt, now_ms)
            else:
                assert ended[attempt] == "lost", f"attempt {attempt} ended by nobody's word"

    def _polled(
        self, node: str, content: Poll, told: PollReply, ended: dict[Attempt, str], now_ms: int
    ) -> None:
        session = self._sessions[node]
        assert session.boot_id == content.boot_id, "a process polls in another's session"
        session.heard_ms = now_ms
        running = {(each.task_id, each.epoch): each.transfer for each in content.running}
        for attempt, how in ended.items():
            # It was to stop, and does not run: that is all that a node has to show.
            assert (how, attempt in running) == ("cancelled", False), (
                f"attempt {attempt} ended by nobody's word"
            )
            del self.in_hand[attempt]
        for attempt, transfer in running.items():
            held = self.in_hand.get(attempt)
            if held is not None and held.boot_id == content.boot_id:
                held.heard_ms = now_ms
                self._keep(attempt, transfer)
        abandoned = {(each.task_id, each.epoch) for each in told.abandon}
        assert abandoned == running.keys() - self.in_hand.keys(), "what is in hand and what is not"
        for task in told.tasks:
            self._assigned(node, content, task, now_ms)

    def _assigned(self, node: str, content: Poll, task: TaskAssignment, now_ms: int) -> None:
        attempt = (task.task_id, task.epoch)
        held = self.in_hand.get(attempt)
        if held is None:
            others = [each for each in self.in_hand if each[0] == task.task_id]
            assert not others, "a task was given to two"
            assert task.epoch > self._latest_epoch.get(task.task_id, 0), "an epoch does not grow"
            self.in_hand[attempt] = _InHand(node, content.boot_id, now_ms)
            self._latest_epoch[task.task_id] = task.epoch
            self._job_of[task.task_id] = task.job_id
            self._told[task.job_id][attempt] = Transfer()
            return
        assert (held.node, held.boot_id) == (node, content.boot_id), "one epoch was given to two processes"
        held.heard_ms = now_ms

    def _keep(self, attempt: Attempt, transfer: Transfer) -> None:
        """What the control plane has been told of an attempt, by the one that had it; late news is no news."""
        told = self._told[self._job_of[attempt[0]]]
        if transfer.bytes_wire > told[attempt].bytes_wire:
            told[attempt] = transfer


def _is_permanent(result: TaskResult | ObjectResult) -> bool:
    return result.error is not None and result.error.error_class == "permanent"
