"""Why jobs, tasks and nodes are in their states: each kind of finding, and what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicator.control_plane.domain import node as nodes
from replicator.control_plane.domain.duty import DutyLease
from replicator.control_plane.domain.explain import of_job, waiting_for
from replicator.control_plane.domain.explain_node import Waiting, of_node
from replicator.control_plane.domain.explain_task import of_task
from replicator.control_plane.domain.finding import Finding, Scene
from replicator.control_plane.domain.job import TERMINAL, JobState
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.control_plane.domain.planning import Planning
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.domain.task import TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.kernel.names import NodeName
from replicator.testing.control_plane_values import DST, SRC, job_in, task_in
from replicator.wire.sessions import ErrorInfo

POLICY = RetryPolicy(
    attempts_max=8,
    delay_floor_ms=1000,
    delay_step_ms=2000,
    delay_spread_ms_max=900_000,
    park_ms_max=86_400_000,
    losses_max=20,
    uniform=lambda low, _: low,
)
AWAY = nodes.register(None, name=DST, base_url="http://b", now_ms=0)
HERE = nodes.connect(AWAY, name=DST, session_id="session", base_url="http://b", now_ms=0)
SOURCE = nodes.register(None, name=SRC, base_url="http://a", now_ms=0)
SESSION = Session(
    id="session",
    node=DST,
    boot_id="boot",
    release="1",
    epoch=1,
    opened_at_ms=0,
    renewed_at_ms=5000,
    expires_at_ms=20_000,
)
SCENE = Scene(
    now_ms=10_000, nodes={SRC: SOURCE, DST: HERE}, sessions={DST: SESSION}, in_hand={}, policy=POLICY
)
RESET = ErrorInfo(error_class="transient", code="internal", message="the line broke")
ABSENT = ErrorInfo(error_class="node-down", code="peer-unreachable", message="nobody answered")
PLANNER = DutyLease(name="plan", holder="replica-1", term=3, acquired_at_ms=0, expires_at_ms=12_000)


def scene_with(**changes: Any) -> Scene:
    return replace(SCENE, **changes)


def only(kind: str, found: list[Finding]) -> Finding:
    """The one finding of that kind."""
    (finding,) = [each for each in found if each.kind == kind]
    return finding


def explained(state: TaskState, scene: Scene = SCENE, **fields: Any) -> list[Finding]:
    return list(of_task(task_in(state, id=7, job_id=5, **fields), scene))


def test_a_ready_task_waits_for_a_node_that_is_not_connected() -> None:
    node = nodes.join_answered(AWAY, problem="nothing answers there", now_ms=0)
    scene = scene_with(nodes={SRC: SOURCE, DST: node})
    (finding,) = explained(TaskState.READY, scene, ready_at_ms=4000)
    assert finding.kind == "node-disconnected"
    assert finding.because == (
        "task 7 is ready, but node2 has never connected, known since 1970-01-01T00:00:00.000Z; "
        "telling it to join failed: nothing answers there"
    )
    assert finding.data["gives_up_at"] == "1970-01-02T00:00:04.000Z"
    assert finding.waiting_for == "node2 to connect"


def test_a_node_that_was_connected_before_says_since_when_it_is_not() -> None:
    gone = nodes.disconnect(HERE, seen_at_ms=1000, now_ms=2000)
    (finding,) = explained(TaskState.READY, scene_with(nodes={SRC: SOURCE, DST: gone}))
    assert "node2 has not been connected since 1970-01-01T00:00:02.000Z" in finding.because


@pytest.mark.parametrize(("kind", "name"), [("node-maintenance", DST), ("source-maintenance", SRC)])
def test_a_ready_task_waits_for_the_end_of_a_maintenance(kind: str, name: NodeName) -> None:
    known = {**SCENE.nodes, name: nodes.maintained(SCENE.nodes[name], True, now_ms=0)}
    finding = only(kind, explained(TaskState.READY, scene_with(nodes=known)))
    assert f"{name} is in maintenance" in finding.because
    assert finding.would_change == f'the end of it: PATCH /nodes/{name} {{"maintenance": false}}'
    assert finding.waiting_for == f"the end of the maintenance of {name}"


def test_a_source_that_nobody_knows_any_more() -> None:
    finding = only("source-unknown", explained(TaskState.READY, scene_with(nodes={DST: HERE})))
    assert "there is no node node1 any more" in finding.because
    assert "POST /nodes/register" in (finding.would_change or "")


@pytest.mark.parametrize(
    ("kind", "changes", "words", "request_"),
    [
        (
            "node-full",
            {"limits": {DST: NodeLimits(tasks_max=3)}},
            "a place at node2: 3 of 3 tasks are in hand there",
            "PUT /nodes/node2/limits",
        ),
        (
            "source-full",
            {"limits": {SRC: NodeLimits(serves_max=2)}},
            "a place at node1: 2 of 2 tasks read from it",
            "PUT /nodes/node1/limits",
        ),
        (
            "link-full",
            {"links": {(SRC, DST): LinkLimit(src_node=SRC, dst_node=DST, tasks_max=1)}},
            "a place on the link from node1 to node2: 1 of 1 tasks use it",
            "PUT /links/node1/node2",
        ),
    ],
)
def test_a_ready_task_waits_for_a_limit(
    kind: str, changes: dict[str, Any], words: str, request_: str
) -> None:
    other = NodeName("node3")
    in_hand = {(SRC, DST): 1, (SRC, other): 1, (other, DST): 2}
    finding = only(kind, explained(TaskState.READY, scene_with(in_hand=in_hand, **changes)))
    assert finding.waiting_for == words
    assert (finding.would_change or "").endswith(request_)
    assert finding.data["most"] == finding.data["in_hand"]


def test_below_its_limits_a_ready_task_waits_for_its_node_to_ask() -> None:
    limits = {DST: NodeLimits(tasks_max=3), SRC: NodeLimits(serves_max=3)}
    (finding,) = explained(TaskState.READY, scene_with(limits=limits, in_hand={(SRC, DST): 2}))
    assert (finding.kind, finding.waiting_for) == ("ready", "node2 to take it")
    assert finding.data["in_hand"] == 2
    assert "PATCH /jobs/5" in (finding.would_change or "")


def test_a_leased_task_is_at_work() -> None:
    (finding,) = explained(TaskState.LEASED, attempt=2, begun_at_ms=50, updated_at_ms=60, epoch=4)
    assert (finding.kind, finding.waiting_for) == ("at-work", None)
    assert finding.because == (
        "task 7 is leased to node2 until 1970-01-01T00:00:00.100Z; attempt 2 began at 1970-01-01T00:00:00.050Z, "
        "last progress at 1970-01-01T00:00:00.060Z"
    )
    assert (finding.data["session_id"], finding.data["epoch"]) == ("session", 4)


@pytest.mark.parametrize(
    ("kind", "state", "why"),
    [
        ("stopping", TaskState.LEASED, "its job was paused"),
        ("cancelling", TaskState.CANCELLING, "its job is being cancelled"),
    ],
)
def test_a_task_that_has_been_asked_to_stop_waits_for_its_node(kind: str, state: TaskState, why: str) -> None:
    (finding,) = explained(state, stop_asked=True)
    assert (finding.kind, finding.waiting_for) == (kind, "node2 to stop")
    assert finding.because.startswith(why)
    assert finding.data["lease_expires_at"] == "1970-01-01T00:00:00.100Z"


def test_a_backoff_says_until_when_and_after_what() -> None:
    (finding,) = explained(TaskState.SCHEDULED, not_before_ms=12_000, failures=3, error=RESET)
    assert (finding.kind, finding.waiting_for) == ("backoff", "the next attempt; retrying in 2 s")
    assert "failed 3 of 8 times" in finding.because
    assert "the line broke (internal, transient)" in finding.because
    assert (finding.data["until"], finding.data["attempts_max"]) == ("1970-01-01T00:00:12.000Z", 8)


def test_a_parked_task_says_for_whom_since_when_and_when_it_gives_up() -> None:
    fields: dict[str, Any] = {
        "not_before_ms": 12_000,
        "parked_for": SRC,
        "parked_since_ms": 3000,
        "error": ABSENT,
    }
    (finding,) = explained(TaskState.SCHEDULED, **fields)
    assert (finding.kind, finding.waiting_for) == ("parked", "node1 to answer; retrying in 2 s")
    assert "parked for node1 since 1970-01-01T00:00:03.000Z" in finding.because
    assert "nobody answered" in finding.because
    assert finding.data["gives_up_at"] == "1970-01-02T00:00:03.000Z"


def test_a_held_task_waits_for_its_job_to_be_resumed() -> None:
    (finding,) = explained(TaskState.HELD)
    assert (finding.kind, finding.waiting_for) == ("held", "somebody to resume it")
    assert finding.would_change == "somebody resuming it: POST /jobs/5/resume"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RESET, "8 failures counted against its limit"),
        (ABSENT, "it had waited too long for a node"),
        (
            ErrorInfo(error_class="permanent", code="not-found", message="gone"),
            "an error of this class is not tried again",
        ),
    ],
)
def test_a_failed_task_says_why_and_how_to_try_again(error: ErrorInfo, why: str) -> None:
    (finding,) = explained(TaskState.FAILED, attempt=9, failures=7, error=error)
    assert finding.kind == "failed"
    assert error.message in finding.because
    assert finding.because.endswith(why)
    assert "POST /jobs/5/retry" in (finding.would_change or "")
    assert finding.data["attempts"] == 9


def test_a_task_that_its_nodes_do_not_survive_is_poison() -> None:
    error = ErrorInfo(error_class="permanent", code="poison", message="its node was lost each time")
    (finding,) = explained(TaskState.FAILED, attempt=20, losses=20, error=error)
    assert finding.kind == "poison"
    assert "20 attempts in a row ended with the node that made them" in finding.because


@pytest.mark.parametrize("state", [TaskState.SUCCEEDED, TaskState.CANCELLED])
def test_a_task_that_has_ended_well_or_was_cancelled(state: TaskState) -> None:
    (finding,) = explained(state, attempt=1)
    assert (finding.kind, finding.would_change) == (state.value, None)


@pytest.mark.parametrize("state", TaskState)
def test_every_state_of_a_task_is_explained(state: TaskState) -> None:
    assert explained(state)


def test_a_job_before_its_start_is_postponed() -> None:
    job = job_in(JobState.QUEUED, id=5, postponed=True, start_at_ms=60_000)
    (finding,) = of_job(job, [], SCENE)
    assert (finding.kind, finding.waiting_for) == ("postponed", "its start at 1970-01-01T00:01:00.000Z")


def test_a_job_to_be_planned_says_who_plans() -> None:
    found = list(of_job(job_in(JobState.QUEUED, id=5, priority=2), [], scene_with(planner=PLANNER)))
    assert [finding.kind for finding in found] == ["to-be-planned", "planner"]
    assert found[0].waiting_for == "its turn to be planned"
    assert "its priority is 2" in found[0].because
    assert (found[1].data["holder"], found[1].data["term"]) == ("replica-1", 3)


@pytest.mark.parametrize("planner", [None, replace(PLANNER, expires_at_ms=10_000)])
def test_a_job_to_be_planned_says_that_nobody_plans(planner: DutyLease | None) -> None:
    finding = only("no-planner", list(of_job(job_in(JobState.RUNNING), [], scene_with(planner=planner))))
    assert "no control plane holds the lease of planning" in finding.because


def test_a_paused_job_says_so_before_what_still_stops() -> None:
    stopping = task_in(TaskState.LEASED, stop_asked=True)
    found = list(of_job(job_in(JobState.PAUSED, id=5), [stopping], SCENE))
    assert [finding.kind for finding in found] == ["paused", "stopping"]
    assert found[0].would_change == "somebody resuming it: POST /jobs/5/resume"


def test_a_job_with_any_task_at_work_says_so_first() -> None:
    tasks = [task_in(id=1), task_in(id=2), task_in(TaskState.LEASED, id=3)]
    found = list(of_job(job_in(), tasks, SCENE))
    assert [finding.kind for finding in found] == ["at-work", "ready"]
    assert found[1].because.endswith("; likewise 1 more task")
    assert (found[1].data["tasks"], found[1].data["tasks_count"]) == ([1, 2], 2)


def test_of_tasks_that_wait_alike_the_one_that_is_due_first_speaks() -> None:
    tasks = [
        task_in(TaskState.SCHEDULED, id=number, not_before_ms=due_ms, failures=1)
        for number, due_ms in [(1, 30_000), (2, 11_000), (3, 50_000)]
    ]
    assert waiting_for(job_in(), tasks, SCENE) == "the next attempt; retrying in 1 s"


def test_a_job_that_is_cancelled_closes_what_no_task_was_made_for() -> None:
    planning = Planning(surveyed=True, transfers_waiting=2000, deletes_waiting=1)
    (finding,) = of_job(job_in(JobState.CANCELLING, planning=planning), [], SCENE)
    assert (finding.kind, finding.waiting_for) == ("dropping", None)
    assert "2,001 objects" in finding.because


def test_a_job_at_its_limit_of_tasks_and_with_a_deadline_says_so_as_well() -> None:
    job = job_in(id=5, tasks_max=1, tasks_planned=1, deadline_at_ms=90_000)
    found = list(of_job(job, [task_in(TaskState.LEASED)], SCENE))
    assert [finding.kind for finding in found] == ["at-work", "job-full", "deadline"]
    assert "PATCH /jobs/5" in (found[1].would_change or "")
    assert found[2].data["deadline_at"] == "1970-01-01T00:01:30.000Z"


@pytest.mark.parametrize(
    ("state", "error", "kind"),
    [
        (JobState.SUCCEEDED, None, "succeeded"),
        (JobState.CANCELLED, None, "cancelled"),
        (
            JobState.CANCELLED,
            ErrorInfo(error_class="permanent", code="deadline-exceeded", message="it was too late"),
            "deadline-exceeded",
        ),
        (JobState.PARTIAL, RESET, "partial"),
        (JobState.FAILED, RESET, "failed"),
    ],
)
def test_a_job_that_has_ended_says_how(state: JobState, error: ErrorInfo | None, kind: str) -> None:
    ended = Transfer(objects_planned=3, objects_failed=2)
    (finding,) = of_job(job_in(state, id=5, error=error, ended=ended, finished_at_ms=0), [], SCENE)
    assert finding.kind == kind
    assert error is None or error.message in finding.because
    if state in {JobState.PARTIAL, JobState.FAILED}:
        assert "2 of 3 objects" in finding.because
        assert "POST /jobs/5/retry" in (finding.would_change or "")
        assert "GET /jobs/5/objects?outcome=failed" in (finding.would_change or "")
    else:
        assert finding.would_change is None


@pytest.mark.parametrize("state", JobState)
def test_every_state_of_a_job_is_explained_and_only_live_ones_wait(state: JobState) -> None:
    tasks = [] if state in TERMINAL else [task_in()]
    assert list(of_job(job_in(state), tasks, SCENE))
    assert (waiting_for(job_in(state), tasks, SCENE) is None) == (state in TERMINAL)


def about(node: nodes.Node, waiting: Waiting | None = None, **changes: Any) -> list[Finding]:
    return list(of_node(node, waiting or Waiting(), scene_with(nodes={node.name: node}, **changes)))


def test_a_connected_node_says_until_when_and_what_it_has_in_hand() -> None:
    other = NodeName("node3")
    found = about(HERE, in_hand={(SRC, DST): 2, (DST, other): 1})
    assert [finding.kind for finding in found] == ["connected", "in-hand"]
    assert found[0].data["lease_expires_at"] == "1970-01-01T00:00:20.000Z"
    assert (found[1].data["tasks_in_hand"], found[1].data["serves"]) == (2, 1)


def test_a_node_that_is_not_connected_says_since_when_and_why_it_does_not_join() -> None:
    gone = nodes.disconnect(HERE, seen_at_ms=1000, now_ms=2000)
    found = about(nodes.join_answered(gone, problem="it is called node9", now_ms=3000), sessions={})
    finding = only("disconnected", found)
    assert "since 1970-01-01T00:00:02.000Z" in finding.because
    assert finding.data["seen_at"] == "1970-01-01T00:00:01.000Z"
    assert "it is called node9" in only("join-problem", found).because


def test_a_node_in_maintenance_says_what_goes_on() -> None:
    resting = nodes.maintained(HERE, True, now_ms=0)
    assert "2 tasks in hand go on" in only("maintenance", about(resting, in_hand={(SRC, DST): 2})).because
    idle = only("maintenance", about(resting))
    assert "nothing is in hand any more" in idle.because
    assert idle.would_change == 'the end of it: PATCH /nodes/node2 {"maintenance": false}'


@pytest.mark.parametrize(("count", "kind"), [(1, "limits"), (2, "node-full")])
def test_a_node_says_what_it_is_held_to_and_whether_it_is_full(count: int, kind: str) -> None:
    limits = {DST: NodeLimits(tasks_max=2, ingress_bytes_per_s=1_000_000)}
    finding = only(kind, about(HERE, limits=limits, in_hand={(SRC, DST): count}))
    assert "1,000,000 bytes a second in, 2 tasks in hand" in finding.because
    assert finding.data == {"tasks_max": 2, "ingress_bytes_per_s": 1_000_000}


def test_a_node_says_what_waits_for_it_and_how_much_room_its_disk_has() -> None:
    node = nodes.measured(HERE, nodes.Space(bytes_total=2000, bytes_free=1500))
    found = about(node, Waiting(ready=100, parked=1))
    assert only("work-ready", found).because == "at least 100 tasks are ready for node2"
    assert only("work-parked", found).because == "1 task is parked until node2 can be reached"
    assert "1,500 of 2,000 bytes" in only("space", found).because
