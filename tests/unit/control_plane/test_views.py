from __future__ import annotations

import pytest

from replicator.control_plane.domain import node as nodes
from replicator.control_plane.domain.explain import waiting_for
from replicator.control_plane.domain.finding import Scene
from replicator.control_plane.domain.job import JobState
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.task import Task, TaskKind, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.control_plane.services.views import job_view
from replicator.kernel.names import NodeName
from replicator.testing.control_plane_values import DST, SRC, job_in, task_in

NODE = nodes.register(None, name=DST, base_url="http://b", now_ms=0)
CONNECTED = nodes.connect(NODE, name=DST, session_id="s", base_url="http://b", now_ms=0)
SOURCE = nodes.register(None, name=SRC, base_url="http://a", now_ms=0)
BOTH = {SRC: SOURCE, DST: CONNECTED}


@pytest.mark.parametrize(
    ("state", "task", "reason"),
    [
        (JobState.QUEUED, None, "its turn to be planned"),
        (JobState.PLANNING, None, "its turn to be planned"),
        (JobState.PLANNING, task_in(TaskState.READY, kind=TaskKind.SURVEY), "node2 to take it"),
        (JobState.PAUSED, None, "somebody to resume it"),
        (JobState.RUNNING, None, "its turn to be planned"),
        (JobState.CANCELLING, None, None),
        (JobState.RUNNING, task_in(TaskState.LEASED, stop_asked=True), "node2 to stop"),
        (JobState.RUNNING, task_in(TaskState.LEASED), None),
        (JobState.RUNNING, task_in(TaskState.READY), "node2 to take it"),
        (JobState.RUNNING, task_in(TaskState.HELD), "somebody to resume it"),
        (JobState.CANCELLING, task_in(TaskState.CANCELLING), "node2 to stop"),
        (
            JobState.RUNNING,
            task_in(TaskState.SCHEDULED, not_before_ms=11_001),
            "the next attempt; retrying in 12 s",
        ),
        (
            JobState.RUNNING,
            task_in(TaskState.SCHEDULED, not_before_ms=1000, parked_for=SRC),
            "node1 to answer; retrying in 2 s",
        ),
        (
            JobState.RUNNING,
            task_in(TaskState.SCHEDULED, not_before_ms=None, parked_for=DST),
            "node2 to answer; retrying in 0 s",
        ),
        (JobState.SUCCEEDED, None, None),
    ],
)
def test_why_a_job_does_not_move(state: JobState, task: Task | None, reason: str | None) -> None:
    tasks = [] if task is None else [task]
    assert waiting_for(job_in(state), tasks, Scene(now_ms=-500, nodes=BOTH)) == reason


@pytest.mark.parametrize("known", [{}, {DST: NODE}])
def test_a_task_waits_for_its_node_to_connect(known: dict[NodeName, Node]) -> None:
    scene = Scene(now_ms=0, nodes=known)
    assert waiting_for(job_in(), [task_in()], scene) == "node2 to connect"
    parked = task_in(TaskState.SCHEDULED, not_before_ms=0, parked_for=DST)
    assert waiting_for(job_in(), [parked], scene) == "node2 to connect; retrying in 0 s"


def test_a_job_with_any_task_at_work_is_moving() -> None:
    tasks = [task_in(TaskState.READY), task_in(TaskState.LEASED)]
    assert waiting_for(job_in(), tasks, Scene(now_ms=0)) is None


def test_speed_is_that_of_the_attempt() -> None:
    transfer = Transfer(bytes_logical=1000, bytes_transferred=100, bytes_deduplicated=100)
    task = task_in(TaskState.LEASED, begun_at_ms=1000, transfer=transfer, updated_at_ms=1500)
    view = job_view(job_in(started_at_ms=0), [task], Scene(now_ms=3000))
    assert (view.progress.rate_bytes_per_second, view.progress.remaining_seconds) == (100, 8)
    assert view.updated_at.timestamp() == 1.5


def test_speed_is_unknown_before_it_can_be_known() -> None:
    idle = job_view(job_in(), [task_in()], Scene(now_ms=0)).progress
    assert (idle.rate_bytes_per_second, idle.remaining_seconds) == (None, None)
    begun = task_in(TaskState.LEASED, begun_at_ms=0)
    fresh = job_view(job_in(), [begun], Scene(now_ms=0)).progress
    assert (fresh.rate_bytes_per_second, fresh.remaining_seconds) == (0, None)


@pytest.mark.parametrize(
    ("state", "remaining_s"), [(JobState.SUCCEEDED, 0), (JobState.FAILED, None), (JobState.CANCELLED, None)]
)
def test_speed_of_a_job_that_has_ended(state: JobState, remaining_s: float | None) -> None:
    ended = Transfer(bytes_logical=1000, bytes_transferred=1000)
    job = job_in(state, ended=ended, started_at_ms=1000, finished_at_ms=3000)
    progress = job_view(job, [], Scene(now_ms=9999)).progress
    assert (progress.rate_bytes_per_second, progress.remaining_seconds) == (500, remaining_s)
    never = job_view(job_in(state, finished_at_ms=3000), [], Scene(now_ms=9999)).progress
    assert (never.rate_bytes_per_second, never.remaining_seconds) == (None, None)
