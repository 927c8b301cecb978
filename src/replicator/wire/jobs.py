"""Jobs as users create and see them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from replicator.wire.sessions import INTEGER_MAX, OBJECT_IDS_MAX, ErrorInfo, Filter, Plan, RateLimit, Transfer
from replicator.wire.values import (
    BucketNameField,
    HexDigest,
    HexVersion,
    NodeNameField,
    ObjectIdField,
    TasksMax,
    Timestamp,
    ToCome,
    WithoutNul,
)

JobStatus = Literal[
    "queued", "planning", "running", "paused", "succeeded", "partial", "failed", "cancelling", "cancelled"
]
JobKind = Literal["migrate", "mirror", "verify"]
Priority = Annotated[int, Field(ge=-9, le=9, description="Higher goes first.")]
Prefix = Annotated[str, StringConstraints(max_length=1024), WithoutNul]
TERMINAL_STATUSES: frozenset[str] = frozenset({"succeeded", "partial", "failed", "cancelled"})


_JOB_EXAMPLE: dict[str, JsonValue] = {
    "id": 1,
    "kind": "migrate",
    "src_node": "node1",
    "dst_node": "node2",
    "object_id": "demo.bin",
    "selection": "demo.bin",
    "mode": "copy",
    "dry_run": False,
    "priority": 0,
    "bytes_per_second": None,
    "tasks_max": None,
    "start_at": None,
    "deadline_at": "2025-06-01T18:00:00.000Z",
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
        "bytes_saved": 0,
        "bytes_wire": 31500000,
        "objects_deleted": 0,
        "rate_bytes_per_second": 262144000.0,
        "remaining_seconds": 0.2,
    },
    "compared": 0,
    "plan": None,
    "verdict": None,
    "attempts": 1,
    "error": None,
    "created_at": "2025-06-01T12:00:00.000Z",
    "started_at": "2025-06-01T12:00:00.010Z",
    "finished_at": None,
    "updated_at": "2025-06-01T12:00:00.210Z",
}


_START = "It does not begin before; null for at once."
_DEADLINE = (
    "If it has not ended by then, it is cancelled, with the error `deadline-exceeded`; null for never."
)
_TASKS_MAX = "Tasks of it at a time, at most; null for as many as any job has."


class _JobRequest(BaseModel):
    """What every job is told."""

    model_config = ConfigDict(extra="forbid")

    src_node: NodeNameField
    dst_node: NodeNameField
    dry_run: bool = Field(False, description="Change nothing: say what a run would do, to the byte.")
    priority: Priority = 0
    bytes_per_second: RateLimit | None = Field(None, description="Limit of this job; null for none.")
    tasks_max: TasksMax | None = Field(None, description=_TASKS_MAX)
    start_at: ToCome | None = Field(None, description=_START)
    deadline_at: ToCome | None = Field(None, description=_DEADLINE)


class MigrateRequest(_JobRequest):
    """`POST /jobs/migrate`: bring objects from one node to another.

    Exactly one of `object_id`, `object_ids`, `prefix`, `all` and, alone, `bucket` says which.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"src_node": "node1", "dst_node": "node2", "object_id": "demo.bin"}},
    )

    object_id: ObjectIdField | None = None
    object_ids: list[ObjectIdField] | None = Field(None, min_length=1, max_length=OBJECT_IDS_MAX)
    prefix: Prefix | None = None
    bucket: BucketNameField | None = Field(None, description="Null for `default`.")
    all: bool = Field(False, description="Every object of every bucket.")
    filter: Filter = Filter()
    versions: Literal["latest", "all"] = "latest"
    mode: Literal["copy", "move"] = Field(
        "copy",
        description="A move deletes at the source the very version that was verified at the destination.",
    )


class MirrorRequest(_JobRequest):
    """`POST /jobs/mirror`: make a prefix at the destination equal to the source."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"src_node": "node1", "dst_node": "node2", "prefix": "photos/"}},
    )

    bucket: BucketNameField = "default"
    prefix: Prefix = ""
    filter: Filter = Filter()
    delete: bool = Field(False, description="Delete at the destination what the source does not have.")
    allow_empty_source: bool = Field(
        False,
        description="Delete also where the source has nothing at all of what is mirrored. Else nothing is deleted "
        "then: it may have lost its disk.",
    )
    max_deletes: int = Field(
        1000, ge=0, le=INTEGER_MAX, description="If more would have to go, none goes, and the job says so."
    )


class VerifyRequest(BaseModel):
    """`POST /jobs/verify`: prove that two nodes agree on a prefix."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"src_node": "node1", "dst_node": "node2", "prefix": "photos/"}},
    )

    src_node: NodeNameField
    dst_node: NodeNameField
    bucket: BucketNameField = "default"
    prefix: Prefix = ""
    all_versions: bool = False
    read_data: bool = Field(
        False, description="Read and prove every byte on both sides, not only what they list."
    )
    dry_run: bool = Field(
        False, description="Prove nothing: say from the listings what the destination lacks, to the byte."
    )
    priority: Priority = 0
    tasks_max: TasksMax | None = Field(None, description=_TASKS_MAX)
    start_at: ToCome | None = Field(None, description=_START)
    deadline_at: ToCome | None = Field(None, description=_DEADLINE)


class ChangeJob(BaseModel):
    """`PATCH /jobs/{job_id}`: what is not named stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"priority": 5}})

    priority: Priority | None = None
    bytes_per_second: RateLimit | None = Field(None, description="Null takes the limit away.")
    tasks_max: TasksMax | None = Field(None, description="Null takes the limit away.")
    start_at: ToCome | None = Field(
        None, description="Of a job that has not begun; null, or a moment that is over, lets it begin."
    )
    deadline_at: ToCome | None = Field(None, description="Null takes it away.")


class Verdict(BaseModel):
    """What a verification found: the sides agree where the roots are equal and nothing is listed."""

    agree: bool
    source_root: HexDigest = Field(
        description="Merkle root over key, version and manifest digest (RFC 6962)."
    )
    destination_root: HexDigest
    differences: int = Field(description="`GET /jobs/{id}/objects` lists them.")


class PlanView(Plan):
    """What a dry run found, or what an earlier one of the same request promised this run."""

    job_id: int = Field(description="The dry run.")
    bytes_lacking_error: int | None = Field(
        None, description="Of a run that has ended: bytes it transferred, less those that were planned."
    )


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
    kind: JobKind
    src_node: str
    dst_node: str
    object_id: str | None = Field(description="Of a job about one object.")
    selection: str = Field(
        description="What the job is about, in words.", examples=["photos/** in bucket media"]
    )
    mode: Literal["copy", "move"] = "copy"
    dry_run: bool = False
    priority: int = 0
    bytes_per_second: int | None = Field(None, description="Limit of this job.")
    tasks_max: int | None = Field(None, description="Tasks of it at a time, at most.")
    start_at: Timestamp | None = Field(None, description="It does not begin before.")
    deadline_at: Timestamp | None = Field(None, description="If it has not ended by then, it is cancelled.")
    status: JobStatus
    waiting_for: str | None = Field(
        None, description="Why a live job is not moving just now.", examples=["node2 to connect"]
    )
    progress: JobProgress
    compared: int = Field(
        0, description="Versions compared so far; those that agree are skipped and not listed."
    )
    plan: PlanView | None = None
    verdict: Verdict | None = None
    attempts: int = Field(description="Attempts begun so far.", ge=0)
    error: ErrorInfo | None = Field(description="The last failure, also while a retry is to come.")
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    updated_at: Timestamp


Outcome = Literal["pending", "verified", "skipped", "deleted", "failed", "cancelled", "planned"]


_OBJECT_EXAMPLE: dict[str, JsonValue] = {
    "row": 1,
    "bucket": "default",
    "object_id": "demo.bin",
    "version": "019f3b2c4d5e0000a1b2c3d4e5f60718",
    "manifest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "action": "transfer",
    "finding": "absent",
    "outcome": "verified",
    "size": 104857600,
    "bytes_transferred": 83886080,
    "bytes_deduplicated": 20971520,
    "bytes_saved": 0,
    "attempts": 1,
    "error": None,
}


class JobObject(BaseModel):
    """One object of a job. `planned` is the outcome in a dry run, `failed` what differs in a verification."""

    model_config = ConfigDict(json_schema_extra={"example": _OBJECT_EXAMPLE})

    row: int
    bucket: str
    object_id: str
    version: HexVersion | None
    manifest: HexDigest | None
    action: Literal["transfer", "delete", "verify"]
    finding: str | None = Field(None, description="How the sides differed when they were compared.")
    outcome: Outcome
    size: int | None
    bytes_transferred: int
    bytes_deduplicated: int
    bytes_saved: int
    attempts: int
    error: ErrorInfo | None


class JobObjectPage(BaseModel):
    """Objects of a job, in the order they were found."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"objects": [_OBJECT_EXAMPLE], "next_cursor": None}}
    )

    objects: list[JobObject]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")


EVENTS_DROPPED = "events.dropped"
"""Name of the event that stands for older ones that are no longer kept."""
PROGRESS_EVENT = "progress"
"""Server-sent events of this name have a `JobView` as data, and no id."""
HEARTBEAT_SECONDS = 15.0
"""No stream of events is silent for longer."""


class JobEvent(BaseModel):
    """One thing that happened to a job: `data` of an event of `GET /jobs/{id}/events`; its id is `id`.

    `events.dropped` says that events up to its id are no longer kept.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 3,
                "at": "2025-06-01T12:00:00.210Z",
                "name": "job.running",
                "fields": {"job": 1},
            }
        }
    )

    id: int
    at: Timestamp
    name: str = Field(examples=["job.running", "object.failed"])
    fields: dict[str, JsonValue]


class JobPage(BaseModel):
    """Jobs, newest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [_JOB_EXAMPLE], "next_cursor": None}})

    jobs: list[JobView]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")


_DEAD_LETTER_EXAMPLE: dict[str, JsonValue] = {
    "task_id": 17,
    "job_id": 4,
    "job_status": "partial",
    "kind": "pull",
    "src_node": "node1",
    "dst_node": "node2",
    "error": {
        "class": "permanent",
        "code": "poison",
        "message": "node2 was lost 20 times in a row while it was at this task",
    },
    "objects_failed": 1,
    "attempts": 20,
    "losses": 20,
    "failed_at": "2025-06-01T12:00:00.000Z",
}


class DeadLetter(BaseModel):
    """A task that has failed for good, of a job that has ended: nobody will try it again by itself."""

    model_config = ConfigDict(json_schema_extra={"example": _DEAD_LETTER_EXAMPLE})

    task_id: int
    job_id: int
    job_status: JobStatus
    kind: Literal["pull", "survey", "remove"]
    src_node: str
    dst_node: str
    error: ErrorInfo | None = Field(description="Why it failed.")
    objects_failed: int
    attempts: int = Field(description="Attempts begun.")
    losses: int = Field(description="Attempts in a row that were lost with their node.")
    failed_at: Timestamp


class DeadLetterPage(BaseModel):
    """Dead letters, newest task first."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"dead_letters": [_DEAD_LETTER_EXAMPLE], "next_cursor": None}}
    )

    dead_letters: list[DeadLetter]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")
