"""Nodes come and go while jobs are submitted for them."""

from __future__ import annotations

import asyncio

import pytest

from replicator.testing.scenarios import LIVE, Fleet

pytestmark = pytest.mark.anyio


async def test_a_node_is_removed_or_gets_its_job_but_not_both(fleet: Fleet) -> None:
    names = [f"worker-{number}" for number in range(20)]
    await fleet.register("node1", *names)
    both = []
    for number, name in enumerate(names):
        request = {"src_node": "node1", "dst_node": name, "object_id": "demo.bin"}
        submit = fleet.http.post("/jobs/migrate", json=request)
        remove = fleet.http.delete(f"/nodes/{name}")
        both.append((remove, submit) if number % 2 else (submit, remove))
    answers = await asyncio.gather(*(request for pair in both for request in pair))
    for pair in zip(answers[::2], answers[1::2], strict=True):
        by_method = {answer.request.method: answer.status_code for answer in pair}
        assert by_method in ({"POST": 201, "DELETE": 409}, {"POST": 404, "DELETE": 204})
    known = {node["name"] for node in (await fleet.http.get("/nodes")).json()["nodes"]}
    assert all(job.dst_node in known for job in await fleet.jobs())


async def test_a_source_that_is_removed_when_its_jobs_have_ended_leaves_nothing_undone(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    await fleet.migrate()
    (task,) = (await node.poll()).tasks
    assert (await fleet.http.delete("/nodes/node1")).status_code == 409
    await node.poll(results=[node.result(task)])
    assert (await fleet.http.delete("/nodes/node1")).status_code == 204
    assert (await fleet.job()).status == "succeeded"


async def test_sessions_opened_everywhere_at_once_leave_one_that_works(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    nodes = [await fleet.connect("node2", boot) for boot in range(1, 3)]
    await asyncio.gather(*(node.open() for node in nodes * 4))
    answers = [await node.poll_raw() for node in nodes]
    assert sorted(answer.status_code for answer in answers) == [200, 410]
    await fleet.migrate()
    winner = nodes[[answer.status_code for answer in answers].index(200)]
    await winner.poll(results=[winner.result(await winner.claim())])
    assert (await fleet.job()).status not in LIVE
