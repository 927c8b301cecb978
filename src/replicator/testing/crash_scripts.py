"""What a store is doing when a fault meets it: short scripts of operations, one line each in `SCRIPTS`.

A script first prepares a store, without faults, and then runs with one. It does its work through a `Session`,
which notes for the oracle what was tried and what was acknowledged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.errors import NotFound, QuotaExceeded, ReplicatorError, StoreFailed, Unavailable
from replicator.testing.crash_journal import Journal
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import LongObject, commit, delete, listed, named, noise, read_all, upload
from replicator.testing.oracle import content_of
from replicator.testing.reclaiming import collect, compact_all

SEGMENT_BYTES_MAX = 64 * 1024
_BLOCK_BYTES = 16 * 1024


def store_folder(path: Path) -> StoreFolder:
    """The store that scripts work on: RocksDB, small segments."""
    return StoreFolder(path, open_catalog=rocks, segment_bytes_max=SEGMENT_BYTES_MAX)


def contents(store: NodeStore) -> dict[str, bytes]:
    """SHA-256 of every object, read in full."""
    return {
        each.object_id: content_of(read_all(store, store.manifest(each.manifest))) for each in listed(store)
    }


class Session:
    """Operations on an open store. Each notes what is tried, and then how it ended.

    An error that a caller could be given is such an end. Any other travels, and ends the run as broken.
    """

    def __init__(self, store: NodeStore, journal: Journal) -> None:
        self.store = store
        self._journal = journal

    def put(self, object_id: str, data: bytes) -> None:
        """Upload an object, in blocks."""
        self._change(
            object_id, content_of(data), lambda: upload(self.store, object_id, data, block_bytes=_BLOCK_BYTES)
        )

    def put_long(self, object_id: str, long: LongObject) -> None:
        """Upload an object whose manifest has pages."""
        self._change(
            object_id,
            content_of(long.data),
            lambda: commit(self.store, long.new_version(object_id, number=long.stage(self.store))),
        )

    def delete(self, object_id: str) -> None:
        """Delete an object."""
        self._change(object_id, None, lambda: delete(self.store, object_id))

    def keep_up(self, work: Callable[[], object]) -> None:
        """Do what changes no object: an addition of chunks, maintenance."""
        try:
            work()
        except (QuotaExceeded, Unavailable) as error:
            self._journal.note("refused work", str(error))

    def _change(self, object_id: str, content: bytes | None, change: Callable[[], object]) -> None:
        shown = None if content is None else content.hex()
        self._journal.note("trying", object_id, shown)
        try:
            change()
        except QuotaExceeded:
            self._journal.note("refused", object_id, shown)
        except NotFound:
            # Of a deletion, where the object could not be put before.
            self._journal.note("refused", object_id, shown)
        except Unavailable as error:
            # Whether it was kept shows only after a restart.
            self._journal.note("unanswered", object_id, str(error))
        else:
            self._journal.note("acknowledged", object_id, shown)


@dataclass(frozen=True, slots=True)
class Script:
    """One kind of work.

    Attributes:
        prepare: fills the store; no fault strikes.
        work: what the fault strikes, the opening before it and the closing after it included.
        dies: whether the process that prepares dies at the end of it.
        harm: what is done to the files between the two, as a crash would.
    """

    name: str
    prepare: Callable[[Session], None]
    work: Callable[[Session], None]
    dies: bool = False
    harm: Callable[[Path], None] = lambda _: None


def _nothing(_: Session) -> None:
    """An empty folder, or no work behind the opening."""


def _some_objects(session: Session) -> None:
    for number in range(4):
        session.put(f"small/{number}", noise(number, 700))
    session.put("large", noise(4, 90_000))


def _small_changes(session: Session) -> None:
    session.put("small/new", noise(10, 500))
    session.put("small/1", noise(11, 900))
    session.put("small/2", noise(1, 700))
    session.put("empty", b"")
    session.delete("small/3")
    session.delete("large")


def _ingest(session: Session) -> None:
    session.put("large", noise(20, 200_000))
    session.put("large/copy", noise(20, 200_000))
    session.put("large/edited", noise(20, 100_000) + noise(21, 5_000))


def _long_manifests(session: Session) -> None:
    session.keep_up(lambda: session.store.discard(LongObject(30).stage(session.store)))
    session.put_long("long", LongObject(31))
    session.put_long("long", LongObject(32))
    session.delete("long")


def _reclaiming(session: Session) -> None:
    session.delete("small/1")
    session.put("small/2", noise(60, 800))
    session.delete("large")
    session.keep_up(lambda: collect(session.store))
    session.keep_up(lambda: compact_all(session.store))
    session.put("small/1", noise(1, 700))
    session.keep_up(lambda: compact_all(session.store))


def _half_done(session: Session) -> None:
    _some_objects(session)
    LongObject(40).stage(session.store)
    session.store.add(named(*(noise(seed, 3_000) for seed in range(41, 71))))


def _tear(path: Path) -> None:
    """Cut the last record in two, and leave a segment behind that was never begun."""
    last = max((path / "segments").iterdir())
    os.truncate(last, last.stat().st_size - 1_000)


SCRIPTS: Sequence[Script] = (
    Script("first opening", _nothing, lambda session: session.put("first", noise(0, 500))),
    Script("small changes", _some_objects, _small_changes),
    Script("ingest", _some_objects, _ingest),
    Script("long manifests", _some_objects, _long_manifests),
    Script("reclaiming", _some_objects, _reclaiming),
    Script("recovery", _half_done, _small_changes, dies=True, harm=_tear),
)


def run(path: Path, work: Callable[[Session], None], journal: Journal, *, dies: bool = False) -> None:
    """Open, work, read everything, close; what the store refuses with a typed error is noted, not raised.

    Args:
        dies: return without closing, for a process that ends now.
    """
    try:
        opened = store_folder(path).open()
    except ReplicatorError as error:
        journal.note("not opened", str(error))
        return
    work(Session(opened.store, journal))
    journal.note("found", {key: content.hex() for key, content in contents(opened.store).items()})
    if dies:
        return
    try:
        opened.close()
    except StoreFailed as error:
        journal.note("not closed", str(error))
