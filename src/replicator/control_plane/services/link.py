"""The asynchronous side of sessions: long polls that hold no connection to the database while they wait."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from replicator.control_plane.events import Wakeups
from replicator.control_plane.metrics import Metrics
from replicator.control_plane.ports import Database, Unit
from replicator.control_plane.services import sessions
from replicator.control_plane.services.sessions import Terms
from replicator.kernel.clock import Clock
from replicator.wire.sessions import OpenSession, Poll, PollReply, RateLimits, SessionOpened

_GLANCE_S = 1.0
"""How often a wait looks whether its client is still there, and the pace of saying the same thing again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What nodes call. `new_session_id` gives unguessable, unique names.

    Nothing is remembered between polls, for the next one may be answered by another replica: a node says itself what
    it has heard last.
    """

    database: Database
    wakeups: Wakeups
    metrics: Metrics
    clock: Clock
    terms: Terms
    poll_s: float
    new_session_id: Callable[[], str]

    async def open(self, request: OpenSession) -> SessionOpened:
        """A new session for the node's process; takes the outbox of its earlier life."""
        session_id = self.new_session_id()

        def work(unit: Unit) -> SessionOpened:
            session = sessions.open_session(unit, request, session_id=session_id, terms=self.terms)
            return SessionOpened(
                session_id=session.id,
                control_plane=unit.control_plane,
                lease_seconds=self.terms.lease_ms / 1000,
                poll_seconds=self.poll_s,
                acknowledged=[result.ref for result in request.results],
            )

        return await self.database.transact(work)

    async def poll(
        self, session_id: str, request: Poll, *, is_gone: Callable[[], Awaitable[bool]]
    ) -> PollReply:
        """What the node shall do: at once if that is news, otherwise when there is some or time is up.

        Raises:
            Fenced: the session is not live, or not that process's.
        """
        with self.metrics.time_poll():
            return await self._poll(session_id, request, is_gone)

    async def _poll(
        self, session_id: str, request: Poll, is_gone: Callable[[], Awaitable[bool]]
    ) -> PollReply:
        deadline_s = self.clock.monotonic_s() + min(request.wait_seconds, self.poll_s)
        while True:
            mark = self.wakeups.mark()
            polled = await self.database.transact(
                lambda unit: sessions.poll(unit, session_id, request, terms=self.terms)
            )
            polled.reply.told = _mark(polled.reply)
            if _is_news(polled.reply, request.heard):
                return polled.reply
            if not _is_empty(polled.reply):
                deadline_s = min(deadline_s, self.clock.monotonic_s() + _GLANCE_S)
            if not await self._woken(polled.topics, mark, deadline_s, is_gone):
                return polled.reply

    async def _woken(
        self, topics: Sequence[str], mark: int, deadline_s: float, is_gone: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Whether something happened for one of `topics` before the deadline, with the client still there."""
        while not self.wakeups.has_woken(*topics, since=mark):
            left_s = deadline_s - self.clock.monotonic_s()
            if left_s <= 0 or self.wakeups.closed or await is_gone():
                return False
            await self.wakeups.wait(*topics, since=mark, timeout_s=min(left_s, _GLANCE_S))
        return not await is_gone()


def _is_news(reply: PollReply, heard: str) -> bool:
    """Whether `reply` says more than the one that the node has `heard`: one that is still stopping is not hurried."""
    limits, _, orders = reply.told.partition(".")
    limits_heard, _, orders_heard = heard.partition(".")
    is_ordered = orders != orders_heard and not _is_empty(reply)
    return bool(reply.acknowledged) or limits != limits_heard or is_ordered


def _mark(reply: PollReply) -> str:
    """Names what is said in `reply`, whoever says it: the limits and the orders, each nothing where there are none."""
    orders = [
        *(("run", task.task_id, task.epoch) for task in reply.tasks),
        *(("cancel", task.task_id, task.epoch) for task in reply.cancel),
        *(("abandon", task.task_id, task.epoch) for task in reply.abandon),
    ]
    limits = "" if reply.limits == _NO_LIMITS else _digest(reply.limits.model_dump_json())
    ordered = _digest(repr(sorted(orders))) if orders else ""
    return f"{limits}.{ordered}" if limits or ordered else ""


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


_NO_LIMITS = RateLimits()


def _is_empty(reply: PollReply) -> bool:
    return not (reply.tasks or reply.cancel or reply.abandon)
