"""A control plane inside the test, with its clock, its randomness and its nodes owned by the test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

import httpx
from fastapi import FastAPI

from replicator.control_plane.api.app import create_app
from replicator.control_plane.db.database import open_file
from replicator.control_plane.domain.job_event import JobEvent
from replicator.control_plane.domain.object_row import ObjectRow
from replicator.control_plane.main import ControlPlane, Surroundings, open_control_plane
from replicator.control_plane.settings import Settings
from replicator.kernel.clock import Clock
from replicator.kernel.errors import PeerUnreachable
from replicator.kernel.names import NodeName
from replicator.testing.clock import FrozenClock
from replicator.wire.jobs import JobView
from replicator.wire.nodes import NodeView
from replicator.wire.sessions import PollReply, SessionOpened, TaskAssignment


class ManualClock(FrozenClock):
    """Time that stands still until the test lets it pass."""

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)


@dataclass
class ScriptedJoiner:
    """`Joiner` that answers as the test says; nodes not in `answers` cannot be reached."""

    answers: dict[str, Exception | None] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def ask(self, *, node: NodeName, base_url: str) -> None:
        """See `Joiner`."""
        self.asked.append((node, base_url))
        answer = self.answers.get(node, PeerUnreachable(f"{base_url} cannot be reached"))
        if answer is not None:
            raise answer


class FakeNode:
    """A node played by the test: it says and does only what it is told to."""

    def __init__(self, http: httpx.AsyncClient, name: str, boot: int = 1) -> None:
        self._http = http
        self.name = name
        self.boot_id = f"{name}-boot-{boot}"
        self.session_id = ""
        self.heard = ""

    async def open(self, *results: dict[str, Any], rpc_url: str | None = None) -> SessionOpened:
        """Open a session, handing in the outbox of an earlier life."""
        response = await self._http.post(
            "/sessions",
            json={
                "node": self.name,
                "boot_id": self.boot_id,
                "base_url": f"http://{self.name}:9000",
                "rpc_url": rpc_url,
                "release": "0.1.0",
                "results": list(results),
            },
        )
        opened = SessionOpened.model_validate(response.raise_for_status().json())
        self.session_id = opened.session_id
        return opened

    async def poll_raw(self, **message: Any) -> httpx.Response:
        """Poll, and give the answer as it is."""
        told = {"boot_id": self.boot_id, "capacity": 4, "heard": self.heard, **message}
        return await self._http.post(f"/sessions/{self.session_id}/poll", json=told)

    async def poll(self, **message: Any) -> PollReply:
        """Poll; any error is raised."""
        response = await self.poll_raw(**message)
        reply = PollReply.model_validate(response.raise_for_status().json())
        self.heard = reply.told
        return reply

    async def claim(self) -> TaskAssignment:
        """The one task that there is to claim."""
        (task,) = (await self.poll()).tasks
        return task

    def result(self, task: TaskAssignment, outcome: str = "succeeded", **fields: Any) -> dict[str, Any]:
        """A result of this life for `task`; that it succeeded is said of each object, all bytes of the first."""
        transfer = fields.pop("transfer", {})
        if outcome == "succeeded":
            fields.setdefault("objects", arrivals(task, **transfer))
        told = {"boot_id": self.boot_id, "outcome": outcome, "transfer": transfer}
        return {**task.ref.model_dump(), **told, **fields}

    def failure(self, task: TaskAssignment, error_class: str, code: str = "corrupt") -> dict[str, Any]:
        """The result of a failed attempt."""
        return self.result(task, "failed", error=error(error_class, code))

    def progress(self, task: TaskAssignment, **transfer: int) -> dict[str, Any]:
        """How far `task` has come."""
        return {**task.ref.model_dump(), "transfer": transfer}


def error(error_class: str, code: str = "corrupt") -> dict[str, str]:
    """Why something failed."""
    return {"class": error_class, "code": code, "message": f"{code} happened"}


def arrivals(task: TaskAssignment, **transfer: int) -> list[dict[str, Any]]:
    """That every object of `task` is there, the first with the bytes of `transfer`."""
    outcome = "skipped" if transfer.get("objects_skipped") else "verified"
    rows = [{"row": item.row, "outcome": outcome} for item in task.items]
    bytes_told = {
        name: transfer.get(name, 0) for name in ("bytes_transferred", "bytes_deduplicated", "bytes_saved")
    }
    return [rows[0] | bytes_told | {"size": transfer.get("bytes_logical", 0)}, *rows[1:]] if rows else []


@dataclass
class ControlPlaneUnderTest:
    """A control plane and what surrounds it. Its scheduler works only in `settle` and `tell_to_join`."""

    parts: ControlPlane
    http: httpx.AsyncClient
    clock: Any
    joiner: ScriptedJoiner

    async def settle(self) -> None:
        """Let the scheduler do all that is due."""
        while not await self.parts.scheduler.do_due():
            pass

    async def register(self, *names: str) -> None:
        """Register nodes by hand."""
        for name in names:
            message = {"name": name, "base_url": f"http://{name}.example:9000"}
            (await self.http.post("/nodes/register", json=message)).raise_for_status()

    async def connect(self, name: str, boot: int = 1) -> FakeNode:
        """A fake node with an open session."""
        node = FakeNode(self.http, name, boot)
        await node.open()
        return node

    async def migrate(self, object_id: str = "demo.bin", src: str = "node1", dst: str = "node2") -> int:
        """Create a job and let it be planned; its id."""
        return await self.submit("migrate", src_node=src, dst_node=dst, object_id=object_id)

    async def submit(self, kind: str, **request: Any) -> int:
        """Create a job of `kind` from node1 to node2, unless said otherwise, and let it be planned; its id."""
        message = {"src_node": "node1", "dst_node": "node2", **request}
        response = await self.http.post(f"/jobs/{kind}", json=message)
        await self.settle()
        return JobView.model_validate(response.raise_for_status().json()).id

    async def ask(self, job_id: int, what: str) -> JobView:
        """Pause, resume, cancel or retry a job, and let that be planned."""
        response = await self.http.post(f"/jobs/{job_id}/{what}")
        await self.settle()
        return JobView.model_validate(response.raise_for_status().json())

    async def objects(self, job_id: int = 1) -> list[ObjectRow]:
        """The objects of a job, as they are stored."""
        rows = await self.parts.database.read(
            lambda unit: unit.objects.page(job_id, after_row=0, limit=10_000)
        )
        return list(rows)

    async def events(self, job_id: int = 1) -> list[JobEvent]:
        """What has happened to a job."""
        found = await self.parts.database.read(
            lambda unit: unit.events.after(job_id, event_id=0, limit=20_000)
        )
        return list(found)

    async def job(self, job_id: int = 1) -> JobView:
        """The job as a user sees it."""
        return JobView.model_validate((await self.http.get(f"/jobs/{job_id}")).raise_for_status().json())

    async def node(self, name: str) -> NodeView:
        """The node as a user sees it."""
        return NodeView.model_validate((await self.http.get(f"/nodes/{name}")).raise_for_status().json())


_FOR_EVER_S = 31_536_000
_PLANES = count(1)
# Those that are not in use: one takes longer to build than to use.
_APPS: list[FastAPI] = []


@asynccontextmanager
async def control_plane_in(
    data_dir: str,
    *,
    clock: Clock | None = None,
    uniforms: Sequence[float] = (0.5,),
    database_url: str | None = None,
    **settings: Any,
) -> AsyncIterator[ControlPlaneUnderTest]:
    """A control plane over a database in `data_dir`, or over that of `database_url`, started as a process would.

    Postgres has the time of `clock`, too, and the leases of duties do not run out there while the test lets
    time pass, unless `settings` say so: this one has them all. Random numbers are `uniforms`, as fractions of their range, again and again.
    """
    clock = clock or ManualClock()
    joiner = ScriptedJoiner()
    draws, sessions = count(), count(1)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * uniforms[next(draws) % len(uniforms)]

    if database_url is None:
        _provide_database(data_dir)
    else:
        settings = {"duty_lease_seconds": _FOR_EVER_S} | settings
    plane = next(_PLANES)
    parts = open_control_plane(
        Settings(data_dir=data_dir, database_url=database_url, **settings),
        Surroundings(
            clock=clock,
            joiner=joiner,
            uniform=uniform,
            new_session_id=lambda: f"session-{next(sessions)}-{clock.wall_ms()}-{plane}",
            database_now_ms=clock.wall_ms,
        ),
    )
    try:
        app = _APPS.pop() if _APPS else create_app(None, lifespan=_no_lifespan)
        app.state.services = parts.services
        await parts.scheduler.start_anew()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://control-plane"
        ) as http:
            yield ControlPlaneUnderTest(parts=parts, http=http, clock=clock, joiner=joiner)
        _APPS.append(app)
    finally:
        parts.close()


def _provide_database(data_dir: str) -> None:
    """Migrated once and then copied, because migrating takes longer than most tests."""
    path = os.path.join(data_dir, "control-plane.sqlite")
    if not os.path.exists(path):
        with open(path, "wb") as file:
            file.write(_migrated_database())


@cache
def _migrated_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "empty.sqlite")
        open_file(path, clock=ManualClock(), on_events=lambda _: None).close()
        with open(path, "rb") as file:
            return file.read()


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
