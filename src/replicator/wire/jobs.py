"""Jobs as users create and see them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from replicator.wire.sessions import ErrorInfo, Transfer
from replicator.wire.values import NodeNameField, ObjectIdField, Timestamp

JobStatus = Literal[
    "queued", "planning", "running", "paused", "succeeded", "partial", "failed", "cancelling", "cancelled"
]
TERMINAL_STATUSES: frozenset[str] = frozenset({"succeeded", "partial", "failed", "cancelled"})


_JOB_EXAMPLE: dict[str, JsonValue] = {
    "id": 1,
    "kind": "migrate",
    "src_node": "node1",
    "dst_node": "node2",
    "object_id": "demo.bin",
    "status": "running",
    "waiting_for": None,
    "progress": {
        "objects_planned": 1,
        "objects_verified": 0,
        "objects_skipped": 0,
        "objects_failed": 0,
        "bytes_logical": 104857600,
        "bytes_transferred": 31457280,
        "bytes_deduplicated": 20971520,
        "bytes_wire": 31500000,
        "rate_bytes_per_second": 262144000.0,
        "remaining_seconds": 0.2,
    },
    "attempts": 1,
    "error": None,
    "created_at": "2025-06-01T12:00:00.000Z",
    "started_at": "2025-06-01T12:00:00.010Z",
    "finished_at": None,
    "updated_at": "2025-06-01T12:00:00.210Z",
}


class MigrateRequest(BaseModel):
    """`POST /jobs/migrate`: copy one object from one node to another."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"src_node": "node1", "dst_node": "node2", "object_id": "demo.bin"}},
    )

    src_node: NodeNameField
    dst_node: NodeNameField
    object_id: ObjectIdField


class JobProgress(Transfer):
    """Sums over a job's tasks, and how fast they go."""

    rate_bytes_per_second: float | None = Field(
        None,
        description="Logical bytes completed per second since the attempt began, and once the job has ended "
        "over all its time since it started; null before.",
    )
    remaining_seconds: float | None = Field(None, description="At that rate; null while unknown.")


class JobView(BaseModel):
    """A job."""

    model_config = ConfigDict(json_schema_extra={"example": _JOB_EXAMPLE})

    id: int
    kind: Literal["migrate"]
    src_node: str
    dst_node: str
    object_id: str
    status: JobStatus
    waiting_for: str | None = Field(
        None, description="Why a live job is not moving just now.", examples=["node2 to connect"]
    )
    progress: JobProgress
    attempts: int = Field(description="Attempts begun so far.", ge=0)
    error: ErrorInfo | None = Field(description="The last failure, also while a retry is to come.")
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    updated_at: Timestamp


class JobPage(BaseModel):
    """Jobs, newest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [_JOB_EXAMPLE], "next_cursor": None}})

    jobs: list[JobView]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")
