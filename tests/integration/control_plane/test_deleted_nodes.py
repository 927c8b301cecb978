"""Jobs whose nodes have been deleted: said when they are retried, and never in the way of other jobs."""

from __future__ import annotations

import pytest

from replicator.kernel.names import NodeName
from replicator.testing.control_plane import ControlPlaneUnderTest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("gone", ["node1", "node2"])
async def test_a_job_is_retried_only_with_both_of_its_nodes(plane: ControlPlaneUnderTest, gone: str) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    await node.poll(results=[node.failure(await node.claim(), "permanent")])
    (await plane.http.delete(f"/nodes/{gone}")).raise_for_status()
    refused = await plane.http.post("/jobs/1/retry")
    assert refused.status_code == 404
    assert f"no node '{gone}'" in refused.json()["detail"]
    assert (await plane.job()).status == "failed"
    await plane.register(gone)
    assert (await plane.ask(1, "retry")).status == "running"
    if gone == "node2":
        node = await plane.connect("node2", boot=2)
    assert (await node.claim()).kind == "pull"


@pytest.mark.parametrize("lost", [False, True], ids=["not assigned yet", "assigned in a reply that was lost"])
async def test_a_task_whose_source_is_gone_fails_alone(plane: ControlPlaneUnderTest, lost: bool) -> None:
    await plane.register("node1", "node2", "node3")
    node = await plane.connect("node2")
    await plane.migrate("a")
    if lost:
        await node.claim()
    # The API refuses this while the job lives.
    await plane.parts.database.transact(lambda unit: unit.nodes.delete(NodeName("node1")))
    await plane.migrate("b", src="node3")
    other = (await node.poll(capacity=2)).tasks
    assert [(task.source.node, task.job_id) for task in other] == [("node3", 2)]
    view = await plane.job(1)
    assert (view.status, view.error and view.error.code) == ("failed", "not-found")
    assert [str(row.outcome) for row in await plane.objects(1)] == ["failed"]


async def test_a_task_that_cannot_be_given_does_not_delay_the_next(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2", "node3")
    node = await plane.connect("node2")
    await plane.migrate("a")
    await plane.parts.database.transact(lambda unit: unit.nodes.delete(NodeName("node1")))
    await plane.migrate("b", src="node3")
    (task,) = (await node.poll(capacity=1, wait_seconds=20)).tasks
    assert task.job_id == 2
