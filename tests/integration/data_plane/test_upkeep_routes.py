"""What a node answers below `/store`, with an upkeep that is a fake."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from replicator.data_plane.api.rest import make_rest
from replicator.data_plane.metrics import NodeMetrics
from replicator.kernel.digest import Digest
from replicator.kernel.errors import StoreFailed, Unavailable
from replicator.testing.clock import FrozenClock
from replicator.testing.fake_upkeep import KNOWN, SEGMENTS, STATS, VERSION, FakeUpkeep
from replicator.testing.memory_store import MemoryStore
from replicator.testing.waiting import wait_until
from replicator.wire.sessions import JoinReply, JoinRequest


@pytest.fixture
def upkeep() -> FakeUpkeep:
    return FakeUpkeep()


class Client:
    """Requests to an application in this process, each awaited to its end."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self._app = app
        self._runner = runner

    def get(self, path: str) -> httpx.Response:
        return self._runner.run(self._request("GET", path))

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self._runner.run(self._request("POST", path, **body))

    async def _request(self, method: str, path: str, **body: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node1") as client:
            return await client.request(method, path, **body)


@pytest.fixture
def client(upkeep: FakeUpkeep) -> Iterator[Client]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    def join(_: JoinRequest) -> JoinReply:
        raise Unavailable("it joins nobody")

    app = make_rest(
        name="node1",
        store=MemoryStore(clock=FrozenClock()),
        metrics=NodeMetrics(),
        join=join,
        lifespan=lifespan,
        upkeep=upkeep,
    )
    with asyncio.Runner() as runner:
        yield Client(app, runner)
    upkeep.scrub_may_end.set()


def test_stats_and_segments_are_told_as_they_are(client: Client) -> None:
    assert client.get("/store/stats").json() == STATS._asdict()
    assert client.get("/store/segments").json() == {"segments": [each._asdict() for each in SEGMENTS]}


@pytest.mark.parametrize(
    ("body", "grace_s", "dry_run"),
    [
        (None, None, False),
        ({}, None, False),
        ({"grace_s": 0}, 0, False),
        ({"grace_s": 1.5, "dry_run": True}, 1.5, True),
    ],
)
def test_a_collection_is_asked_for(
    client: Client, upkeep: FakeUpkeep, body: object, grace_s: float | None, dry_run: bool
) -> None:
    answer = client.post("/store/gc", json=body) if body is not None else client.post("/store/gc")
    assert answer.json() == {"manifests": 1, "dead_bytes": 700, "dry_run": dry_run}
    assert upkeep.asked == [("collect", grace_s)]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_compaction_is_asked_for(client: Client, dry_run: bool) -> None:
    answer = client.post("/store/compact", json={"dry_run": dry_run})
    assert answer.json() == {
        "segments": 1,
        "bytes_copied": 500,
        "bytes_reclaimed": 1500,
        "dry_run": dry_run,
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/store/gc", {"grace_s": -1}),
        ("/store/gc", {"grace_s": "NaN"}),
        ("/store/gc", {"grace": 1}),
        ("/store/compact", {"dry_run": "perhaps"}),
        ("/store/backups", {}),
        ("/store/backups", {"name": ""}),
    ],
)
def test_what_makes_no_sense_is_not_done(
    client: Client, upkeep: FakeUpkeep, path: str, body: dict[str, Any]
) -> None:
    assert client.post(path, json=body).status_code == 422
    assert upkeep.asked == []


def test_a_chunk_is_explained(client: Client) -> None:
    told = client.get(f"/store/chunks/{KNOWN}").json()
    assert (told["digest"], told["segment"], told["references"]) == (str(KNOWN), 3, 2)
    assert told["referrers"] == [{"bucket": "default", "object_id": "a/b", "version": str(VERSION)}]
    assert told["holds"] == ["read of 'a/b'"]
    absent = client.get(f"/store/chunks/{Digest.of(b'absent')}")
    assert (absent.status_code, absent.json()["segment"], absent.json()["references"]) == (200, None, 0)
    assert client.get("/store/chunks/no-digest").status_code == 400


def test_a_scrub_runs_in_the_background_one_at_a_time(client: Client, upkeep: FakeUpkeep) -> None:
    assert client.get("/store/scrub").json()["asked"] is False
    started = client.post("/store/scrub")
    assert (started.status_code, started.json()["asked"]) == (202, True)
    shown = client.get("/store/scrub").json()
    assert (shown["asked"], shown["bytes_done"], shown["last_completed_at"]) == (True, 1000, None)
    assert shown["began_at"] == "2023-11-14T22:13:20.000Z"
    refused = client.post("/store/scrub")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    upkeep.scrub_may_end.set()
    wait_until(lambda: not client.get("/store/scrub").json()["asked"], "the scrub ends")
    assert upkeep.scrubs == 1
    assert client.post("/store/scrub").status_code == 202


def test_after_a_scrub_that_failed_another_can_be_asked_for(client: Client, upkeep: FakeUpkeep) -> None:
    upkeep.scrub_error = StoreFailed("the disk is gone")
    upkeep.scrub_may_end.set()
    assert client.post("/store/scrub").status_code == 202
    wait_until(lambda: not client.get("/store/scrub").json()["asked"], "the scrub ends")
    assert client.post("/store/scrub").status_code == 202


def test_a_backup_is_made_once_by_a_name(client: Client) -> None:
    made = client.post("/store/backups", json={"name": "monday"})
    assert (made.status_code, made.json()) == (201, {"name": "monday", "path": "/backups/monday"})
    assert client.post("/store/backups", json={"name": "monday"}).status_code == 409


def test_openapi_has_an_example_for_each(client: Client) -> None:
    schema = client.get("/openapi.json").json()
    paths = [path for path in schema["paths"] if path.startswith("/store/")]
    assert len(paths) == 6 + 1
    for name in ("StoreStatsView", "CollectRequest", "CompactReport", "ChunkExplanation", "ScrubView"):
        assert schema["components"]["schemas"][name]["example"]
