"""What nodes and the control plane say to each other.

A node opens a session and polls it; everything the control plane wants travels in replies, so it works
through NAT. Writes are fenced: a result counts only if its task is leased to this very (epoch, boot_id).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl

from replicator.wire.values import HexDigest, HexVersion, NodeNameField, ObjectIdField

BootId = str
ErrorClass = Literal["transient", "throttled", "node-down", "permanent"]

POLL_SECONDS_MAX = 30.0
RESULTS_MAX = 256
TASKS_MAX = 64


class ErrorInfo(BaseModel):
    """Why something failed."""

    model_config = ConfigDict(populate_by_name=True)

    error_class: ErrorClass = Field(alias="class", description="What may be done about it.")
    code: str = Field(description="Stable kebab-case name of the error.", examples=["not-found"])
    message: str = Field(max_length=2000)


class Transfer(BaseModel):
    """Bytes and objects of one attempt or job; `bytes_logical = bytes_transferred + bytes_deduplicated`
    and `objects_planned = objects_verified + objects_skipped + objects_failed` once it has ended."""

    objects_planned: int = Field(0, ge=0)
    objects_verified: int = Field(0, ge=0, description="Arrived and committed.")
    objects_skipped: int = Field(0, ge=0, description="The destination already had them.")
    objects_failed: int = Field(0, ge=0)
    bytes_logical: int = Field(0, ge=0, description="Length of the objects.")
    bytes_transferred: int = Field(0, ge=0, description="Chunk bytes that arrived and were kept.")
    bytes_deduplicated: int = Field(0, ge=0, description="Bytes that were there already.")
    bytes_wire: int = Field(0, ge=0, description="Bytes received from peers, framing included.")


class TaskSource(BaseModel):
    """Where a pull may take bytes from."""

    node: NodeNameField
    base_url: str


class TaskAssignment(BaseModel):
    """A task leased to a node: pull one object."""

    task_id: int
    job_id: int
    epoch: int = Field(description="Fencing token; repeated in all that is said about this attempt.")
    attempt: int = Field(ge=1)
    kind: Literal["pull"] = "pull"
    source: TaskSource
    object_id: ObjectIdField


class TaskProgress(BaseModel):
    """How far a running attempt has come."""

    task_id: int
    epoch: int
    transfer: Transfer


class TaskResult(BaseModel):
    """How an attempt ended. Sent until the control plane has acknowledged it."""

    task_id: int
    epoch: int
    boot_id: BootId
    outcome: Literal["succeeded", "failed", "cancelled"]
    transfer: Transfer
    version: HexVersion | None = None
    manifest: HexDigest | None = None
    error: ErrorInfo | None = None


class TaskRef(BaseModel):
    """One attempt, named."""

    task_id: int
    epoch: int


class OpenSession(BaseModel):
    """`POST /sessions`: a process of node `node` has started, or lost its session."""

    node: NodeNameField
    boot_id: BootId = Field(min_length=8, max_length=64, description="Random, one per process life.")
    base_url: HttpUrl = Field(description="Where this node can be reached, as far as it knows.")
    release: str = Field(max_length=40)
    results: list[TaskResult] = Field(
        default_factory=list, max_length=RESULTS_MAX, description="Outbox left by an earlier life."
    )


class SessionOpened(BaseModel):
    """The session, until `lease_seconds` pass without a poll."""

    session_id: str
    lease_seconds: float
    poll_seconds: float = Field(description="How long a poll may wait.")
    acknowledged: list[TaskRef] = Field(description="Results that need not be sent again.")


class Poll(BaseModel):
    """`POST /sessions/{session_id}/poll`: renews the session and every lease it holds."""

    boot_id: BootId
    wait_seconds: float = Field(0, ge=0, le=POLL_SECONDS_MAX)
    capacity: int = Field(ge=0, le=TASKS_MAX, description="Tasks the node could start now.")
    running: list[TaskProgress] = Field(default_factory=list, max_length=TASKS_MAX)
    results: list[TaskResult] = Field(default_factory=list, max_length=RESULTS_MAX)


class PollReply(BaseModel):
    """What the control plane wants done. Answers at once when anything was acknowledged."""

    tasks: list[TaskAssignment] = Field(default_factory=list)
    cancel: list[TaskRef] = Field(default_factory=list, description="Stop these and report `cancelled`.")
    abandon: list[TaskRef] = Field(
        default_factory=list,
        description="Running here but no longer leased to this session: stop, say nothing.",
    )
    acknowledged: list[TaskRef] = Field(
        default_factory=list, description="Results taken, or refused as stale: do not send them again."
    )


class JoinRequest(BaseModel):
    """`POST /control/join` on a node: open a session with this control plane."""

    node: NodeNameField
    control_plane_url: HttpUrl


class JoinReply(BaseModel):
    """The node agrees and says which process answered."""

    node: NodeNameField
    boot_id: BootId
