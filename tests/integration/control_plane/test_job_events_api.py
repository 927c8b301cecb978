"""A job's events over HTTP: told once each and in order, as they happen, to a bounded number of clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from replicator.client.control_plane import ControlPlaneClient
from replicator.client.event_stream import EventDecoder
from replicator.control_plane.domain.job_event import EVENTS_MAX
from replicator.testing.control_plane import ControlPlaneUnderTest
from replicator.testing.processes import ServerProcess, control_plane_process
from replicator.wire.jobs import EVENTS_DROPPED, JobEvent, JobView, MigrateRequest

pytestmark = pytest.mark.anyio

DEADLINE_S = 30.0
MIGRATE = MigrateRequest(src_node="node1", dst_node="node2", object_id="demo.bin")


class Told(NamedTuple):
    name: str
    data: Any


def decoded(body: bytes) -> list[Told]:
    events = EventDecoder().feed(body)
    return [Told(event.name, json.loads(event.data)) for event in events if event.data]


async def ended(plane: ControlPlaneUnderTest, **headers: str) -> list[Told]:
    """The stream of a job that has ended, which comes whole."""
    answer = await plane.http.get("/jobs/1/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    return decoded(answer.content)


async def cancelled_job(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.migrate()
    (await plane.http.post("/jobs/1/cancel")).raise_for_status()


async def test_events_are_numbered_from_one_and_end_with_the_job(plane: ControlPlaneUnderTest) -> None:
    await cancelled_job(plane)
    *events, last = await ended(plane)
    assert [told.data["id"] for told in events] == list(range(1, len(events) + 1))
    assert [told.data["name"] for told in events] == [told.name for told in events]
    assert (events[0].name, events[-1].name) == ("job.queued", "job.cancelled")
    assert (last.name, last.data["status"]) == ("progress", "cancelled")


async def test_only_what_is_behind_the_last_event_is_told(plane: ControlPlaneUnderTest) -> None:
    await cancelled_job(plane)
    every = await ended(plane)
    assert await ended(plane, **{"Last-Event-ID": "1"}) == every[1:]
    by_query = await plane.http.get("/jobs/1/events", params={"last_event_id": 1})
    assert decoded(by_query.content) == every[1:]
    assert await ended(plane, **{"Last-Event-ID": str(len(every) - 1)}) == every[-1:]


async def test_events_that_are_no_longer_kept_are_spoken_of(plane: ControlPlaneUnderTest) -> None:
    await cancelled_job(plane)
    known = len(await ended(plane)) - 1
    many: list[dict[str, Any]] = [{"row": number} for number in range(EVENTS_MAX)]
    database = plane.parts.services.database
    await database.transact(lambda unit: unit.events.append(1, "object.failed", *many))
    dropped, first, *_, last = await ended(plane, **{"Last-Event-ID": "1"})
    assert (dropped.name, dropped.data["id"]) == (EVENTS_DROPPED, known)
    assert dropped.data["fields"] == {"events": known - 1}
    assert (first.name, first.data["id"]) == ("object.failed", known + 1)
    assert last.name == "progress"
    assert (await ended(plane, **{"Last-Event-ID": str(known)}))[0] == first


@pytest.mark.parametrize("last", ["x", "-1", "1.5", str(2**63)])
async def test_an_id_that_no_event_has_is_refused(plane: ControlPlaneUnderTest, last: str) -> None:
    answer = await plane.http.get("/jobs/1/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


async def test_a_job_that_is_not_there_has_no_events(plane: ControlPlaneUnderTest) -> None:
    answer = await plane.http.get("/jobs/1/events")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    settings = {"REPLICATOR_CONTROL_PLANE_EVENT_STREAMS_MAX": "1"}
    with control_plane_process(tmp_path, settings=settings) as server:
        yield server


@asynccontextmanager
async def client_with_a_job(server: ServerProcess) -> Any:
    async with ControlPlaneClient(server.url) as client:
        for name in ("node1", "node2"):
            await client.register_node(name=name, base_url="http://127.0.0.1:1")
        await client.migrate(MIGRATE)
        yield client


async def test_what_happens_is_told_as_it_happens(server: ServerProcess) -> None:
    async with client_with_a_job(server) as client, asyncio.timeout(DEADLINE_S):
        names: list[str] = []
        async with aclosing(client.job_events(1)) as events:
            async for told in events:
                if isinstance(told, JobEvent):
                    names.append(told.name)
                    if told.name == "job.running":
                        await client.cancel_job(1)
        assert names[0] == "job.queued"
        assert names[-1] == "job.cancelled"
        assert isinstance(told, JobView)
        assert told.status == "cancelled"


async def test_a_restart_loses_and_repeats_nothing(server: ServerProcess) -> None:
    async with client_with_a_job(server) as client, asyncio.timeout(DEADLINE_S):
        ids: list[int] = []
        async with aclosing(client.job_events(1)) as events:
            async for told in events:
                if isinstance(told, JobEvent):
                    ids.append(told.id)
                    if told.name == "job.running":
                        await asyncio.to_thread(server.kill)
                        await asyncio.to_thread(server.start)
                        await client.cancel_job(1)
        assert ids == list(range(1, len(ids) + 1))


async def test_a_place_is_free_again_once_its_client_has_gone(server: ServerProcess) -> None:
    async with client_with_a_job(server), httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        async with http.stream("GET", "/jobs/1/events") as first:
            assert first.status_code == 200
            second = await http.get("/jobs/1/events")
            assert (second.status_code, second.json()["code"]) == (503, "unavailable")
            assert second.headers["retry-after"]
            assert "replicator_event_streams 1.0" in (await http.get("/metrics")).text
        async with asyncio.timeout(DEADLINE_S):
            while True:
                async with http.stream("GET", "/jobs/1/events") as third:
                    if third.status_code == 200:
                        break
                await asyncio.sleep(0.02)


async def test_an_open_stream_does_not_hold_up_the_end(server: ServerProcess) -> None:
    async with client_with_a_job(server), httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        async with http.stream("GET", "/jobs/1/events") as stream:
            blocks = stream.aiter_raw()
            assert await anext(blocks)
            assert await asyncio.to_thread(server.stop) == 0
            rest = [block async for block in blocks]
            assert all(block.endswith(b"\n\n") for block in rest), "it ended properly"
        assert server.events("control-plane.stopped")
