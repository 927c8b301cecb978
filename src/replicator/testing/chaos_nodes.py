"""Simulated nodes over real HTTP: processes that live, die, stand still and come back with what they had to say.

The brain is that of the simulation; here it speaks as a node does: one poll at a time, which a result that is ready
interrupts, everything said again until it is acknowledged.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random

import httpx

from replicator.testing.chaos_ledger import Attempt, Ledger
from replicator.testing.simulated_node import (
    Message,
    Reply,
    SimulatedNode,
    SimulatedObject,
    SimulatedStore,
)
from replicator.wire.sessions import OpenSession, PollReply, SessionOpened, SurveyResult, TaskRef

POISON = "poison"
"""Objects whose names begin so end the process that begins with them."""
_NOWHERE = "http://127.0.0.1:9"
_OBJECTS = 40
_CHUNKS = 200
_POLL_SECONDS = 2.0
_PROGRESS_SECONDS = 0.4
_ANSWER_SECONDS_MAX = 8.0
_RETRY_SECONDS_MAX = 1.0
_STEP_SECONDS = 0.5
_STEPS_MAX = 2
_KIND_STEPS_MAX = 12
_KEPT_MAX = 40
_UNHEARD = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}


class Brain(SimulatedNode):
    """A node of the simulation that says of every object what became of it."""

    def _end(self, ref: TaskRef, how: str, survey: SurveyResult | None = None) -> None:
        super()._end(ref, "succeeded" if how == "unsaid" else how, survey)


@dataclass(frozen=True)
class Sent:
    """A message as it was, to be sent once more long after."""

    path: str
    body: str
    message: Message


@dataclass(eq=False)
class ChaosProcess:
    """One life of a node.

    Args:
        ended: called by the process itself where a task ends it.
    """

    brain: SimulatedNode
    url: str
    ledger: Ledger
    random: Random
    tally: Counter[str]
    ended: Callable[[ChaosProcess], None]
    sent: deque[Sent] = field(default_factory=lambda: deque(maxlen=_KEPT_MAX))
    kind: bool = False
    _told: str = ""
    _awake: asyncio.Event = field(default_factory=asyncio.Event)
    _result: asyncio.Event = field(default_factory=asyncio.Event)
    _life: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to talk and to work."""
        self._awake.set()
        self._life = asyncio.create_task(self._live(), name=self.brain.boot_id)

    @property
    def lives(self) -> bool:
        """Whether it goes on."""
        return self._life is not None and not self._life.done()

    async def kill(self) -> None:
        """End at once."""
        assert self._life is not None
        self._life.cancel()
        await asyncio.wait([self._life])

    def failure(self) -> str | None:
        """Why it ended, if it ended of itself."""
        life = self._life
        if life is None or not life.done() or life.cancelled() or life.exception() is None:
            return None
        return "".join(traceback.format_exception(life.exception()))

    def suspend(self) -> None:
        """Stand still from the next step on: say nothing, do nothing, forget nothing."""
        self._awake.clear()

    def resume(self) -> None:
        """Go on as if no time had passed."""
        self._awake.set()

    async def say_again(self, client: httpx.AsyncClient, sent: Sent, *, heard: bool) -> None:
        """A message of before arrives once more; its answer does if it is `heard`."""
        reply = await self._exchange(client, sent)
        if reply is not None and heard:
            self._hear(reply)

    async def _live(self) -> None:
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=_ANSWER_SECONDS_MAX, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._talk(client))
            group.create_task(self._work())

    async def _talk(self, client: httpx.AsyncClient) -> None:
        while True:
            await self._awake.wait()
            self._result.clear()
            sent = self._message()
            exchange = asyncio.create_task(self._exchange(client, sent))
            interrupted = asyncio.create_task(self._result.wait())
            try:
                await asyncio.wait([exchange, interrupted], return_when=asyncio.FIRST_COMPLETED)
                if not exchange.done():
                    continue
                await self._awake.wait()
                reply = exchange.result()
            finally:
                for each in (exchange, interrupted):
                    each.cancel()
                await asyncio.wait([exchange, interrupted])
            if reply is None:
                await asyncio.sleep(self.random.uniform(0, _RETRY_SECONDS_MAX))
            else:
                self._hear(reply)

    def _message(self) -> Sent:
        message = self.brain.message()
        content = message.content
        if isinstance(content, OpenSession):
            message.content = OpenSession.model_validate(content.model_dump() | {"base_url": _NOWHERE})
            path = "/sessions"
        else:
            wait_s = _PROGRESS_SECONDS if content.running else _POLL_SECONDS
            message.content = content.model_copy(
                update={"wait_seconds": 0 if content.results else wait_s, "heard": self._told}
            )
            path = f"/sessions/{message.session_id}/poll"
        sent = Sent(path, message.content.model_dump_json(by_alias=True), message)
        self.sent.append(sent)
        return sent

    async def _exchange(self, client: httpx.AsyncClient, sent: Sent) -> Reply | None:
        """The reply, or None where nobody knows what became of the message."""
        noted = self.ledger.sending(sent.message.content.results)
        try:
            answer = await client.post(
                sent.path, content=sent.body, headers={"Content-Type": "application/json"}
            )
        except httpx.HTTPError as error:
            self.tally[f"messages lost: {type(error).__name__}"] += 1
            return None
        self.tally["messages"] += 1
        if answer.status_code in _UNHEARD:
            self.ledger.refused(noted)
            return Reply(sent.message, None)
        if not answer.is_success:
            assert answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR, answer.text
            self.tally[f"messages answered {answer.status_code}"] += 1
            return None
        self.ledger.answered(noted)
        opens = isinstance(sent.message.content, OpenSession)
        return Reply(
            sent.message, (SessionOpened if opens else PollReply).model_validate_json(answer.content)
        )

    def _hear(self, reply: Reply) -> None:
        known = set(self.brain.began)
        self.brain.hear(reply)
        if isinstance(reply.content, SessionOpened):
            self._told = ""
        elif reply.content is not None:
            self._told = reply.content.told
        for task in reply.assigned:
            if task.ref in self.brain.began - known:
                self.ledger.began[Attempt(task.task_id, task.epoch)].add(self.brain.boot_id)
                self.tally["attempts begun"] += 1
                if any(item.object_id.startswith(POISON) for item in task.items):
                    self.tally["processes ended by their task"] += 1
                    self.ended(self)

    async def _work(self) -> None:
        while True:
            await self._awake.wait()
            before = len(self.brain.outbox)
            for _ in range(self.random.randint(1, _KIND_STEPS_MAX if self.kind else _STEPS_MAX)):
                self.brain.work(self.random, kind=self.kind)
            if len(self.brain.outbox) > before:
                self._result.set()
            await asyncio.sleep(self.random.uniform(0, 2 * _STEP_SECONDS))


def brains(count: int, random: Random) -> dict[str, SimulatedNode]:
    """Nodes `node1`…, each with a share of the same objects."""
    world = {
        name: SimulatedObject(name, frozenset(random.sample(range(_CHUNKS), random.randint(1, 4))))
        for name in [*(f"object-{number:02}" for number in range(_OBJECTS)), POISON]
    }
    known: dict[str, SimulatedNode] = {}
    for name in (f"node{number}" for number in range(1, count + 1)):
        has = {each for each in world if each != POISON and random.random() < 0.5}
        chunks = {chunk for each in has for chunk in world[each].chunks}
        newer = {each for each in sorted(has) if random.random() < 0.1}
        store = SimulatedStore(objects=has, chunks=chunks, newer=newer)
        clumsiness = random.choice([0.01, 0.03, 0.08])
        known[name] = Brain(name, world, known, store, clumsiness=clumsiness)
    return known


def object_names(known: dict[str, SimulatedNode]) -> list[str]:
    """What there is to be asked for, but for what does harm."""
    world = next(iter(known.values())).world
    return sorted(name for name in world if not name.startswith(POISON))
