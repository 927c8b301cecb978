"""A database whose transactions are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from replicator.control_plane.metrics import Metrics
from replicator.control_plane.ports import Database, Unit

Answer = TypeVar("Answer")


class TimedDatabase:
    """`Database` around another."""

    def __init__(self, inner: Database, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics

    async def transact(self, work: Callable[[Unit], Answer]) -> Answer:
        """See `ports.Database`."""
        with self._metrics.time_transaction("write"):
            return await self._inner.transact(work)

    async def read(self, work: Callable[[Unit], Answer]) -> Answer:
        """See `ports.Database`."""
        with self._metrics.time_transaction("read"):
            return await self._inner.read(work)

    async def check(self) -> str:
        """See `ports.Database`."""
        return await self._inner.check()
