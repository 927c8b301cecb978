"""Jobs and tasks of the control plane, for tests of its pure parts."""

from __future__ import annotations

from typing import Any

from replicator.control_plane.domain.job import Job, JobState, MigrateSpec
from replicator.control_plane.domain.lease import Lease
from replicator.control_plane.domain.task import IN_HAND, Task, TaskState
from replicator.kernel.names import NodeName, ObjectId

SRC, DST = NodeName("node1"), NodeName("node2")
LEASE = Lease(session_id="session", boot_id="boot", expires_at_ms=100)
SPEC = MigrateSpec(src_node=SRC, dst_node=DST, object_id=ObjectId("demo.bin"))


def task_in(state: TaskState = TaskState.READY, **fields: Any) -> Task:
    """A task in `state`, leased if that state has a lease."""
    values: dict[str, Any] = {
        "id": 1,
        "job_id": 1,
        "src_node": SRC,
        "dst_node": DST,
        "object_id": SPEC.object_id,
        "state": state,
        "lease": LEASE if state in IN_HAND else None,
        "ready_at_ms": 0,
        "created_at_ms": 0,
        "updated_at_ms": 0,
    }
    return Task(**(values | fields))


def job_in(state: JobState = JobState.RUNNING, **fields: Any) -> Job:
    """A job in `state`."""
    values: dict[str, Any] = {
        "id": 1,
        "spec": SPEC,
        "state": state,
        "created_at_ms": 0,
        "updated_at_ms": 0,
    }
    return Job(**(values | fields))
