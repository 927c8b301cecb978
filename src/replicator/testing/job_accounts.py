"""What has to add up in a job of any kind that has ended, whatever happened on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from replicator.testing.mesh import Mesh
from replicator.wire.jobs import TERMINAL_STATUSES, JobObject, JobView

_OBJECT_BYTES_MAX = 512
_ANSWERS_BYTES_MAX = 64 * 1024


def require_accounts(
    mesh: Mesh, job: JobView, *, unchanged: int = 0, unchanged_bytes: int = 0
) -> list[JobObject]:
    """Assert that a job agrees with itself and with its objects; returns these.

    Args:
        unchanged, unchanged_bytes: what a survey found the same on both sides: counted, and not listed.
    """
    rows = mesh.objects(job.id)
    done = job.progress
    assert job.status in TERMINAL_STATUSES
    outcomes = Counter(row.outcome for row in rows)
    assert set(outcomes) <= {"verified", "skipped", "deleted", "failed", "cancelled"}, outcomes
    assert done.objects_verified == outcomes["verified"]
    assert done.objects_skipped == outcomes["skipped"] + unchanged
    assert done.objects_failed == outcomes["failed"]
    assert done.objects_deleted == outcomes["deleted"]
    settled = done.objects_verified + done.objects_skipped + done.objects_failed
    assert done.objects_planned == settled, job
    assert done.bytes_transferred + done.bytes_deduplicated == done.bytes_logical
    assert done.bytes_transferred == sum(row.bytes_transferred for row in rows)
    assert done.bytes_deduplicated == sum(row.bytes_deduplicated for row in rows) + unchanged_bytes
    assert done.bytes_saved == sum(row.bytes_saved for row in rows) <= done.bytes_transferred
    assert (job.status in ("partial", "failed")) == bool(outcomes["failed"]), job
    for row in rows:
        _require_row(row)
    return rows


def _require_row(row: JobObject) -> None:
    assert (row.error is not None) == (row.outcome == "failed"), row
    # What is newer at the destination is left as it is: nothing is brought, and nothing was there already.
    if row.outcome in ("verified", "skipped") and row.action == "transfer" and row.finding != "newer":
        assert row.bytes_transferred + row.bytes_deduplicated == row.size, row


def require_once(rows: Sequence[JobObject], object_ids: Sequence[str]) -> None:
    """Assert that each of the objects has exactly one row, and nothing else has."""
    assert sorted(row.object_id for row in rows) == sorted(object_ids)


def batch_wire_bytes_max(objects: int, chunk_bytes: int, *, attempts: int) -> int:
    """The most that may pass to bring `chunk_bytes` of many small objects, in bytes.

    Each chunk once, and for each attempt an offer and a frame of every object, and the answers to a survey.
    """
    return chunk_bytes + (attempts + 1) * (objects * _OBJECT_BYTES_MAX + _ANSWERS_BYTES_MAX)
