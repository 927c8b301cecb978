"""Jobs as users create and see them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from replicator.wire.sessions import ErrorInfo, Transfer
from replicator.wire.values import NodeNameField, ObjectIdField, Timestamp

JobStatus = Literal[
    "queued", "planning", "running", "paused", "succeeded", "partial", "failed", "cancelling", "cancelled"
]
TERMINAL_STATUSES: frozenset[str] = frozenset({"succeeded", "partial", "failed", "cancelled"})


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
        None, description="Logical bytes completed per second since the attempt began; null before it has."
    )
    remaining_seconds: float | None = Field(None, description="At that rate; null while unknown.")


class JobView(BaseModel):
    """A job."""

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

    jobs: list[JobView]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")
