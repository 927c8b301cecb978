"""Copies: another version that shares a manifest, made in the same time whatever the size."""

from __future__ import annotations

from replicator.data_plane.ports import (
    UNCONDITIONAL,
    Committed,
    Condition,
    NewVersion,
    Settle,
    Store,
    Version,
)
from replicator.data_plane.settling import wait_settled
from replicator.kernel.names import BucketName, ObjectId


def copy_version(
    store: Store,
    source: Version,
    bucket: BucketName,
    object_id: ObjectId,
    condition: Condition = UNCONDITIONAL,
) -> Committed:
    """Make `source` the latest version of an object too; blocks until that is durable.

    Raises:
        NotFound: there is no such bucket, or `source` was removed meanwhile.
        PreconditionFailed: `condition`, which is about the target, does not hold.
        QuotaExceeded, StoreFailed
    """
    with store.hold(f"copy of '{source.object_id}'") as hold:
        new = NewVersion(
            object_id=object_id,
            bucket=bucket,
            manifest=store.pin(source.manifest, hold),
            content_type=source.content_type,
            condition=condition,
            shares=True,
        )

        def start(settle: Settle) -> None:
            store.commit(new, settle)

        done = wait_settled(start)
    assert done is not None
    return done
