"""Tasks and their attempts as users see them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from replicator.wire.sessions import ErrorInfo, TaskKind, Transfer
from replicator.wire.values import Timestamp

TaskStatus = Literal["ready", "leased", "scheduled", "held", "cancelling", "succeeded", "failed", "cancelled"]


_TRANSFER_EXAMPLE: dict[str, JsonValue] = {
    "objects_planned": 1,
    "bytes_logical": 104857600,
    "bytes_transferred": 31457280,
    "bytes_deduplicated": 20971520,
    "bytes_wire": 31500000,
}
_TASK_EXAMPLE: dict[str, JsonValue] = {
    "id": 7,
    "job_id": 5,
    "src_node": "node1",
    "dst_node": "node2",
    "kind": "pull",
    "status": "leased",
    "waiting_for": None,
    "priority": 0,
    "items": 1,
    "items_failed": 0,
    "attempts": 1,
    "failures": 0,
    "losses": 0,
    "epoch": 1,
    "session_id": "0f3a9c1be2d84756a1b2c3d4e5f60718",
    "boot_id": "5f1c7a90d2e84b36",
    "lease_expires_at": "2025-06-01T12:03:35.500Z",
    "ready_at": "2025-06-01T12:00:00.000Z",
    "begun_at": "2025-06-01T12:00:00.010Z",
    "not_before": None,
    "parked_for": None,
    "parked_since": None,
    "transfer": _TRANSFER_EXAMPLE,
    "error": None,
    "created_at": "2025-06-01T12:00:00.000Z",
    "updated_at": "2025-06-01T12:00:00.210Z",
}
_ATTEMPT_EXAMPLE: dict[str, JsonValue] = {
    "attempt": 1,
    "epoch": 1,
    "session_id": "0f3a9c1be2d84756a1b2c3d4e5f60718",
    "boot_id": "5f1c7a90d2e84b36",
    "begun_at": "2025-06-01T12:00:00.010Z",
    "ended_at": None,
    "outcome": None,
    "transfer": _TRANSFER_EXAMPLE,
    "error": None,
}


class TaskView(BaseModel):
    """A task: part of a job, for one destination."""

    model_config = ConfigDict(json_schema_extra={"example": _TASK_EXAMPLE})

    id: int
    job_id: int
    src_node: str
    dst_node: str
    kind: TaskKind
    status: TaskStatus
    waiting_for: str | None = Field(description="Why a live task is not moving just now.")
    priority: int
    items: int = Field(description="Objects that it has still to deal with.")
    items_failed: int = Field(description="Objects of it that failed for good.")
    attempts: int = Field(description="Attempts begun so far.")
    failures: int = Field(description="Those that failed and count against the limit.")
    losses: int = Field(description="Those in a row that ended with their node, since an object settled.")
    epoch: int = Field(description="Fencing token of the latest attempt.")
    session_id: str | None = Field(description="Of its lease, while it is in hand.")
    boot_id: str | None = Field(description="Of its lease, while it is in hand.")
    lease_expires_at: Timestamp | None = Field(description="Of its lease, while it is in hand.")
    ready_at: Timestamp = Field(description="When it was last ready.")
    begun_at: Timestamp | None = Field(description="When its latest attempt began.")
    not_before: Timestamp | None = Field(description="When its backoff ends.")
    parked_for: str | None = Field(description="The node that could not be reached.")
    parked_since: Timestamp | None
    transfer: Transfer = Field(description="Of the latest attempt.")
    error: ErrorInfo | None = Field(description="The last failure.")
    created_at: Timestamp
    updated_at: Timestamp


class AttemptView(BaseModel):
    """One try of a task."""

    model_config = ConfigDict(json_schema_extra={"example": _ATTEMPT_EXAMPLE})

    attempt: int
    epoch: int
    session_id: str
    boot_id: str
    begun_at: Timestamp
    ended_at: Timestamp | None
    outcome: Literal["succeeded", "failed", "cancelled", "lost"] | None = Field(
        description="`lost`: its node fell silent or restarted; null while it goes on."
    )
    transfer: Transfer
    error: ErrorInfo | None


class TaskDetail(TaskView):
    """A task with its attempts."""

    model_config = ConfigDict(
        json_schema_extra={"example": {**_TASK_EXAMPLE, "attempts_latest": [_ATTEMPT_EXAMPLE]}}
    )

    attempts_latest: list[AttemptView] = Field(description="At most 100, the latest first.")


class TaskPage(BaseModel):
    """Tasks of a job, in the order they were made."""

    model_config = ConfigDict(json_schema_extra={"example": {"tasks": [_TASK_EXAMPLE], "next_cursor": None}})

    tasks: list[TaskView]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")
