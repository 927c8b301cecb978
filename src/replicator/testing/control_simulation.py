"""Nodes that talk to a control plane over a network that loses, repeats, delays and reorders messages.

Everything is drawn from one seed. The simulated nodes follow the protocol faithfully; only the network, the
clock and crashes are against them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from replicator.kernel.errors import Conflict, Fenced, NotFound
from replicator.testing.control_plane import ControlPlaneUnderTest
from replicator.wire.jobs import TERMINAL_STATUSES, JobView, MigrateRequest
from replicator.wire.sessions import (
    ErrorInfo,
    OpenSession,
    Poll,
    PollReply,
    SessionOpened,
    TaskAssignment,
    TaskProgress,
    TaskRef,
    TaskResult,
    Transfer,
)

_CAPACITY = 3
_SIZE_BYTES = 100


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


@dataclass
class SimulatedNode:
    """One node over all its lives. `outbox` survives a crash, `running` does not."""

    name: str
    boot: int = 1
    session_id: str | None = None
    running: dict[TaskRef, int] = field(default_factory=dict)
    cancelled: set[TaskRef] = field(default_factory=set)
    outbox: dict[TaskRef, TaskResult] = field(default_factory=dict)
    began: dict[TaskRef, TaskAssignment] = field(default_factory=dict)

    @property
    def boot_id(self) -> str:
        """Of its present life."""
        return f"{self.name}-boot-{self.boot}"

    def message(self) -> Message:
        """What it would say now."""
        results = list(self.outbox.values())
        if self.session_id is None:
            opening = {"node": self.name, "boot_id": self.boot_id, "base_url": "http://n", "release": "1"}
            content: OpenSession | Poll = OpenSession.model_validate(opening | {"results": results})
        else:
            running = [
                TaskProgress(**attempt.model_dump(), transfer=self._transfer(done))
                for attempt, done in self.running.items()
            ]
            room = _CAPACITY - len(self.running)
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

    def work(self, random: Random) -> None:
        """Bring one of its attempts further, or to an end."""
        if not self.running:
            return
        attempt = random.choice(sorted(self.running, key=lambda ref: (ref.task_id, ref.epoch)))
        self.running[attempt] = min(self.running[attempt] + random.randrange(60), _SIZE_BYTES)
        if attempt in self.cancelled:
            self._end(attempt, "cancelled")
        elif self.running[attempt] == _SIZE_BYTES:
            self._end(attempt, random.choice(["succeeded", "succeeded", "transient", "node-down"]))

    def crash(self) -> None:
        """End this life and begin the next."""
        self.boot += 1
        self.session_id = None
        self.running.clear()
        self.cancelled.clear()

    def _start(self, task: TaskAssignment) -> None:
        if task.ref not in self.began:
            self.began[task.ref] = task
            self.running[task.ref] = 0

    def _end(self, attempt: TaskRef, how: str) -> None:
        done = self.running.pop(attempt)
        failed = how in {"transient", "node-down"}
        error = {"class": how, "code": "corrupt", "message": how} if failed else None
        self.outbox[attempt] = TaskResult(
            **attempt.model_dump(),
            object_id=self.began[attempt].object_id,
            boot_id=self.boot_id,
            outcome="failed" if failed else "cancelled" if how == "cancelled" else "succeeded",
            transfer=self._transfer(done),
            error=None if error is None else ErrorInfo.model_validate(error),
        )

    def _acknowledge(self, reply: SessionOpened | PollReply) -> None:
        for ref in reply.acknowledged:
            self.outbox.pop(ref, None)

    @staticmethod
    def _transfer(done: int) -> Transfer:
        return Transfer(bytes_logical=_SIZE_BYTES, bytes_transferred=done, bytes_wire=done)


class Simulation:
    """Jobs between three nodes, in steps drawn from `seed`."""

    def __init__(self, plane: ControlPlaneUnderTest, seed: int) -> None:
        self._plane = plane
        self._random = Random(seed)
        self.nodes = [SimulatedNode(f"node{number}") for number in (1, 2, 3)]
        self.jobs: list[int] = []
        self.assigned: dict[TaskRef, str] = {}
        self.did: Counter[str] = Counter()
        self._sent: list[Message] = []
        self._returned: list[Reply] = []

    async def begin(self) -> None:
        """The nodes are known."""
        await self._plane.register(*(node.name for node in self.nodes))

    async def step(self) -> None:
        """One thing happens."""
        weights = {"send": 90, "deliver": 180, "hear": 140, "work": 120, "pass_time": 20, "submit": 30}
        weights |= {"schedule": 60, "crash": 4, "cancel": 6}
        (what,) = self._random.choices(list(weights), list(weights.values()))
        self.did[what] += 1
        await getattr(self, f"_{what}")()

    async def heal(self) -> None:
        """From now on nothing is lost, until every job has ended."""
        for _ in range(500):
            for node in self.nodes:
                node.work(self._random)
                reply = await self._answer(node.message())
                node.hear(reply)
            self._plane.clock.advance(1)
            await self._plane.settle()
            if all(job.status in TERMINAL_STATUSES for job in await self.shown()):
                return
        raise AssertionError("some jobs never ended")

    async def shown(self) -> list[JobView]:
        """All jobs as users see them."""
        jobs = self._plane.parts.services.jobs
        return (await jobs.page(cursor=None, limit=1000, status=None)).jobs

    async def _send(self) -> None:
        self._sent.append(self._random.choice(self.nodes).message())

    async def _deliver(self) -> None:
        """A message arrives: any of those on their way, which may stay on its way and arrive again."""
        if self._sent:
            index = self._random.randrange(len(self._sent))
            again = self._random.random() < 0.4
            message = self._sent[index] if again else self._sent.pop(index)
            self._returned.append(await self._answer(message))

    async def _hear(self) -> None:
        """A reply arrives, or is lost, or arrives and will arrive again."""
        if self._returned:
            index = self._random.randrange(len(self._returned))
            again = self._random.random() < 0.1
            reply = self._returned[index] if again else self._returned.pop(index)
            if self._random.random() < 0.8:
                reply.message.node.hear(reply)

    async def _work(self) -> None:
        self._random.choice(self.nodes).work(self._random)

    async def _pass_time(self) -> None:
        self._plane.clock.advance(self._random.choice([0.1, 0.1, 1, 1, 4, 16]))

    async def _schedule(self) -> None:
        await self._plane.settle()

    async def _crash(self) -> None:
        self._random.choice(self.nodes).crash()

    async def _submit(self) -> None:
        src, dst = self._random.sample([node.name for node in self.nodes], 2)
        request = MigrateRequest(src_node=src, dst_node=dst, object_id=f"object-{len(self.jobs)}")
        submitted = await self._plane.parts.services.jobs.migrate(request, idempotency_key=None)
        self.jobs.append(submitted.job.id)

    async def _cancel(self) -> None:
        if self.jobs:
            try:
                await self._plane.parts.services.jobs.cancel(self._random.choice(self.jobs))
            except Conflict:
                self.did["cancelled too late"] += 1

    async def _answer(self, message: Message) -> Reply:
        link = self._plane.parts.services.link
        try:
            if isinstance(message.content, OpenSession):
                return Reply(message, await link.open(message.content))
            assert message.session_id is not None
            reply = await link.poll(message.session_id, message.content, is_gone=_never)
        except (Fenced, NotFound):
            return Reply(message, None)
        for task in reply.tasks:
            boot_id = self.assigned.setdefault(task.ref, message.content.boot_id)
            assert boot_id == message.content.boot_id, "one epoch was given to two processes"
        return Reply(message, reply)


async def _never() -> bool:
    return False


def ends(events: list[Any]) -> Counter[int]:
    """How often each task has ended, by the log."""
    names = {"task.succeeded", "task.failed", "task.cancelled"}
    return Counter(event["task"] for event in events if event["event"] in names)
