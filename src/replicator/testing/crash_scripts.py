"""What a store is doing when a fault meets it: short scripts of operations, one line each in `SCRIPTS`.

A script first prepares a store, without faults, and then runs with one. It does its work through a `Session`,
which notes for the oracle what was tried and what was acknowledged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from replicator.kernel.errors import ReplicatorError, StoreFailed
from replicator.testing import crash_upkeep as upkeep
from replicator.testing.crash_journal import Journal
from replicator.testing.crash_session import Session, contents, store_folder
from replicator.testing.objects import LongObject, named, noise
from replicator.testing.reclaiming import collect, compact_all


@dataclass(frozen=True, slots=True)
class Script:
    """One kind of work.

    Attributes:
        prepare: fills the store; no fault strikes.
        work: what the fault strikes, the opening before it and the closing after it included.
        dies: whether the process that prepares dies at the end of it.
        harm: what is done to the files between the two, as a crash would.
        brings: SHA-256 of the objects that are there because of it.
        repair: what is done to the closed store before it is opened to work; a fault may strike it.
    """

    name: str
    prepare: Callable[[Session], None]
    work: Callable[[Session], None]
    dies: bool = False
    harm: Callable[[Path], None] = lambda _: None
    brings: Mapping[str, bytes] = field(default_factory=dict)
    repair: Callable[[Path], None] = lambda _: None


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


def _behind(session: Session) -> None:
    _some_objects(session)
    upkeep.keep_this_catalog(session)
    session.put("small/1", noise(51, 800))
    session.put("large/more", noise(52, 90_000))
    session.delete("small/2")
    session.put_long("long", LongObject(53))


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
    Script("recovery of entries", _behind, _small_changes, harm=upkeep.set_catalog_back),
    Script("first write fails", _some_objects, upkeep.first_write_fails),
    Script("versions", upkeep.versions, upkeep.version_changes),
    Script("scrub", _some_objects, upkeep.scrub, harm=upkeep.damage_entries),
    Script("backup", _some_objects, upkeep.back_up_and_restore),
    Script("rebuild", _some_objects, _small_changes, repair=upkeep.rebuild),
    Script("migration", _nothing, _small_changes, harm=upkeep.earlier_format, brings=upkeep.EARLIER_CONTENTS),
)


def run(
    path: Path,
    work: Callable[[Session], None],
    journal: Journal,
    *,
    dies: bool = False,
    repair: Callable[[Path], None] = lambda _: None,
) -> None:
    """Open, work, read everything, close; what the store refuses with a typed error is noted, not raised.

    Args:
        dies: return without closing, for a process that ends now.
        repair: done before the store is opened.
    """
    try:
        repair(path)
    except (ReplicatorError, OSError) as error:
        journal.note("not repaired", str(error))
        return
    try:
        opened = store_folder(path).open()
    except ReplicatorError as error:
        journal.note("not opened", str(error))
        return
    work(Session(opened.store, path, journal))
    journal.note("found", {key: content.hex() for key, content in contents(opened.store).items()})
    if dies:
        return
    try:
        opened.close()
    except StoreFailed as error:
        journal.note("not closed", str(error))
