"""Which replicas there are, and who of them does which duty: for operators, nothing is decided by it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from replicator.control_plane.domain import duty
from replicator.control_plane.domain.finding import moment
from replicator.control_plane.events import Wakeups
from replicator.control_plane.ports import Database, Unit
from replicator.kernel.errors import Unavailable
from replicator.wire.replicas import DutyView, ReplicasView, ReplicaView

CHECK_SECONDS_MAX = 1.5
"""Less than a health check waits."""
_REPLICAS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """What can be asked; `replica` is the one that answers."""

    database: Database
    wakeups: Wakeups
    replica: str

    async def check(self) -> str:
        """The schema's revision, if requests should come here.

        Raises:
            Unavailable: the process is about to end, or the database does not answer in time.
        """
        if self.wakeups.closed:
            raise Unavailable("this control plane is about to end: ask another replica, or again in a while")
        try:
            async with asyncio.timeout(CHECK_SECONDS_MAX):
                return await self.database.check()
        except TimeoutError as error:
            raise Unavailable(f"the database has not answered within {CHECK_SECONDS_MAX:g} s") from error

    async def duties_held(self) -> frozenset[str]:
        """Those that the replica that answers does just now."""
        return await self.database.read(
            lambda unit: frozenset(
                lease.name
                for lease in unit.duties.all()
                if lease.holder == self.replica and duty.is_live(lease, unit.now_ms)
            )
        )

    async def view(self) -> ReplicasView:
        """All of it."""
        return await self.database.read(self._view)

    def _view(self, unit: Unit) -> ReplicasView:
        views = [
            DutyView(
                name=lease.name,
                holder=lease.holder if duty.is_live(lease, unit.now_ms) else None,
                term=lease.term,
                since=moment(lease.acquired_at_ms),
                until=moment(lease.expires_at_ms),
            )
            for lease in unit.duties.all()
        ]
        seen = unit.duties.writers(limit=_REPLICAS_MAX) or [(self.replica, unit.now_ms)]
        return ReplicasView(
            answered_by=self.replica,
            now=moment(unit.now_ms),
            duties=views,
            replicas=[ReplicaView(name=name, wrote_at=moment(at_ms)) for name, at_ms in seen],
        )
