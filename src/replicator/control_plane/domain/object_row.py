"""Objects of jobs: what is to be done about each version, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from replicator.wire.sessions import ErrorInfo


class Action(StrEnum):
    """What is to be done. Nothing is done about what a verification found."""

    TRANSFER = "transfer"
    DELETE = "delete"
    VERIFY = "verify"


class Outcome(StrEnum):
    """What became of it; `planned` is all that a dry run says."""

    PENDING = "pending"
    VERIFIED = "verified"
    SKIPPED = "skipped"
    DELETED = "deleted"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PLANNED = "planned"


@dataclass(frozen=True, kw_only=True)
class ObjectRow:
    """One object of a job.

    `id` counts from 1 in each job, in the order in which objects were found. `task_id` is the latest task that
    was to deal with it. `version`, `manifest` and `size` (in bytes) are known once the object was found by a
    survey or has arrived. `attempts` counts those that it was part of.
    """

    id: int
    job_id: int
    task_id: int | None = None
    bucket: str
    object_id: str
    version: str | None = None
    manifest: str | None = None
    size: int | None = None
    action: Action = Action.TRANSFER
    finding: str | None = None
    outcome: Outcome = Outcome.PENDING
    bytes_transferred: int = 0
    bytes_deduplicated: int = 0
    bytes_saved: int = 0
    attempts: int = 0
    error: ErrorInfo | None = None
