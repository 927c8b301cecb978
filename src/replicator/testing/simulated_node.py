"""A node of a simulation: follows the session protocol faithfully, over a store of a few numbered chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from replicator.wire.sessions import (
    CorruptSource,
    ErrorInfo,
    Finding,
    Found,
    ObjectItem,
    ObjectResult,
    OpenSession,
    Plan,
    Poll,
    PollReply,
    SessionOpened,
    Survey,
    SurveyResult,
    TaskAssignment,
    TaskProgress,
    TaskRef,
    TaskResult,
    Transfer,
)

CHUNK_BYTES = 7_000_000
"""So that some objects share a task, and some have one alone."""
_CAPACITY = 3
_STRETCH = 4
_MISHAPS = ("transient", "transient", "throttled", "node-down", "permanent", "cancelled")
_ROOT = "0" * 64


@dataclass(frozen=True)
class SimulatedObject:
    """One of the objects there are in the world; the same wherever it is."""

    name: str
    chunks: frozenset[int]

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.chunks) * CHUNK_BYTES

    @property
    def manifest(self) -> str:
        """A name for its content."""
        return f"{sum(1 << chunk for chunk in self.chunks):064x}"


World = Mapping[str, SimulatedObject]


@dataclass
class Message:
    """On its way to the control plane; `session_id` is None for the opening of a session."""

    node: SimulatedNode
    boot: int
    session_id: str | None
    content: OpenSession | Poll


@dataclass
class Reply:
    """On its way back."""

    message: Message
    content: SessionOpened | PollReply | None

    @property
    def assigned(self) -> list[TaskAssignment]:
        """The tasks that it brings."""
        return self.content.tasks if isinstance(self.content, PollReply) else []


@dataclass
class Attempt:
    """A task that a node has in hand. `brought` are bytes that came for the object at work."""

    task: TaskAssignment
    left: list[ObjectItem]
    done: list[ObjectResult] = field(default_factory=list)
    brought: int = 0

    def transfer(self) -> Transfer:
        """So far."""
        transferred = self.brought + sum(each.bytes_transferred for each in self.done)
        return Transfer(
            bytes_logical=sum(item.size or 0 for item in self.task.items),
            bytes_transferred=transferred,
            bytes_deduplicated=sum(each.bytes_deduplicated for each in self.done),
            bytes_wire=2 * transferred + (1 if self.task.survey is None else 1000),
        )


@dataclass
class SimulatedStore:
    """What a node has; chunks stay when objects go. Of `newer` objects it has a version that nobody else has."""

    objects: set[str] = field(default_factory=set)
    chunks: set[int] = field(default_factory=set)
    newer: set[str] = field(default_factory=set)


@dataclass
class SimulatedNode:
    """One node over all its lives. Its store and `outbox` survive a crash, `running` does not.

    `began` and `ended` are what all its processes did.

    `clumsiness` is how probably an attempt fails in each of its steps.
    """

    name: str
    world: World
    sources: Mapping[str, SimulatedNode]
    store: SimulatedStore
    clumsiness: float = 0.06
    boot: int = 1
    session_id: str | None = None
    running: dict[TaskRef, Attempt] = field(default_factory=dict)
    cancelled: set[TaskRef] = field(default_factory=set)
    outbox: dict[TaskRef, TaskResult] = field(default_factory=dict)
    began: set[TaskRef] = field(default_factory=set)
    ended: dict[TaskRef, str] = field(default_factory=dict)

    @property
    def boot_id(self) -> str:
        """Of its present life."""
        return f"{self.name}-boot-{self.boot}"

    def message(self) -> Message:
        """What it would say now."""
        results = list(self.outbox.values())
        content: OpenSession | Poll
        if self.session_id is None:
            opening = {"node": self.name, "boot_id": self.boot_id, "base_url": "http://n", "release": "1"}
            content = OpenSession.model_validate(opening | {"results": results})
        else:
            running = [
                TaskProgress(**ref.model_dump(), transfer=attempt.transfer())
                for ref, attempt in self.running.items()
            ]
            room = max(0, _CAPACITY - len(self.running))
            content = Poll(boot_id=self.boot_id, capacity=room, running=running, results=results)
        return Message(self, self.boot, self.session_id, content)

    def hear(self, reply: Reply) -> None:
        """Take a reply, unless it is to an earlier life or session."""
        if reply.message.boot != self.boot or reply.message.session_id != self.session_id:
            return
        match reply.content:
            case None:
                self.session_id = None
            case SessionOpened() as opened:
                self.session_id = opened.session_id
                self._acknowledge(opened)
            case PollReply() as told:
                self._acknowledge(told)
                self.cancelled |= set(told.cancel) & set(self.running)
                for ref in told.abandon:
                    self.running.pop(ref, None)
                for task in told.tasks:
                    self._start(task)

    def work(self, random: Random, *, kind: bool = False) -> None:
        """Bring one of its attempts further, or to an end; nothing fails in a `kind` world."""
        if not self.running:
            return
        ref = random.choice(sorted(self.running, key=lambda each: (each.task_id, each.epoch)))
        attempt = self.running[ref]
        luck = 1.0 if kind else random.random()
        if ref in self.cancelled:
            self._end(ref, "cancelled")
        elif luck < self.clumsiness:
            self._end(ref, random.choice(_MISHAPS))
        elif attempt.task.survey is not None:
            self._end(ref, "succeeded", survey=self._survey(attempt.task, attempt.task.survey))
        elif not attempt.left:
            self._end(ref, "unsaid" if luck < 1.3 * self.clumsiness else "succeeded")
        else:
            self._deal_with_next(attempt, luck)

    def crash(self) -> SimulatedNode:
        """End this life and begin the next; gives the process that was, should it live on all the same."""
        before = replace(self, outbox=dict(self.outbox))
        self.boot += 1
        self.session_id = None
        self.running, self.cancelled = {}, set()
        return before

    def _start(self, task: TaskAssignment) -> None:
        if task.ref not in self.began:
            self.began.add(task.ref)
            self.running[task.ref] = Attempt(task, list(task.items))

    def _deal_with_next(self, attempt: Attempt, luck: float) -> None:
        item, store = attempt.left[0], self.store
        source = self.sources[attempt.task.source.node].store
        if attempt.task.kind == "remove":
            store.objects.discard(item.object_id)
            attempt.done.append(ObjectResult(row=item.row, outcome="deleted"))
            attempt.left.pop(0)
            return
        lacking = sorted(self.world[item.object_id].chunks - store.chunks)
        if item.object_id not in source.objects and item.object_id not in store.objects:
            self._finish(attempt, "failed", _error("permanent", "not-found"))
        elif item.version is not None and _is_newer(item.object_id, source, store):
            self._finish(attempt, "failed", _error("permanent", "conflict"))
        elif luck < 1.6 * self.clumsiness:
            error_class = ("transient", "node-down", "permanent")[round(luck * 1e4) % 3]
            self._finish(attempt, "failed", _error(error_class))
        elif lacking:
            store.chunks.add(lacking[0])
            attempt.brought += CHUNK_BYTES
        else:
            self._publish(attempt, item.object_id, source)

    def _publish(self, attempt: Attempt, object_id: str, source: SimulatedStore) -> None:
        known = object_id in self.store.objects
        self.store.objects.add(object_id)
        if attempt.task.move:
            source.objects.discard(object_id)
        self._finish(attempt, "skipped" if known and not attempt.brought else "verified")

    def _finish(self, attempt: Attempt, outcome: str, error: ErrorInfo | None = None) -> None:
        item = attempt.left.pop(0)
        known = self.world[item.object_id]
        present = len(known.chunks & self.store.chunks) * CHUNK_BYTES
        attempt.done.append(
            ObjectResult.model_validate(
                {
                    "row": item.row,
                    "outcome": outcome,
                    "manifest": known.manifest,
                    "size": known.size,
                    "bytes_transferred": attempt.brought,
                    "bytes_deduplicated": present - attempt.brought,
                    "error": error,
                }
            )
        )
        attempt.brought = 0

    def _end(self, ref: TaskRef, how: str, survey: SurveyResult | None = None) -> None:
        attempt = self.running.pop(ref)
        transfer, told = attempt.transfer(), list(attempt.done)
        if how == "unsaid":
            told = told[1:]
        if attempt.brought:
            # Somebody else's object: it must change nothing.
            told.append(ObjectResult(row=999_999, outcome="verified", bytes_transferred=7))
        outcome = {"cancelled": "cancelled", "succeeded": "succeeded", "unsaid": "succeeded"}.get(
            how, "failed"
        )
        self.ended[ref] = outcome
        self.outbox[ref] = TaskResult.model_validate(
            {
                **ref.model_dump(),
                "boot_id": self.boot_id,
                "outcome": outcome,
                "transfer": transfer,
                "objects": told,
                "survey": survey,
                "corrupt": [CorruptSource(node="node1", digest=_ROOT)] if how == "transient" else [],
                "error": _error(how) if outcome == "failed" else None,
            }
        )

    def _survey(self, task: TaskAssignment, asked: Survey) -> SurveyResult:
        """The next stretch of the names that are asked for, or, without any, of those that there are."""
        source, own = self.sources[task.source.node].store, self.store
        there = source.objects | own.objects if asked.extras else source.objects
        names = [name for name in sorted(asked.object_ids or there) if name > (asked.cursor or "")]
        stretch = names if asked.dry_run else names[:_STRETCH]
        listed = [(name, _finding(name, source, own, asked)) for name in stretch if name in there]
        agree = [self.world[name].size for name, finding in listed if finding is None]
        last = len(stretch) == len(names)
        roots = asked.roots and last
        return SurveyResult(
            cursor=None if last else stretch[-1],
            compared=len(listed),
            unchanged=len(agree),
            unchanged_bytes=sum(agree),
            found=[self._found(name, finding) for name, finding in listed if finding is not None],
            unknown=[name for name in stretch if name not in there],
            plan=Plan(objects_to_transfer=len(listed) - len(agree)) if asked.dry_run else None,
            source_root=_ROOT if roots else None,
            destination_root=_ROOT if roots else None,
        )

    def _found(self, name: str, finding: Finding) -> Found:
        known = self.world[name]
        return Found(
            finding=finding,
            bucket="default",
            object_id=name,
            version="0" * 32,
            manifest=known.manifest,
            size=known.size,
        )

    def _acknowledge(self, reply: SessionOpened | PollReply) -> None:
        for ref in reply.acknowledged:
            self.outbox.pop(ref, None)


def _finding(name: str, source: SimulatedStore, own: SimulatedStore, asked: Survey) -> Finding | None:
    if name not in source.objects:
        return "extra"
    if name not in own.objects:
        return "absent"
    if _is_newer(name, source, own):
        return "newer"
    return "same" if asked.same else None


def _is_newer(name: str, source: SimulatedStore, own: SimulatedStore) -> bool:
    return name in own.objects & own.newer - source.newer


def _error(error_class: str, code: str = "corrupt") -> ErrorInfo:
    return ErrorInfo.model_validate({"class": error_class, "code": code, "message": error_class})
