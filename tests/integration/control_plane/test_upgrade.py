"""A database of an earlier release is brought up to date, and its jobs go on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from alembic import op
from alembic.script import ScriptDirectory

from replicator.control_plane.db import migrate
from replicator.control_plane.db.migrate import newest_revision, revision_of
from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, control_plane_in
from replicator.testing.earlier_releases import (
    IDENTITY,
    MANIFEST,
    SESSION,
    VERSION,
    engine_of,
    rows_of,
    write_release,
)
from replicator.testing.postgres import missing_for_postgres
from replicator.testing.postgres_databases import empty_database
from replicator.wire.jobs import JobView
from replicator.wire.sessions import TaskRef

pytestmark = pytest.mark.anyio

REVISIONS = ["0001", "0002"]
MOVED = {"bytes_logical": 100, "bytes_transferred": 70, "bytes_deduplicated": 30}
REPLACED = {"alembic_version", "sessions", "turn"}
Start = Callable[[], AbstractAsyncContextManager[ControlPlaneUnderTest]]

OPENS = """
import sys
from replicator.control_plane.db.database import open_database
from replicator.kernel.errors import ReplicatorError
from replicator.runtime.clock import SystemClock
try:
    open_database(sys.argv[1], clock=SystemClock(), on_events=lambda _: None).close()
except ReplicatorError as error:
    print(type(error).__name__)
else:
    print("open")
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, data_dir: str) -> Iterator[str]:
    """A database that nothing was done to."""
    if request.param == "sqlite":
        yield f"sqlite:///{data_dir}/control-plane.sqlite"
        return
    missing = missing_for_postgres()
    if missing is not None:
        pytest.skip(missing)
    with empty_database() as url:
        yield url


@pytest.fixture
def start(data_dir: str, url: str) -> Start:
    server = None if url.startswith("sqlite") else url
    return lambda: control_plane_in(data_dir, database_url=server)


def node_of(plane: ControlPlaneUnderTest) -> FakeNode:
    """The node that was connected when the earlier release ended: it knows of no upgrade."""
    node = FakeNode(plane.http, "node2")
    node.session_id = SESSION["id"]
    return node


def ref(task: int) -> TaskRef:
    return TaskRef(control_plane=IDENTITY, task_id=task, epoch=1)


def result(task: int, **said: object) -> dict[str, object]:
    objects = [{"row": 1, "outcome": "verified", "size": 9, "bytes_transferred": 9, **said}]
    told = {"boot_id": SESSION["boot_id"], "outcome": "succeeded", "transfer": {}, "objects": objects}
    return ref(task).model_dump() | told


async def work_off(plane: ControlPlaneUnderTest, node: FakeNode, in_hand: list[int]) -> None:
    """Finish what the node had in hand, then all that there is."""
    running = [{**ref(task).model_dump(), "transfer": {}} for task in in_hand]
    reply = await node.poll(running=running, capacity=0)
    assert not reply.abandon, "what was in hand is in hand"
    stopped = {"boot_id": SESSION["boot_id"], "outcome": "cancelled", "transfer": {}}
    results = [ref(each.task_id).model_dump() | stopped for each in reply.cancel]
    results += [result(task) for task in in_hand if ref(task) not in reply.cancel]
    await node.poll(results=results, capacity=0)
    for _ in range(4):
        plane.clock.advance(1)
        await plane.settle()
        for task in (await node.poll(capacity=16)).tasks:
            await node.poll(results=[node.result(task, transfer=MOVED)], capacity=0)


async def statuses(plane: ControlPlaneUnderTest) -> dict[int, str]:
    listed = (await plane.http.get("/jobs?limit=100")).raise_for_status().json()["jobs"]
    return {view.id: view.status for view in (JobView.model_validate(job) for job in listed)}


@pytest.mark.parametrize("revision", REVISIONS)
async def test_nothing_is_lost_or_changed(url: str, start: Start, revision: str) -> None:
    engine = engine_of(url)
    write_release(engine, revision)
    before = rows_of(engine)
    numbers = {name: max(row["id"] for row in before[name]) for name in ("jobs", "tasks")}
    async with start() as plane:
        assert (await plane.http.get("/ready")).json()["schema_revision"] == newest_revision()
        after = rows_of(engine)
        node = await plane.node("node2")
        assert (node.status, node.boot_id) == ("connected", SESSION["boot_id"])
        job = await plane.migrate("new")
        newest = max(row["id"] for row in rows_of(engine)["tasks"])
        assert job == numbers["jobs"] + 1
        assert newest > numbers["tasks"], "no number is given out twice"
    engine.dispose()
    (told,) = after["control_plane"]
    assert told["id"] == IDENTITY
    assert told["history_from_ms"] is not None, "what was kept till now is not pruned at once"
    for name, rows in before.items():
        assert len(after[name]) == len(rows), name
    if revision == "0001":
        return  # its rows are told otherwise since; the next test looks at what they mean
    for name in before.keys() - REPLACED:
        for old, new in zip(before[name], after[name], strict=True):
            kept = {column: new[column] for column in old}
            moving = {column for column in old if column.endswith("expires_at_ms")}
            assert {k: v for k, v in kept.items() if k not in moving} == {
                k: v for k, v in old.items() if k not in moving
            }, name


async def test_jobs_of_the_first_release_go_on(url: str, start: Start) -> None:
    engine = engine_of(url)
    write_release(engine, "0001")
    engine.dispose()
    async with start() as plane:
        await plane.settle()
        done = await plane.job(3)
        assert (done.status, done.selection, done.progress.bytes_logical) == ("succeeded", "object-3", 9)
        (row,) = await plane.objects(3)
        assert (row.outcome, row.version, row.manifest, row.size) == ("verified", VERSION, MANIFEST, 9)
        assert (row.bytes_transferred, row.bytes_deduplicated) == (7, 2)
        node = node_of(plane)
        await work_off(plane, node, [5, 6])
        assert await statuses(plane) == {
            1: "succeeded",
            2: "succeeded",
            3: "succeeded",
            4: "failed",
            5: "succeeded",
            6: "cancelled",
            7: "cancelled",
            8: "succeeded",
        }
        begun = (await plane.job(2)).progress
        assert (begun.bytes_logical, begun.bytes_transferred, begun.bytes_wire) == (100, 100, 37)
        assert (await plane.ask(4, "retry")).status == "running"
        await work_off(plane, node, [])
        retried = await plane.job(4)
        assert (retried.status, retried.progress.bytes_transferred) == ("succeeded", 77)


async def test_jobs_of_the_second_release_go_on(url: str, start: Start) -> None:
    engine = engine_of(url)
    write_release(engine, "0002")
    engine.dispose()
    async with start() as plane:
        await plane.settle()
        once = {"src_node": "node1", "dst_node": "node2", "object_id": "object-1"}
        key = {"Idempotency-Key": "once"}
        answer = await plane.http.post("/jobs/migrate", json=once, headers=key)
        assert answer.status_code == 409, "the key is known"
        node = node_of(plane)
        reply = await node.poll(
            capacity=1, running=[{**ref(task).model_dump(), "transfer": {}} for task in (2, 4, 7)]
        )
        assert [task.task_id for task in reply.tasks] == [3], "the urgent one is first"
        assert reply.limits.ingress_bytes_per_s == 1 << 20
        assert reply.limits.links == {"node1": 1 << 21}
        survey = {"compared": 0, "found": [], "cursor": None}
        found = result(2) | {"objects": [], "survey": survey}
        still = [{**ref(task).model_dump(), "transfer": {}} for task in (4, 7)]
        await node.poll(results=[found, node.result(reply.tasks[0])], running=still, capacity=0)
        await work_off(plane, node, [4, 7])
        assert await statuses(plane) == dict.fromkeys((1, 2, 3, 4, 5, 8), "succeeded") | {
            6: "paused",
            7: "cancelled",
            9: "partial",
            10: "failed",
            11: "cancelled",
        }
        for job, asked in ((6, "resume"), (9, "retry"), (10, "retry")):
            assert (await plane.ask(job, asked)).status == "running"
        await work_off(plane, node, [])
        assert {(await plane.job(job)).status for job in (6, 9, 10)} == {"succeeded"}
        assert [event.name for event in await plane.events(8)] == ["job.queued", "job.succeeded"]


async def test_processes_that_migrate_at_once_do_it_once(url: str, start: Start) -> None:
    engine = engine_of(url)
    write_release(engine, "0002")
    before = rows_of(engine)
    command = [sys.executable, "-c", OPENS, url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].splitlines()[-1] for process in processes]
    shared = url.startswith("postgresql")
    assert "open" in said
    assert set(said) <= ({"open"} if shared else {"open", "Conflict"})
    after = rows_of(engine)
    engine.dispose()
    assert {name: len(after[name]) for name in before} == {name: len(rows) for name, rows in before.items()}
    async with start() as plane:
        assert (await plane.http.get("/ready")).status_code == 200


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    url: str, start: Start, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(url)
    write_release(engine, revision)
    before = rows_of(engine)
    create = op.create_index

    def fail_at_last(name: str, *arguments: Any, **options: Any) -> None:
        if name == "task_history_by_job":
            raise OSError("the machine is about to lose its power")
        create(name, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", fail_at_last)
        with pytest.raises(OSError, match="power"):
            await start().__aenter__()
    assert {name: rows for name, rows in rows_of(engine).items() if name != "turn"} == before
    with engine.begin() as connection:
        assert revision_of(connection) == revision
    engine.dispose()
    async with start() as plane:
        assert len(await statuses(plane)) == len(before["jobs"])


def test_every_earlier_revision_is_tried() -> None:
    known = {script.revision for script in ScriptDirectory(migrate._FOLDER).walk_revisions()}
    assert known - {newest_revision()} == set(REVISIONS)
