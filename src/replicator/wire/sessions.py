"""What nodes and the control plane say to each other.

A node opens a session and polls it, one poll at a time; everything the control plane wants travels in replies,
so it works through NAT. Writes are fenced: a result counts only if its task is leased to this very (epoch,
boot_id). Another control plane, or one that lost its database, gives the same numbers to other tasks, so an
attempt is named by (control_plane, task_id, epoch) wherever it is spoken of. Any message may be lost or come
twice, so what a reply says is said again until the node's polls show that it was heard: a node ignores an
assignment of an attempt that it has already.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, StringConstraints

from replicator.wire.values import HexDigest, HexVersion, NodeNameField, ObjectIdField

INTEGER_MAX = 2**63 - 1
BYTES_MAX = 2**53 - 1
"""What every reader of JSON keeps exact."""

ControlPlaneId = Annotated[
    str,
    StringConstraints(min_length=8, max_length=64, pattern=r"^[!-~]+$"),
    Field(description="Random, made with the control plane's database."),
]
BootId = Annotated[str, StringConstraints(min_length=8, max_length=64, pattern=r"^[!-~]+$")]
RowId = Annotated[int, Field(ge=1, le=INTEGER_MAX)]
Epoch = Annotated[int, Field(ge=0, le=INTEGER_MAX)]
Amount = Annotated[int, Field(ge=0, le=BYTES_MAX)]
ErrorClass = Literal["transient", "throttled", "node-down", "permanent"]

POLL_SECONDS_MAX = 30.0
RESULTS_MAX = 256
TASKS_MAX = 64


def _storable(text: object) -> object:
    return text.encode(errors="replace").decode() if isinstance(text, str) else text


class ErrorInfo(BaseModel):
    """Why something failed."""

    model_config = ConfigDict(populate_by_name=True)

    error_class: ErrorClass = Field(alias="class", description="What may be done about it.")
    code: Annotated[str, BeforeValidator(_storable)] = Field(
        max_length=100, description="Stable kebab-case name of the error.", examples=["not-found"]
    )
    message: Annotated[str, BeforeValidator(_storable)] = Field(max_length=2000)


class Transfer(BaseModel):
    """Bytes and objects of one attempt or job; `bytes_logical = bytes_transferred + bytes_deduplicated`
    and `objects_planned = objects_verified + objects_skipped + objects_failed` once it has ended."""

    objects_planned: Amount = 0
    objects_verified: Amount = Field(0, description="Arrived and committed.")
    objects_skipped: Amount = Field(0, description="The destination already had them.")
    objects_failed: Amount = 0
    bytes_logical: Amount = Field(0, description="Length of the objects.")
    bytes_transferred: Amount = Field(0, description="Chunk bytes that arrived and were kept.")
    bytes_deduplicated: Amount = Field(0, description="Bytes that were there already.")
    bytes_wire: Amount = Field(0, description="Bytes received from peers, framing included.")


class TaskSource(BaseModel):
    """Where a pull may take bytes from."""

    node: NodeNameField
    base_url: str


class TaskRef(BaseModel):
    """One attempt, named."""

    model_config = ConfigDict(frozen=True)

    control_plane: ControlPlaneId
    task_id: RowId
    epoch: Epoch = Field(description="Fencing token.")

    @property
    def ref(self) -> TaskRef:
        """The name alone."""
        return TaskRef(control_plane=self.control_plane, task_id=self.task_id, epoch=self.epoch)


class TaskAssignment(TaskRef):
    """A task leased to a node: pull one object. Sent again until the node reports it running or ended."""

    job_id: RowId
    attempt: int = Field(ge=1)
    kind: Literal["pull"] = "pull"
    source: TaskSource
    object_id: ObjectIdField


class TaskProgress(TaskRef):
    """How far a running attempt has come."""

    transfer: Transfer


class TaskResult(TaskRef):
    """How an attempt ended. Sent until the control plane has acknowledged it."""

    object_id: ObjectIdField
    boot_id: BootId
    outcome: Literal["succeeded", "failed", "cancelled"]
    transfer: Transfer
    version: HexVersion | None = None
    manifest: HexDigest | None = None
    error: ErrorInfo | None = None


class OpenSession(BaseModel):
    """`POST /sessions`: a process of node `node` has started, or lost its session."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "node": "node2",
                "boot_id": "5f1c7a90d2e84b36",
                "base_url": "http://node2:9002",
                "release": "0.1.0",
            }
        }
    )

    node: NodeNameField
    boot_id: BootId = Field(description="Random, one per process life.")
    base_url: HttpUrl = Field(description="Where this node can be reached, as far as it knows.")
    release: str = Field(max_length=40, pattern=r"^[!-~]+$")
    results: list[TaskResult] = Field(
        default_factory=list, max_length=RESULTS_MAX, description="Outbox left by an earlier life."
    )


class SessionOpened(BaseModel):
    """The session, until `lease_seconds` pass without a poll."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "session_id": "0f3a9c1be2d84756a1b2c3d4e5f60718",
                "control_plane": "c81d2e5f9a0b47368d1c5e7f2a4b6093",
                "lease_seconds": 15.0,
                "poll_seconds": 10.0,
                "acknowledged": [],
            }
        }
    )

    session_id: str
    control_plane: ControlPlaneId
    lease_seconds: float
    poll_seconds: float = Field(description="How long a poll may wait.")
    acknowledged: list[TaskRef] = Field(description="Results that need not be sent again.")


class Poll(BaseModel):
    """`POST /sessions/{session_id}/poll`: renews the session and every lease it holds."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"boot_id": "5f1c7a90d2e84b36", "wait_seconds": 10, "capacity": 4}}
    )

    boot_id: BootId
    wait_seconds: float = Field(0, ge=0, le=POLL_SECONDS_MAX)
    capacity: int = Field(ge=0, le=TASKS_MAX, description="Tasks the node could start now.")
    running: list[TaskProgress] = Field(default_factory=list, max_length=TASKS_MAX)
    results: list[TaskResult] = Field(default_factory=list, max_length=RESULTS_MAX)


class PollReply(BaseModel):
    """What the control plane wants done. Answers at once when anything was acknowledged."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "tasks": [
                    {
                        "control_plane": "c81d2e5f9a0b47368d1c5e7f2a4b6093",
                        "task_id": 1,
                        "job_id": 1,
                        "epoch": 1,
                        "attempt": 1,
                        "kind": "pull",
                        "source": {"node": "node1", "base_url": "http://node1:9001"},
                        "object_id": "demo.bin",
                    }
                ],
                "cancel": [],
                "abandon": [],
                "acknowledged": [],
            }
        }
    )

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
