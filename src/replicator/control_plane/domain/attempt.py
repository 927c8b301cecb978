"""Attempts: what became of each try of a task."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.control_plane.domain.transfer import NOTHING, Transfer
from replicator.wire.sessions import ErrorInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a task, under one epoch. While `outcome` is None it goes on; `lost` is one that nobody ended."""

    task_id: int
    epoch: int
    attempt: int
    session_id: str
    boot_id: str
    begun_at_ms: int
    ended_at_ms: int | None = None
    outcome: str | None = None
    error: ErrorInfo | None = None
    transfer: Transfer = NOTHING
