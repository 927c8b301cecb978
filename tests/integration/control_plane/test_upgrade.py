"""A database of the first release is brought up to date, and its jobs go on."""

from __future__ import annotations

import os
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from replicator.control_plane.db import migrate
from replicator.control_plane.db.sqlite import open_engine
from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, ManualClock, control_plane_in
from replicator.wire.jobs import JobView

pytestmark = pytest.mark.anyio

ENDS = {"src_node": "node1", "dst_node": "node2"}
NOTHING = {
    "objects_planned": 0,
    "objects_verified": 0,
    "objects_skipped": 0,
    "objects_failed": 0,
    "bytes_logical": 0,
    "bytes_transferred": 0,
    "bytes_deduplicated": 0,
    "bytes_wire": 0,
}
NO_TASKS = {"tasks_planned": 0, "tasks_succeeded": 0, "tasks_failed": 0, "tasks_cancelled": 0}
ERROR = {"error_class": "permanent", "error_code": "not-found", "error_message": "it is gone"}
VERSION, MANIFEST = "1" * 32, "2" * 64


def old_job(number: int, state: str, **values: Any) -> dict[str, Any]:
    spec = ENDS | {"object_id": f"object-{number}"}
    known = {"id": number, "kind": "migrate", "spec": spec, "state": state, "attempts": 0}
    made = {"created_at_ms": 5, "updated_at_ms": 5, "fingerprint": "f" * 64}
    return known | ENDS | made | NOTHING | NO_TASKS | values


def old_task(number: int, state: str, **values: Any) -> dict[str, Any]:
    known = {"id": number, "job_id": number, "object_id": f"object-{number}", "state": state}
    known |= {"epoch": 1, "attempt": 1, "failures": 0, "parks": 0, "ready_at_ms": 5}
    made = {"created_at_ms": 5, "updated_at_ms": 5, "earlier_bytes_transferred": 0, "earlier_bytes_wire": 0}
    return known | ENDS | made | NOTHING | values


def write_first_release(path: str) -> None:
    """A database as the first release leaves it: jobs in every state that one can be found in."""
    engine = open_engine(path, now_ms=lambda: 0, writes=True)
    with engine.connect() as connection, connection.begin():
        config = Config()
        config.set_main_option("script_location", migrate._FOLDER)
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        tables = sa.MetaData()
        tables.reflect(connection)
        node = {"address_origin": "operator", "session_epoch": 0, "join_tries": 0, "disconnected_at_ms": 5}
        node |= {"registered_at_ms": 5, "updated_at_ms": 5}
        for name in ("node1", "node2"):
            values = node | {"name": name, "base_url": f"http://{name}"}
            connection.execute(tables.tables["nodes"].insert(), values)
        sums = {"objects_planned": 1, "bytes_logical": 9, "bytes_transferred": 7, "bytes_deduplicated": 2}
        jobs = [
            old_job(1, "queued", idempotency_key="once"),
            old_job(2, "running", tasks_planned=1, attempts=1),
            old_job(3, "succeeded", tasks_planned=1, tasks_succeeded=1, **sums | {"objects_verified": 1}),
            old_job(4, "failed", tasks_planned=1, tasks_failed=1, **sums | {"objects_failed": 1} | ERROR),
        ]
        partly = {"bytes_logical": 100, "bytes_transferred": 10, "bytes_wire": 12}
        rest = {"earlier_bytes_transferred": 20, "earlier_bytes_wire": 25}
        tasks = [
            old_task(2, "scheduled", not_before_ms=6, **partly, **rest),
            old_task(3, "succeeded", version=VERSION, manifest=MANIFEST, **sums),
            old_task(4, "failed", **sums | ERROR),
        ]
        for job in jobs:
            connection.execute(tables.tables["jobs"].insert(), job)
        for task in tasks:
            connection.execute(tables.tables["tasks"].insert(), task)
        attempt = {
            "task_id": 2,
            "epoch": 1,
            "attempt": 1,
            "session_id": "s",
            "boot_id": "b",
            "begun_at_ms": 5,
        }
        connection.execute(tables.tables["attempts"].insert(), attempt | NOTHING)
    engine.dispose()


async def finish(plane: ControlPlaneUnderTest, node: FakeNode, job: int, **said: Any) -> JobView:
    """Do the task of a job."""
    (task,) = [task for task in (await node.poll()).tasks if task.job_id == job]
    assert [(item.row, item.object_id) for item in task.items] == [(1, f"object-{job}")]
    objects = [{"row": 1, "outcome": "verified", **said}]
    await node.poll(capacity=0, results=[node.result(task, objects=objects)])
    return await plane.job(job)


async def test_jobs_of_the_first_release_go_on(data_dir: str) -> None:
    write_first_release(os.path.join(data_dir, "control-plane.sqlite"))
    async with control_plane_in(data_dir, clock=ManualClock()) as plane:
        await plane.settle()
        done = await plane.job(3)
        assert (done.status, done.selection, done.progress.bytes_logical) == ("succeeded", "object-3", 9)
        (row,) = await plane.objects(3)
        assert (row.outcome, row.version, row.manifest, row.size) == ("verified", VERSION, MANIFEST, 9)
        assert (row.bytes_transferred, row.bytes_deduplicated) == (7, 2)
        node = await plane.connect("node2")
        assert (await finish(plane, node, 1)).status == "succeeded"
        begun = await finish(plane, node, 2, bytes_transferred=70, bytes_deduplicated=30)
        assert (begun.progress.bytes_transferred, begun.progress.bytes_deduplicated) == (100, 0)
        assert begun.progress.bytes_wire == 37
        assert (await plane.job(4)).status == "failed"
        assert (await plane.ask(4, "retry")).status == "running"
        assert (await finish(plane, node, 4, bytes_deduplicated=9)).progress.bytes_transferred == 7
        assert await plane.migrate() == 5
