"""What an operator asks of a node's store."""

from __future__ import annotations

from replicator.client.endpoint import Endpoint
from replicator.kernel.digest import Digest
from replicator.wire.upkeep import (
    BackupReport,
    BackupRequest,
    ChunkExplanation,
    CollectReport,
    CollectRequest,
    CompactReport,
    CompactRequest,
    ScrubView,
    SegmentList,
    StoreStatsView,
)


class UpkeepClient:
    """The store of the node at `endpoint`. Collection, compaction and backup answer when they are done."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def stats(self) -> StoreStatsView:
        """What the store holds."""
        return await self._endpoint.call("GET", "/store/stats", answer=StoreStatsView)

    async def segments(self) -> SegmentList:
        """Every segment, oldest first."""
        return await self._endpoint.call("GET", "/store/segments", answer=SegmentList)

    async def collect(self, message: CollectRequest) -> CollectReport:
        """Drop what no version has referred to for the time of grace."""
        return await self._endpoint.call("POST", "/store/gc", answer=CollectReport, message=message)

    async def compact(self, message: CompactRequest) -> CompactReport:
        """Rewrite the segments with the most dead bytes."""
        return await self._endpoint.call("POST", "/store/compact", answer=CompactReport, message=message)

    async def explain(self, digest: Digest) -> ChunkExplanation:
        """Why a chunk is kept."""
        return await self._endpoint.call("GET", f"/store/chunks/{digest}", answer=ChunkExplanation)

    async def scrub_status(self) -> ScrubView:
        """How far the scrub is."""
        return await self._endpoint.call("GET", "/store/scrub", answer=ScrubView)

    async def start_scrub(self) -> ScrubView:
        """Have the whole store read once, now; or `Conflict`, where one that was asked for is running."""
        return await self._endpoint.call("POST", "/store/scrub", answer=ScrubView)

    async def backup(self, name: str) -> BackupReport:
        """Make a backup below the node's backup folder; or `Conflict`."""
        return await self._endpoint.call(
            "POST", "/store/backups", answer=BackupReport, message=BackupRequest(name=name)
        )
