"""Many clients ask for the same at once: it happens once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from replicator.testing.scenarios import Fleet

pytestmark = pytest.mark.anyio

CLIENTS = 24


def request(object_id: str = "demo.bin") -> dict[str, str]:
    return {"src_node": "node1", "dst_node": "node2", "object_id": object_id}


async def test_one_key_is_one_job_whoever_submits_it_and_where(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    key = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(
        *(fleet.http.post("/jobs/migrate", json=request(), headers=key) for _ in range(CLIENTS))
    )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: CLIENTS - 1}
    assert {answer.json()["id"] for answer in answers} == {1}
    assert len(await fleet.jobs()) == 1


async def test_of_different_requests_under_one_key_one_wins(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    key = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(
        *(
            fleet.http.post("/jobs/migrate", json=request(f"object-{number % 4}"), headers=key)
            for number in range(CLIENTS)
        )
    )
    codes = Counter(answer.status_code for answer in answers)
    assert codes == {201: 1, 200: CLIENTS // 4 - 1, 409: CLIENTS - CLIENTS // 4}
    (job,) = await fleet.jobs()
    assert {answer.json()["selection"] for answer in answers if answer.status_code < 300} == {job.selection}


async def test_a_key_holds_while_its_job_runs_and_after_it(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    key = {"Idempotency-Key": "once"}
    for end in (False, True, True):
        answer = await fleet.http.post("/jobs/migrate", json=request(), headers=key)
        assert answer.json()["id"] == 1
        if end:
            await node.poll(results=[node.result(task) for task in (await node.poll()).tasks])
            assert (await fleet.job()).status == "succeeded"
    assert len(await fleet.jobs()) == 1


async def test_jobs_without_a_key_are_as_many_as_were_asked_for(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    answers = await asyncio.gather(
        *(fleet.http.post("/jobs/migrate", json=request()) for _ in range(CLIENTS))
    )
    assert sorted(answer.json()["id"] for answer in answers) == list(range(1, CLIENTS + 1))


async def test_a_node_registered_by_everybody_at_once_is_one_node(fleet: Fleet) -> None:
    await asyncio.gather(*(fleet.register("node1") for _ in range(CLIENTS)))
    listed = (await fleet.http.get("/nodes")).json()["nodes"]
    assert [node["name"] for node in listed] == ["node1"]
