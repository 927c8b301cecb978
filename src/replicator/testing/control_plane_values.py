"""Jobs and tasks of the control plane, for tests of its pure parts."""

from __future__ import annotations

from typing import Any

from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.lease import Lease
from replicator.control_plane.domain.object_row import ObjectRow
from replicator.control_plane.domain.planning import Planning
from replicator.control_plane.domain.spec import JobSpec
from replicator.control_plane.domain.task import IN_HAND, Task, TaskState
from replicator.kernel.names import NodeName

SRC, DST = NodeName("node1"), NodeName("node2")
LEASE = Lease(session_id="session", boot_id="boot", expires_at_ms=100)
SPEC = JobSpec(src_node=SRC, dst_node=DST, object_ids=("demo.bin",))
PLANNED = Planning(surveyed=True, rows_found=1)


def task_in(state: TaskState = TaskState.READY, **fields: Any) -> Task:
    """A task in `state`, leased if that state has a lease."""
    values: dict[str, Any] = {
        "id": 1,
        "job_id": 1,
        "src_node": SRC,
        "dst_node": DST,
        "state": state,
        "lease": LEASE if state in IN_HAND else None,
        "ready_at_ms": 0,
        "created_at_ms": 0,
        "updated_at_ms": 0,
    }
    return Task(**(values | fields))


def job_in(state: JobState = JobState.RUNNING, **fields: Any) -> Job:
    """A job in `state`, whose planning is complete."""
    values: dict[str, Any] = {
        "id": 1,
        "spec": SPEC,
        "state": state,
        "planning": PLANNED,
        "created_at_ms": 0,
        "updated_at_ms": 0,
    }
    return Job(**(values | fields))


def row_of(row_id: int = 1, **fields: Any) -> ObjectRow:
    """A pending object of the job, dealt with by the task."""
    values: dict[str, Any] = {
        "id": row_id,
        "job_id": 1,
        "task_id": 1,
        "bucket": "default",
        "object_id": f"object-{row_id}",
    }
    return ObjectRow(**(values | fields))
