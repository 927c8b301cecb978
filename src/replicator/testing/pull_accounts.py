"""What has to add up in a job that brought one object, whatever happened on the way."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.kernel.manifest import ChunkRef
from replicator.testing.cluster import wire_bytes_max
from replicator.wire.jobs import JobView

_UNDER_WAY_BYTES_MAX = 2 * 1024 * 1024


def require_whole(job: JobView, refs: Sequence[ChunkRef], *, cuts: int) -> None:
    """Assert that a job brought the one object of the chunks `refs`, each of them once, and counted it.

    At each of the cuts, of what was under way, a delivery of each stream may have arrived in part, for nothing.
    """
    assert job.status == "succeeded", job.error
    done = job.progress
    assert (done.objects_planned, done.objects_verified, done.objects_failed) == (1, 1, 0)
    assert done.bytes_logical == sum(ref.length for ref in refs)
    assert done.bytes_logical == done.bytes_transferred + done.bytes_deduplicated
    distinct = list(dict.fromkeys(refs))
    assert done.bytes_transferred == sum(ref.length for ref in distinct)
    whole = wire_bytes_max(refs, wanted=distinct, attempts=job.attempts)
    assert done.bytes_wire <= whole + cuts * _UNDER_WAY_BYTES_MAX
