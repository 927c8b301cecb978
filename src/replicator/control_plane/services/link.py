"""The asynchronous side of sessions: long polls that hold no connection to the database while they wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from replicator.control_plane.events import Wakeups
from replicator.control_plane.metrics import Metrics
from replicator.control_plane.ports import Database, Unit
from replicator.control_plane.services import sessions
from replicator.control_plane.services.sessions import Polled, Terms
from replicator.kernel.clock import Clock
from replicator.wire.sessions import OpenSession, Poll, PollReply, SessionOpened

_GLANCE_S = 1.0
"""How often a wait looks whether its client is still there, and the pace of saying the same thing again."""

Said = frozenset[tuple[str | int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What nodes call. `new_session_id` gives unguessable, unique names."""

    database: Database
    wakeups: Wakeups
    metrics: Metrics
    clock: Clock
    terms: Terms
    poll_s: float
    new_session_id: Callable[[], str]
    _said: dict[str, Said] = field(default_factory=dict)

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
            if self._is_news(polled):
                return polled.reply
            if not _is_empty(polled.reply):
                deadline_s = min(deadline_s, self.clock.monotonic_s() + _GLANCE_S)
            if not await self._woken(polled.node, mark, deadline_s, is_gone):
                return polled.reply

    async def _woken(
        self, node: str, mark: int, deadline_s: float, is_gone: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Whether something happened for `node` before the deadline, with its client still there."""
        while not self.wakeups.has_woken(node, since=mark):
            left_s = deadline_s - self.clock.monotonic_s()
            if left_s <= 0 or self.wakeups.closed or await is_gone():
                return False
            await self.wakeups.wait(node, since=mark, timeout_s=min(left_s, _GLANCE_S))
        return not await is_gone()

    def _is_news(self, polled: Polled) -> bool:
        """Whether the reply says more than the one before: a node that is still stopping is not hurried."""
        said = _said(polled.reply)
        before = self._said.pop(polled.node, _NOTHING)
        if said != _NOTHING:
            self._said[polled.node] = said
        return bool(polled.reply.acknowledged) or not said <= before


def _said(reply: PollReply) -> Said:
    return frozenset(
        [
            *(("run", task.task_id, task.epoch) for task in reply.tasks),
            *(("cancel", task.task_id, task.epoch) for task in reply.cancel),
            *(("abandon", task.task_id, task.epoch) for task in reply.abandon),
            ("limits", reply.limits.model_dump_json()),
        ]
    )


_NOTHING = _said(PollReply())


def _is_empty(reply: PollReply) -> bool:
    return not (reply.tasks or reply.cancel or reply.abandon)
