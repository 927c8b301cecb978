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

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, StringConstraints

from replicator.wire.values import (
    BucketNameField,
    HexDigest,
    HexVersion,
    Labels,
    NodeNameField,
    ObjectIdField,
    WithoutNul,
    Zone,
    checked_glob,
    text_for_people,
)

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
RATE_MIN = 32 * 1024
"""Slower, and a transfer that is only held back looks like one that has stalled."""
Rate = Annotated[int, Field(ge=1, le=BYTES_MAX)]
RateLimit = Annotated[int, Field(ge=RATE_MIN, le=BYTES_MAX)]
Glob = Annotated[
    str, StringConstraints(min_length=1, max_length=1024), AfterValidator(checked_glob), WithoutNul
]
ErrorClass = Literal["transient", "throttled", "node-down", "permanent"]
TaskKind = Literal["pull", "survey", "remove"]

POLL_SECONDS_MAX = 30.0
RESULTS_MAX = 256
TASKS_MAX = 64
ITEMS_MAX = 256
FOUND_MAX = 4096
GLOBS_MAX = 100
OBJECT_IDS_MAX = 1000
SOURCES_MAX = 8
CORRUPT_MAX = 64
CURSOR_CHARS_MAX = 8192
SurveyCursor = Annotated[str, StringConstraints(max_length=CURSOR_CHARS_MAX), WithoutNul]
Estimate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ErrorInfo(BaseModel):
    """Why something failed."""

    model_config = ConfigDict(populate_by_name=True)

    error_class: ErrorClass = Field(alias="class", description="What may be done about it.")
    code: Annotated[str, BeforeValidator(text_for_people)] = Field(
        max_length=100, description="Stable kebab-case name of the error.", examples=["not-found"]
    )
    message: Annotated[str, BeforeValidator(text_for_people)] = Field(max_length=2000)


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
    bytes_saved: Amount = Field(
        0, description="Of those transferred, what delta and compression kept off the wire."
    )
    bytes_wire: Amount = Field(0, description="Bytes received from peers, everything counted.")
    objects_deleted: Amount = Field(
        0, description="Deleted at the destination by a mirror; not planned ones."
    )


class TaskSource(BaseModel):
    """Where a pull may take bytes from."""

    model_config = ConfigDict(frozen=True)

    node: NodeNameField
    base_url: str
    rpc_url: str | None = Field(
        None, description="Its gRPC service: http://HOST:PORT; null where it has none."
    )


class ObjectItem(BaseModel):
    """One object of a task."""

    row: RowId = Field(description="Names it in the result.")
    bucket: BucketNameField = "default"
    object_id: ObjectIdField
    version: HexVersion | None = Field(None, description="The planned one; null for the latest.")
    manifest: HexDigest | None = Field(None, description="What that version must be.")
    size: Amount | None = None


class Filter(BaseModel):
    """Which objects are meant. Globs are of whole keys: `*` and `?` stop at slashes, `**` does not, and `**/a` finds
    `a` as well; `[a-c]` is one of these characters, `[!a-c]` none of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include: list[Glob] = Field(
        default_factory=list, max_length=GLOBS_MAX, description="Any of these; empty for all."
    )
    exclude: list[Glob] = Field(default_factory=list, max_length=GLOBS_MAX, description="None of these.")
    size_bytes_min: Amount | None = None
    size_bytes_max: Amount | None = None
    age_seconds_min: Amount | None = Field(None, description="Versions made at least so long ago.")
    age_seconds_max: Amount | None = Field(None, description="Versions made at most so long ago.")


class Survey(BaseModel):
    """A walk over source and destination that compares what they list, a stretch at a time."""

    bucket: BucketNameField | None = Field(None, description="Null for every bucket of the source.")
    prefix: Annotated[str, WithoutNul] = Field("", max_length=1024)
    object_ids: list[ObjectIdField] = Field(
        default_factory=list,
        max_length=OBJECT_IDS_MAX,
        description="Only these; empty for all with the prefix.",
    )
    all_versions: bool = False
    filter: Filter = Filter()
    extras: bool = Field(False, description="Find also what only the destination has.")
    same: bool = Field(False, description="Find also what both have: a move removes that at the source too.")
    dry_run: bool = Field(
        False, description="Count to the byte what the destination lacks; the walk is one task."
    )
    read_data: bool = Field(False, description="Read and prove every byte on both sides.")
    roots: bool = Field(False, description="Compute the Merkle root of both sides.")
    cursor: SurveyCursor | None = Field(None, description="Where to go on; made by a node.")
    found_max: int = Field(1000, ge=1, le=FOUND_MAX, description="Findings in one result.")


Finding = Literal[
    "absent", "differs", "newer", "same", "extra", "corrupt-at-source", "corrupt-at-destination"
]
"""How two sides differ. The destination has: nothing of that key; another version of it; a newer one, or a newer
delete marker, that the source's cannot take the place of; what the source does not have. Or bytes fail their check.
"""


class Found(BaseModel):
    """A version on which the sides do not agree; of the source, but for an `extra`."""

    finding: Finding
    bucket: BucketNameField
    object_id: ObjectIdField
    version: HexVersion
    manifest: HexDigest
    size: Amount


class Plan(BaseModel):
    """What a run would do. Everything but `estimate_…` is exact at the moment it was computed."""

    objects_to_transfer: Amount = 0
    objects_unchanged: Amount = 0
    objects_to_delete: Amount = 0
    bytes_logical: Amount = Field(0, description="Length of the objects to transfer.")
    bytes_lacking: Amount = Field(0, description="Chunk bytes the destination lacks, each chunk once.")
    bytes_deduplicated: Amount = Field(0, description="The rest of them.")
    estimate_bytes_saved: Amount | None = Field(
        None, description="What delta and compression may save of those lacking."
    )
    estimate_seconds: Estimate | None = Field(None, description="At the measured rate of the link.")
    link_bytes_per_second: Estimate | None = Field(
        None, description="That rate; null before anything was measured."
    )


class SurveyResult(BaseModel):
    """One stretch of a survey."""

    cursor: SurveyCursor | None = Field(None, description="Where the next goes on; null at the end.")
    compared: Amount = Field(0, description="Versions looked at that the filter let pass.")
    unchanged: Amount = 0
    unchanged_bytes: Amount = 0
    found: list[Found] = Field(default_factory=list, max_length=FOUND_MAX)
    unknown: list[ObjectIdField] = Field(
        default_factory=list,
        max_length=OBJECT_IDS_MAX,
        description="Of the ids asked for, those that the source does not have.",
    )
    plan: Plan | None = None
    source_root: HexDigest | None = Field(None, description="At the end, where roots were asked for.")
    destination_root: HexDigest | None = None


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
    """A task leased to a node. Sent again until the node reports it running or ended.

    `pull` brings `items` here; `survey` compares; `remove` deletes `items` here that the source lacks (mirror).
    """

    job_id: RowId
    attempt: int = Field(ge=1)
    kind: TaskKind = "pull"
    source: TaskSource
    others: list[TaskSource] = Field(
        default_factory=list, max_length=SOURCES_MAX, description="More nodes that may hold the same bytes."
    )
    items: list[ObjectItem] = Field(default_factory=list, max_length=ITEMS_MAX)
    survey: Survey | None = None
    all_versions: bool = Field(False, description="Items may be versions beside others of their object.")
    move: bool = Field(False, description="Delete at the source each version that was verified here.")


class TaskProgress(TaskRef):
    """How far a running attempt has come."""

    transfer: Transfer


class ObjectResult(BaseModel):
    """What became of one object in an attempt. Failed ones may be tried again, by the class of their error."""

    row: RowId
    outcome: Literal["verified", "skipped", "deleted", "failed"]
    version: HexVersion | None = None
    manifest: HexDigest | None = None
    size: Amount = 0
    bytes_transferred: Amount = 0
    bytes_deduplicated: Amount = 0
    bytes_saved: Amount = 0
    error: ErrorInfo | None = None


class CorruptSource(BaseModel):
    """A chunk that a source has damaged; it was taken from another one, or the object failed."""

    node: NodeNameField
    digest: HexDigest


class TaskResult(TaskRef):
    """How an attempt ended. Sent until the control plane has acknowledged it.

    `failed` with an error is about the task as a whole: it holds for every object that `objects` does not name.
    """

    boot_id: BootId
    outcome: Literal["succeeded", "failed", "cancelled"]
    transfer: Transfer
    objects: list[ObjectResult] = Field(default_factory=list, max_length=ITEMS_MAX)
    survey: SurveyResult | None = None
    corrupt: list[CorruptSource] = Field(default_factory=list, max_length=CORRUPT_MAX)
    error: ErrorInfo | None = None


class RateLimits(BaseModel):
    """Bytes a second, for one node; what is not named is not limited."""

    ingress_bytes_per_s: Rate | None = None
    egress_bytes_per_s: Rate | None = None
    links: dict[NodeNameField, Rate] = Field(default_factory=dict, description="By source.")
    jobs: dict[RowId, Rate] = Field(default_factory=dict)


class DiskSpace(BaseModel):
    """Of the disk that a node keeps its store on."""

    bytes_total: Amount
    bytes_free: Amount


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
    rpc_url: HttpUrl | None = Field(None, description="Its gRPC service, if it has one.")
    release: str = Field(max_length=40, pattern=r"^[!-~]+$")
    labels: Labels = Field(default_factory=dict, description="What the node says of itself.")
    zone: Zone | None = Field(None, description="Where it stands, as far as it knows.")
    space: DiskSpace | None = None
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
    wait_seconds: float = Field(0, ge=0, le=POLL_SECONDS_MAX, allow_inf_nan=False)
    capacity: int = Field(ge=0, le=TASKS_MAX, description="Tasks the node could start now.")
    space: DiskSpace | None = Field(None, description="Now and then, where it has changed.")
    running: list[TaskProgress] = Field(default_factory=list, max_length=TASKS_MAX)
    results: list[TaskResult] = Field(default_factory=list, max_length=RESULTS_MAX)
    heard: Annotated[str, WithoutNul] = Field(
        "", max_length=64, description="`told` of the last reply that arrived, from whichever replica."
    )


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
                        "items": [{"row": 1, "object_id": "demo.bin"}],
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
    limits: RateLimits = Field(default_factory=RateLimits, description="In force from now on.")
    told: str = Field(
        "", description="Names what this reply says: a poll that has heard it is not told at once again."
    )


class JoinRequest(BaseModel):
    """`POST /control/join` on a node: open a session with this control plane."""

    node: NodeNameField
    control_plane_url: HttpUrl


class JoinReply(BaseModel):
    """The node agrees and says which process answered."""

    node: NodeNameField
    boot_id: BootId
