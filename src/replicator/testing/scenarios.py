"""Several replicas of a control plane inside the test, behind a proxy that asks them in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import httpx

from replicator.testing.control_plane import (
    ControlPlaneUnderTest,
    FakeNode,
    ManualClock,
    control_plane_in,
)
from replicator.wire.jobs import JobPage, JobView
from replicator.wire.sessions import TaskAssignment

LIVE = frozenset({"queued", "planning", "running", "paused", "cancelling"})


class _InTurn(httpx.AsyncBaseTransport):
    """Every request goes to the next replica."""

    def __init__(self, clients: Iterable[httpx.AsyncClient]) -> None:
        self._clients = cycle(list(clients))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`."""
        return await next(self._clients).send(request, stream=True)


@dataclass
class Fleet(ControlPlaneUnderTest):
    """All replicas as one control plane: `http` asks them in turn, `settle` lets each do its duties."""

    replicas: list[ControlPlaneUnderTest]

    async def settle(self) -> None:
        """Let the schedulers do all that is due."""
        for replica in self.replicas:
            await replica.settle()

    async def jobs(self) -> list[JobView]:
        """Every job, the oldest first."""
        page = JobPage.model_validate((await self.http.get("/jobs?limit=1000")).raise_for_status().json())
        assert page.next_cursor is None
        return page.jobs[::-1]

    async def metric(self, name: str) -> float:
        """The sum over all replicas of a metric without labels, or with those in `name`."""
        texts = [(await replica.http.get("/metrics")).text for replica in self.replicas]
        lines = [line for text in texts for line in text.splitlines() if line.startswith(f"{name} ")]
        assert len(lines) == len(texts), f"no metric {name}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@asynccontextmanager
async def fleet_in(
    data_dir: str,
    *,
    database_url: str | None = None,
    replicas: int = 2,
    follow_wakes: bool = False,
    **settings: Any,
) -> AsyncIterator[Fleet]:
    """`replicas` over one Postgres database, or the one control plane that an SQLite file can have.

    With `follow_wakes` those who wait in one replica hear of what is committed in another, as in a process.
    """
    clock = settings.pop("clock", None) or ManualClock()
    async with AsyncExitStack() as stack:
        planes = [
            await stack.enter_async_context(
                control_plane_in(data_dir, clock=clock, database_url=database_url, **settings)
            )
            for _ in range(replicas if database_url else 1)
        ]
        for plane in planes if follow_wakes else ():
            await stack.enter_async_context(_following(plane))
        transport = _InTurn([plane.http for plane in planes])
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://control-plane")
        )
        first = planes[0]
        yield Fleet(parts=first.parts, http=http, clock=clock, joiner=first.joiner, replicas=planes)


@asynccontextmanager
async def _following(plane: ControlPlaneUnderTest) -> AsyncIterator[None]:
    parts = plane.parts
    following = asyncio.create_task(parts.database.follow_wakes(parts.wakeups.wake_all))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def leased(plane: ControlPlaneUnderTest, *, boot: int = 1) -> tuple[FakeNode, TaskAssignment]:
    """A job from node1 to node2 whose one task node2 has in hand."""
    await plane.register("node1", "node2")
    node = await plane.connect("node2", boot)
    await plane.migrate()
    return node, await node.claim()


def balanced(job: JobView) -> bool:
    """Whether a job that has ended accounts for every object and byte."""
    sums = job.progress
    objects = sums.objects_verified + sums.objects_skipped + sums.objects_failed
    in_full = sums.objects_planned == objects or job.status == "cancelled"
    return in_full and sums.bytes_logical == sums.bytes_transferred + sums.bytes_deduplicated
