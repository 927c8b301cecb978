"""`/store`: what keeps a node's store healthy, to look at and to ask for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import FastAPI, Path

from replicator.data_plane.upkeep import ScrubStatus, Upkeep
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, ReplicatorError
from replicator.runtime.logging import get_logger
from replicator.wire.upkeep import (
    BackupReport,
    BackupRequest,
    ChunkExplanation,
    CollectReport,
    CollectRequest,
    CompactReport,
    CompactRequest,
    ReferrerView,
    ScrubView,
    SegmentList,
    SegmentView,
    StoreStatsView,
)

T = TypeVar("T")

log = get_logger()


class AskedScrub:
    """Runs the scrub that somebody asked for, at most one at a time, in a thread that ends with the store."""

    def __init__(self, upkeep: Upkeep) -> None:
        self._upkeep = upkeep
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether it is under way."""
        return self._lock.locked()

    def start(self) -> None:
        """Begin, and return at once; raises `Conflict` where one is under way."""
        if not self._lock.acquire(blocking=False):
            raise Conflict("a scrub that was asked for is running: GET /store/scrub shows how far it is")
        threading.Thread(target=self._run, name="asked-scrub", daemon=True).start()

    def _run(self) -> None:
        try:
            status = self._upkeep.scrub_now()
            log.info("scrub.done", damaged=status.damaged, bytes=status.bytes_done)
        except ReplicatorError as error:
            # Nobody waits for it; whoever asks later sees that the round has not ended.
            log.error("scrub.failed", reason=error.message, data=error.data)
        finally:
            self._lock.release()


class _Turns:
    """One long piece of work at a time: others wait without a thread."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        async with self._lock:
            return await asyncio.to_thread(work)


def add_upkeep(app: FastAPI, upkeep: Upkeep) -> None:
    """Serve everything below `/store`."""
    _add_looks(app, upkeep)
    _add_work(app, upkeep)
    _add_scrub(app, upkeep)


def _add_looks(app: FastAPI, upkeep: Upkeep) -> None:
    @app.get("/store/stats", tags=["store"], summary="What the store holds")
    def stats() -> StoreStatsView:
        """Live, dead and retiring bytes, damage, and what is held by work in progress."""
        return StoreStatsView(**upkeep.stats()._asdict())

    @app.get("/store/segments", tags=["store"], summary="List segments")
    def segments() -> SegmentList:
        """Every segment, oldest first, with its live bytes."""
        return SegmentList(segments=[SegmentView(**each._asdict()) for each in upkeep.segments()])

    @app.get("/store/chunks/{digest}", tags=["store"], summary="Why a chunk is kept")
    def explain(
        digest: Annotated[str, Path(description="SHA-256 of the chunk, 64 lowercase hexadecimal digits.")],
    ) -> ChunkExplanation:
        """Where it is, which versions refer to it, and what work in progress keeps it."""
        found = upkeep.explain(Digest.parse(digest))
        told = found._asdict() | {
            "digest": str(found.digest),
            "holds": list(found.holds),
            "referrers": [
                ReferrerView(bucket=each.bucket, object_id=each.object_id, version=str(each.version))
                for each in found.referrers
            ],
        }
        return ChunkExplanation(**told)


def _add_work(app: FastAPI, upkeep: Upkeep) -> None:
    turns = _Turns()

    @app.post("/store/gc", tags=["store"], summary="Collect garbage")
    async def collect(asked: CollectRequest | None = None) -> CollectReport:
        """Drop what no version has referred to for the time of grace. Its bytes are then dead: see compact."""
        wanted = asked or CollectRequest()
        done = await turns.run(lambda: upkeep.collect(grace_s=wanted.grace_s, dry_run=wanted.dry_run))
        return CollectReport(**done._asdict())

    @app.post("/store/compact", tags=["store"], summary="Give space back")
    async def compact(asked: CompactRequest | None = None) -> CompactReport:
        """Rewrite the segments with the most dead bytes, as fast as the disk allows; answered when done."""
        wanted = asked or CompactRequest()
        done = await turns.run(lambda: upkeep.compact(dry_run=wanted.dry_run))
        return CompactReport(**done._asdict())

    @app.post("/store/backups", tags=["store"], summary="Make a backup", status_code=HTTPStatus.CREATED)
    async def backup(asked: BackupRequest) -> BackupReport:
        """A copy of the store as of now, below the backup folder of the node's settings."""
        path = await turns.run(lambda: upkeep.backup(asked.name))
        return BackupReport(name=asked.name, path=path)


def _add_scrub(app: FastAPI, upkeep: Upkeep) -> None:
    asked = AskedScrub(upkeep)

    @app.get("/store/scrub", tags=["store"], summary="How far the scrub is")
    def show_scrub() -> ScrubView:
        """Progress of this round, what it found, and when the last one ended."""
        return _describe_scrub(upkeep.scrub_status(), asked=asked.running)

    @app.post("/store/scrub", tags=["store"], summary="Scrub now", status_code=HTTPStatus.ACCEPTED)
    def start_scrub() -> ScrubView:
        """Read the whole store once, now, in the background; 409 while one that was asked for runs."""
        asked.start()
        return _describe_scrub(upkeep.scrub_status(), asked=True)


def _describe_scrub(status: ScrubStatus, *, asked: bool) -> ScrubView:
    told = status._asdict()
    began_ms, last_completed_ms = told.pop("began_ms"), told.pop("last_completed_ms")
    return ScrubView(
        **told, asked=asked, began_at=_moment(began_ms), last_completed_at=_moment(last_completed_ms)
    )


def _moment(wall_ms: int | None) -> datetime | None:
    return None if wall_ms is None else datetime.fromtimestamp(wall_ms / 1000, UTC)
