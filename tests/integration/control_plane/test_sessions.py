"""What nodes and the control plane say to each other, through the API, with nodes played by the test."""

from __future__ import annotations

import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode
from replicator.wire.sessions import PollReply, TaskAssignment, TaskRef

pytestmark = pytest.mark.anyio

DONE = {
    "objects_planned": 1,
    "objects_verified": 1,
    "bytes_logical": 1000,
    "bytes_transferred": 700,
    "bytes_deduplicated": 300,
    "bytes_wire": 750,
}


async def leased(plane: ControlPlaneUnderTest) -> tuple[FakeNode, TaskAssignment]:
    """A job whose one task node2 has in hand."""
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    return node, await node.claim()


async def test_a_job_runs_from_submission_to_success(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    assert ([item.object_id for item in task.items], task.epoch, task.attempt) == (["demo.bin"], 1, 1)
    assert (task.kind, task.job_id, task.move, task.survey) == ("pull", 1, False, None)
    assert (task.source.node, task.source.base_url) == ("node1", "http://node1.example:9000")
    plane.clock.advance(2)
    progress = node.progress(task, objects_planned=1, bytes_logical=1000, bytes_transferred=400)
    reply = await node.poll(running=[progress])
    assert reply == PollReply()
    job = await plane.job()
    assert (job.status, job.attempts, job.waiting_for) == ("running", 1, None)
    assert job.progress.bytes_transferred == 400
    assert job.progress.rate_bytes_per_second == 200
    assert job.progress.remaining_seconds == 3
    reply = await node.poll(results=[node.result(task, transfer=DONE)])
    assert [(ref.task_id, ref.epoch) for ref in reply.acknowledged] == [(task.task_id, task.epoch)]
    job = await plane.job()
    assert (job.status, job.error, job.waiting_for) == ("succeeded", None, None)
    assert job.progress.model_dump(include=set(DONE)) == DONE
    assert job.finished_at is not None
    assert job.progress.remaining_seconds == 0
    assert job.progress.rate_bytes_per_second == 500


async def test_an_assignment_that_was_not_heard_is_sent_again(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    again = await node.claim()
    assert again == task
    reply = await node.poll(running=[node.progress(task)])
    assert reply.tasks == []
    assert (await plane.job()).attempts == 1


async def test_a_lease_is_not_renewed_for_a_node_that_does_not_take_the_task(
    plane: ControlPlaneUnderTest,
) -> None:
    node, task = await leased(plane)
    for _ in range(4):
        plane.clock.advance(5)
        assert (await node.poll(capacity=0)).tasks == []
    await plane.settle()
    job = await plane.job()
    assert job.waiting_for is not None
    plane.clock.advance(3)
    await plane.settle()
    assert (await node.claim()).epoch > task.epoch


async def test_no_more_tasks_than_capacity(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    for number in range(5):
        await plane.migrate(f"object-{number}")
    assert (await node.poll(capacity=0)).tasks == []
    first = (await node.poll(capacity=3)).tasks
    assert [task.items[0].object_id for task in first] == ["object-0", "object-1", "object-2"]
    running = [node.progress(task) for task in first]
    assert [task.items[0].object_id for task in (await node.poll(capacity=1, running=running)).tasks] == [
        "object-3"
    ]


async def test_a_result_counts_once(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    result = node.result(task, transfer=DONE)
    for _ in range(3):
        assert len((await node.poll(results=[result])).acknowledged) == 1
    assert (await plane.job()).progress.bytes_transferred == 700
    metrics = (await plane.http.get("/metrics")).text
    assert "replicator_results_refused_total 2.0" in metrics


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": 2},
        {"epoch": 0},
        {"boot_id": "another-process"},
        {"task_id": 99},
        {"control_plane": "another-control-plane"},
    ],
)
async def test_a_result_of_another_attempt_is_refused(
    plane: ControlPlaneUnderTest, wrong: dict[str, object]
) -> None:
    node, task = await leased(plane)
    reply = await node.poll(running=[node.progress(task)], results=[node.result(task, transfer=DONE) | wrong])
    assert [ref.model_dump() for ref in reply.acknowledged] == [
        {name: (task.ref.model_dump() | wrong)[name] for name in TaskRef.model_fields}
    ]
    assert (await plane.job()).status == "running"
    assert "replicator_results_refused_total 1.0" in (await plane.http.get("/metrics")).text


async def test_an_attempt_of_another_control_plane_is_not_taken_for_the_own(
    plane: ControlPlaneUnderTest,
) -> None:
    node, task = await leased(plane)
    foreign = node.progress(task, bytes_transferred=999) | {"control_plane": "another-control-plane"}
    reply = await node.poll(running=[foreign])
    assert [ref.control_plane for ref in reply.abandon] == ["another-control-plane"]
    assert reply.tasks == [task]
    assert (await plane.job()).progress.bytes_transferred == 0


async def test_a_result_from_a_node_that_is_not_the_destination_is_refused(
    plane: ControlPlaneUnderTest,
) -> None:
    node, task = await leased(plane)
    other = await plane.connect("node3")
    await other.poll(results=[node.result(task)])
    assert (await plane.job()).status == "running"


async def test_a_task_taken_back_is_abandoned_by_the_one_that_had_it(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    plane.clock.advance(15)
    await plane.settle()
    job = await plane.job()
    assert job.error is not None
    assert job.error.error_class == "node-down"
    assert job.waiting_for == "node2 to connect; retrying in 2 s"
    assert (await node.poll_raw()).status_code == 410
    await node.open()
    reply = await node.poll(running=[node.progress(task)])
    assert [(ref.task_id, ref.epoch) for ref in reply.abandon] == [(task.task_id, task.epoch)]
    (again,) = reply.tasks
    assert again.epoch > task.epoch
    assert again.attempt == 2
    await node.poll(results=[node.result(task, transfer=DONE)], running=[node.progress(again)])
    assert (await plane.job()).status == "running"
    await node.poll(results=[node.result(again, transfer=DONE)])
    assert (await plane.job()).status == "succeeded"


@pytest.mark.parametrize("swept", [True, False])
async def test_an_expired_session_may_not_publish(plane: ControlPlaneUnderTest, swept: bool) -> None:
    node, task = await leased(plane)
    plane.clock.advance(15)
    if swept:
        await plane.settle()
    response = await node.poll_raw(results=[node.result(task, transfer=DONE)])
    assert response.status_code == 410
    assert response.json()["code"] == "fenced"
    assert response.headers["content-type"] == "application/problem+json"
    assert (await plane.job()).status == "running"


@pytest.mark.parametrize("session_id", ["unknown", "session-1-1750000000000"])
async def test_a_poll_without_a_session_of_ones_own_is_fenced(
    plane: ControlPlaneUnderTest, session_id: str
) -> None:
    await leased(plane)
    stranger = FakeNode(plane.http, "node2", boot=7)
    stranger.session_id = session_id
    assert (await stranger.poll_raw()).status_code == 410


async def test_a_restarted_node_hands_in_its_outbox_and_loses_the_rest(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    before = await plane.connect("node2", boot=1)
    await plane.migrate("finished")
    await plane.migrate("unfinished")
    finished, unfinished = (await before.poll()).tasks
    after = FakeNode(plane.http, "node2", boot=2)
    opened = await after.open(before.result(finished, transfer=DONE))
    assert [(ref.task_id, ref.epoch) for ref in opened.acknowledged] == [(finished.task_id, 1)]
    assert (await plane.job(1)).status == "succeeded"
    again = await after.claim()
    assert (again.task_id, again.attempt) == (unfinished.task_id, 2)
    assert again.epoch > unfinished.epoch
    assert (await before.poll_raw(results=[before.result(unfinished)])).status_code == 410
    await after.poll(running=[after.progress(again)], results=[before.result(unfinished, transfer=DONE)])
    assert (await plane.job(2)).status == "running"


async def test_a_task_that_ends_its_node_each_time_comes_to_wait(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.migrate()
    for boot in range(1, 4):
        await (await plane.connect("node2", boot)).claim()
    node = await plane.connect("node2", 9)
    assert (await node.poll()).tasks == []
    assert (await plane.job()).waiting_for == "node2 to answer; retrying in 5 s"
    plane.clock.advance(6)
    await plane.settle()
    assert (await node.claim()).attempt == 4


async def test_the_same_process_keeps_its_tasks_over_a_new_session(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    old_session = node.session_id
    await node.open()
    assert node.session_id != old_session
    reply = await node.poll(running=[node.progress(task)])
    assert reply == PollReply()
    plane.clock.advance(14)
    await node.poll(running=[node.progress(task)], results=[])
    plane.clock.advance(14)
    await plane.settle()
    await node.poll(results=[node.result(task, transfer=DONE)])
    assert (await plane.job()).status == "succeeded"


async def test_the_same_process_loses_tasks_whose_lease_is_over(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    plane.clock.advance(15)
    await node.open()
    again = await node.claim()
    assert again.epoch > task.epoch
    assert again.attempt == 2


async def test_a_node_that_registers_itself_is_known_by_its_own_address(plane: ControlPlaneUnderTest) -> None:
    await plane.connect("node7")
    node = await plane.node("node7")
    assert (node.status, node.base_url, node.boot_id) == ("connected", "http://node7:9000", "node7-boot-1")


async def test_an_address_given_by_hand_outlasts_what_the_node_believes(plane: ControlPlaneUnderTest) -> None:
    await plane.connect("node1")
    await plane.register("node1")
    await plane.connect("node1", boot=2)
    assert (await plane.node("node1")).base_url == "http://node1.example:9000"


async def test_a_silent_node_is_disconnected_and_was_seen(plane: ControlPlaneUnderTest) -> None:
    node = await plane.connect("node1")
    plane.clock.advance(10)
    await node.poll()
    seen = (await plane.node("node1")).seen_at
    plane.clock.advance(16)
    await plane.settle()
    view = await plane.node("node1")
    assert (view.status, view.boot_id, view.seen_at) == ("disconnected", None, seen)


async def test_numbers_of_late_and_repeated_reports_never_go_back(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    for transferred in (100, 400, 200, 100):
        await node.poll(running=[node.progress(task, bytes_logical=1000, bytes_transferred=transferred)])
    assert (await plane.job()).progress.bytes_transferred == max(100, 400)


async def test_bytes_of_every_attempt_count_once(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    await node.poll(
        results=[
            node.failure(task, "transient")
            | {"transfer": {"bytes_logical": 1000, "bytes_transferred": 600, "bytes_wire": 650}}
        ]
    )
    plane.clock.advance(10)
    await plane.settle()
    again = await node.claim()
    last = {"objects_verified": 1, "bytes_logical": 1000, "bytes_transferred": 100, "bytes_deduplicated": 900}
    await node.poll(results=[node.result(again, transfer=last)])
    progress = (await plane.job()).progress
    assert (progress.bytes_logical, progress.bytes_transferred, progress.bytes_deduplicated) == (
        1000,
        700,
        300,
    )
    assert progress.bytes_wire == 650
    assert (progress.objects_planned, progress.objects_verified, progress.objects_failed) == (1, 1, 0)
