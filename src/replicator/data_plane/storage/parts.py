"""The parts of an open store, for what keeps it healthy: collection, compaction, scrub, backup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from replicator.data_plane.settling import wait_settled
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.chunk_log import ChunkLog
from replicator.data_plane.storage.committer import Committer, Request
from replicator.data_plane.storage.segment import Segments
from replicator.kernel.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreParts:
    """Belongs to a `NodeStore`, and is of no use once that is closed."""

    segments: Segments
    catalog: Catalog
    chunks: ChunkLog
    committer: Committer
    accounts: Accounts
    clock: Clock

    def commit(self, request: Request) -> Any:
        """Have `request` committed and wait for it; raises what it settles with."""
        return wait_settled(lambda settle: self.committer.submit(request, settle))
