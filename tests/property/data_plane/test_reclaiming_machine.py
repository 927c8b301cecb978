"""Any sequence of writes, deletes, collections, compactions and power cuts, held against a dictionary.

The catalog forgets at a power cut some of what it was not told to sync. Objects in one bucket keep their versions,
those in the other do not; in both a version may come back under its id, as from another node. Work in progress
holds chunks that nothing refers to. Compactions are interrupted, and a damaged chunk keeps its segment from going.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from replicator.data_plane.ports import Hold, Version, Versioning
from replicator.data_plane.storage.pace import Interrupted
from replicator.data_plane.storage.record import RECORD_HEADER_BYTES
from replicator.data_plane.storage.rows import decode_location
from replicator.data_plane.storage.store import OpenedStore
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, Corrupt, NotFound
from replicator.kernel.names import DEFAULT_BUCKET, BucketName
from replicator.kernel.version import VersionId
from replicator.testing.clock import FrozenClock
from replicator.testing.damage import flip_bit
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import (
    LongObject,
    commit,
    delete,
    history,
    manifest_of,
    named,
    new_version,
    noise,
    read_all,
)
from replicator.testing.reclaiming import BrakeThatFails, check_accounts, collect, compact
from replicator.testing.rolling_catalog import RollingCatalog

KEEPING = BucketName("keeping")
BUCKETS = st.sampled_from([DEFAULT_BUCKET, KEEPING])
KEYS = st.sampled_from(["a", "b", "c/d"])
SEEDS = st.integers(0, 7)
SEGMENT_BYTES_MAX = 4096
LONG = LongObject(100)
LONG_ONES_MAX = 2
ROTTING = noise(50, 300)
Name = tuple[BucketName, str]


def payloads_of(seed: int) -> list[bytes]:
    """Some chunks, of which objects of neighbouring seeds share one."""
    return [noise(each, 100 + 90 * each) for each in (seed, seed + 1)]


class ReclaimingMachine(RuleBasedStateMachine):
    """A store on disk whose catalog is in memory."""

    opened: OpenedStore

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.catalog = RollingCatalog()
        self.clock = FrozenClock()
        self.held: dict[VersionId, tuple[Name, bytes | None]] = {}
        self.dropped: list[tuple[Name, VersionId, list[bytes]]] = []
        self.known: dict[VersionId, list[bytes]] = {}
        self.holds: list[tuple[Hold, list[bytes]]] = []
        self.long_ones = 0
        self.rotten = 0
        """The segment with a chunk that is damaged and in use; 0 for none."""
        self.open()
        self.store.set_bucket(KEEPING, Versioning.ON)

    def open(self) -> None:
        self.data = StoreFolder(
            Path(self.folder.name), open_catalog=lambda _: self.catalog, segment_bytes_max=SEGMENT_BYTES_MAX
        )
        self.data.clock = self.clock
        self.opened = self.data.open()
        self.store = self.opened.store

    @rule(bucket=BUCKETS, key=KEYS, seed=SEEDS)
    def put(self, bucket: BucketName, key: str, seed: int) -> None:
        payloads = payloads_of(seed)
        self.took(commit(self.store, new_version(key, *payloads, bucket=bucket)).version, payloads)

    @precondition(lambda self: self.long_ones < LONG_ONES_MAX)
    @rule(key=KEYS)
    def put_long(self, key: str) -> None:
        self.long_ones += 1
        done = commit(self.store, LONG.new_version(key, number=LONG.stage(self.store)))
        self.took(done.version, [LONG.data])

    def took(self, version: Version, payloads: list[bytes]) -> None:
        name = version.bucket, str(version.object_id)
        if version.bucket == DEFAULT_BUCKET:
            self.held = {each: told for each, told in self.held.items() if told[0] != name}
        self.held[version.version] = (name, b"".join(payloads))
        self.known[version.version] = payloads

    @rule(bucket=BUCKETS, key=KEYS)
    def delete(self, bucket: BucketName, key: str) -> None:
        try:
            done = delete(self.store, key, bucket=bucket)
        except NotFound:
            return
        if done.removed is not None:
            version = done.removed.version
            _, data = self.held.pop(version)
            self.ended((bucket, key), version, data)
        if done.marker is not None:
            self.held[done.marker.version] = ((bucket, key), None)

    @precondition(lambda self: any(name[0] == KEEPING for name, _ in self.held.values()))
    @rule(dice=st.randoms(use_true_random=False))
    def drop_a_version(self, dice: Random) -> None:
        kept = sorted(version for version, (name, _) in self.held.items() if name[0] == KEEPING)
        version = dice.choice(kept)
        (bucket, key), data = self.held.pop(version)
        delete(self.store, key, bucket=bucket, version=version)
        self.ended((bucket, key), version, data)

    def ended(self, name: Name, version: VersionId, data: bytes | None) -> None:
        if data not in (None, LONG.data):
            self.dropped.append((name, version, self.known[version]))

    @precondition(lambda self: self.dropped)
    @rule(dice=st.randoms(use_true_random=False))
    def bring_a_dropped_version_again(self, dice: Random) -> None:
        (bucket, key), version, payloads = self.dropped.pop(dice.randrange(len(self.dropped)))
        new = new_version(key, *payloads, bucket=bucket, version=version)
        newer = any(name == (bucket, key) and each > version for each, (name, _) in self.held.items())
        if bucket == DEFAULT_BUCKET and newer:
            with pytest.raises(Conflict):
                commit(self.store, new)
        else:
            self.took(commit(self.store, new).version, payloads)

    @rule(seed=SEEDS)
    def hold_chunks(self, seed: int) -> None:
        hold = self.store.hold("work in progress")
        self.store.add(named(*payloads_of(seed)), hold)
        self.holds.append((hold, payloads_of(seed)))

    @precondition(lambda self: self.holds)
    @rule(key=KEYS)
    def end_what_held_chunks(self, key: str) -> None:
        hold, payloads = self.holds.pop(0)
        new = new_version(key, *payloads)
        new.chunks = ()
        self.took(commit(self.store, new).version, payloads)
        hold.close()

    @precondition(lambda self: self.holds)
    @rule()
    def let_go(self) -> None:
        self.holds.pop()[0].close()

    @precondition(lambda self: self.long_ones < LONG_ONES_MAX)
    @rule()
    def stage_and_discard(self) -> None:
        self.long_ones += 1
        self.store.discard(LONG.stage(self.store))

    @rule(grace_s=st.sampled_from([0, 0, 5]))
    def collect(self, grace_s: int) -> None:
        collect(self.store, grace_s=grace_s)

    @rule(dice=st.randoms(use_true_random=False), keep_orphans=st.booleans())
    def compact_a_segment(self, dice: Random, keep_orphans: bool) -> None:
        self.compact(dice.choice(self.store.parts.segments.numbers), keep_orphans=keep_orphans)

    @rule()
    def compact_every_segment(self) -> None:
        for number in self.store.parts.segments.numbers:
            self.compact(number)

    def compact(self, number: int, *, keep_orphans: bool = False) -> None:
        reclaimed = compact(self.store, number, keep_orphans=keep_orphans).bytes_reclaimed
        assert bool(reclaimed) == (number != self.rotten)
        assert (number in self.store.parts.segments.numbers) == (number == self.rotten)

    @rule(dice=st.randoms(use_true_random=False), parts=st.integers(0, 3))
    def interrupt_a_compaction(self, dice: Random, parts: int) -> None:
        number = dice.choice(self.store.parts.segments.numbers)
        with suppress(Interrupted):
            compact(self.store, number, brake=BrakeThatFails(parts))

    @precondition(lambda self: not self.rotten)
    @rule()
    def damage_a_chunk(self) -> None:
        commit(self.store, new_version("rotting", ROTTING))
        # Damage behind what the catalog has absorbed durably would keep the store from opening.
        self.store.checkpoint()
        self.catalog.sync()
        row = self.catalog.get("chunks", Digest.of(ROTTING))
        assert row is not None
        place = decode_location(row)
        flip_bit(self.data.segment(place.segment), offset=place.offset + RECORD_HEADER_BYTES, bit=0)
        self.rotten = place.segment

    @precondition(lambda self: self.rotten)
    @rule()
    def bring_a_good_copy_of_the_damaged_chunk(self) -> None:
        with pytest.raises(Corrupt):
            read_all(self.store, manifest_of(ROTTING))
        commit(self.store, new_version("rotting", ROTTING))
        self.rotten = 0
        assert read_all(self.store, manifest_of(ROTTING)) == ROTTING

    @rule(milliseconds=st.integers(0, 4000))
    def time_passes(self, milliseconds: int) -> None:
        self.clock.now_ms += milliseconds

    @rule(share=st.floats(0, 1))
    def power_cut(self, share: float) -> None:
        left = self.catalog.after_power_cut(round(share * self.catalog.unsynced))
        self.opened.close()
        self.catalog, self.holds = left, []
        self.open()

    @invariant()
    def everything_acknowledged_is_there_and_nothing_else(self) -> None:
        found = {
            version.version: ((bucket, key), self.read(version) if isinstance(version, Version) else None)
            for bucket, key in self.names()
            for version in history(self.store, key, bucket)
        }
        assert found == self.held

    def names(self) -> Iterator[Name]:
        for bucket in (DEFAULT_BUCKET, KEEPING):
            for key in ("a", "b", "c/d"):
                yield bucket, key

    def read(self, version: Version) -> bytes:
        manifest = self.store.manifest(version.manifest)
        if version.size < len(LONG.data):
            return read_all(self.store, manifest)
        # All of its pages, and some of its bytes: a quick look at what takes long to read.
        refs = [ref for page in self.store.entries(manifest) for ref in page]
        assert bytes(self.store.read(refs[:3])) + LONG.data[6:] == LONG.data
        return LONG.data if sum(ref.length for ref in refs) == len(LONG.data) else b""

    @invariant()
    def what_is_held_is_there(self) -> None:
        for _, payloads in self.holds:
            assert self.store.locate([named(each)[0][0] for each in payloads]) == [
                len(each) for each in payloads
            ]

    @invariant()
    def accounts_are_exact(self) -> None:
        check_accounts(self.store)

    def teardown(self) -> None:
        if self.rotten:
            self.bring_a_good_copy_of_the_damaged_chunk()
        collect(self.store)
        self.compact_every_segment()
        self.everything_acknowledged_is_there_and_nothing_else()
        check_accounts(self.store)
        self.opened.close()
        assert self.data.failures == []
        self.folder.cleanup()


ReclaimingMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, print_blob=True
)

TestReclaiming = ReclaimingMachine.TestCase
