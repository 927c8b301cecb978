"""After any sequence of changes a catalog made from the segments alone is the one that was lost, row by row.

But for garbage: what no version refers to, and what was never committed, need not come back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from replicator.data_plane.ports import NewVersion, Versioning
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import FAMILIES, Catalog, Family
from replicator.data_plane.storage.check import check_store
from replicator.data_plane.storage.findings import Finding
from replicator.data_plane.storage.memory_catalog import MemoryCatalog
from replicator.data_plane.storage.rebuild import rebuild_catalog
from replicator.data_plane.storage.recount import recount
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import Conflict, NotFound
from replicator.kernel.names import DEFAULT_BUCKET, BucketName
from replicator.kernel.version import VersionClock
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import LongObject, commit, delete, history, named, new_version, noise
from replicator.testing.reclaiming import collect, compact_all

KEYS = st.sampled_from(["a", "a/b", "b", "日本"])
BUCKETS = st.sampled_from([DEFAULT_BUCKET, BucketName("kept"), BucketName("other")])
CONTENTS = st.lists(st.integers(0, 9), max_size=4).map(
    lambda seeds: [noise(seed, 40 + seed) for seed in seeds]
)
SEGMENT_BYTES_MAX = 4096
_PASSING = (
    rows.COUNTERS_KEY,
    rows.COPIED_PREFIX,
    rows.OUTBOX_PREFIX,
    rows.REMOVED_PREFIX,
    rows.RETIRING_PREFIX,
    rows.SEGMENT_PREFIX,
    rows.STAGED_PREFIX,
)

Rows = dict[tuple[Family, bytes], bytes]


def standing_rows(catalog: Catalog) -> Rows:
    """Every row of the catalog but garbage and the accounts, which garbage is part of."""
    numbers = {
        rows.decode_manifest_row(row, Digest(key)).number
        for key, row in catalog.scan("manifests", b"")
        if len(key) == DIGEST_BYTES and not rows.decode_manifest_row(row, Digest(key)).retired_ms
    }
    return {
        (family, key): row
        for family in FAMILIES
        for key, row in catalog.scan(family, b"")
        if _stands(family, key, row, numbers)
    }


def _stands(family: Family, key: bytes, row: bytes, numbers: set[int]) -> bool:
    match family:
        case "chunks":
            # A chunk that nothing refers to may be here or not: collection forgets it before its record is gone.
            return not rows.is_chunk_key(key) and rows.chunk_ref_number(key) in numbers
        case "pages":
            return rows.decode_page_key(key)[0] in numbers
        case "manifests" if len(key) == DIGEST_BYTES:
            return not rows.decode_manifest_row(row, Digest(key)).retired_ms
        case "meta":
            return not key.startswith(_PASSING)
    return True


def require_exact_accounts(catalog: Catalog) -> None:
    live = {number: count for number, count in recount(catalog).live.items() if count}
    for key, row in catalog.scan("meta", rows.DROPS_PREFIX):
        _, within = rows.decode_drops_key(key)
        live[within] = live.get(within, 0) + rows.decode_number(row)
    kept = {
        rows.segment_number(key): rows.decode_segment_row(row)[1]
        for key, row in catalog.scan("meta", rows.SEGMENT_PREFIX)
    }
    assert {number: count for number, count in kept.items() if count} == live


class RebuildMachine(RuleBasedStateMachine):
    """A store that is changed, and its catalog made anew at every turn of `rebuild`."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.data = StoreFolder(Path(self.folder.name), segment_bytes_max=SEGMENT_BYTES_MAX)
        self.opened = self.data.open()
        self.is_open = True
        self.elsewhere = VersionClock("elsewhere")
        commit(self.store, new_version("first", b"something"))

    @property
    def store(self) -> NodeStore:
        return self.opened.store

    @rule(bucket=BUCKETS, versioning=st.sampled_from(list(Versioning)))
    def set_bucket(self, bucket: BucketName, versioning: Versioning) -> None:
        with contextlib.suppress(Conflict):
            self.store.set_bucket(bucket, versioning)

    @rule(bucket=BUCKETS)
    def remove_bucket(self, bucket: BucketName) -> None:
        with contextlib.suppress(Conflict, NotFound):
            self.store.remove_bucket(bucket)

    @rule(bucket=BUCKETS, key=KEYS, payloads=CONTENTS)
    def put(self, bucket: BucketName, key: str, payloads: list[bytes]) -> None:
        self.commit(new_version(key, *payloads, bucket=bucket))

    @rule(bucket=BUCKETS, key=KEYS, payloads=CONTENTS)
    def replicate(self, bucket: BucketName, key: str, payloads: list[bytes]) -> None:
        version = self.elsewhere.next(self.data.clock.now_ms)
        self.commit(new_version(key, *payloads, bucket=bucket, version=version))

    def commit(self, new: NewVersion) -> None:
        with contextlib.suppress(Conflict, NotFound):
            commit(self.store, new)

    @rule(key=KEYS, seed=st.integers(0, 2))
    def put_long(self, key: str, seed: int) -> None:
        long = LongObject(seed)
        self.commit(long.new_version(key, number=long.stage(self.store)))

    @rule()
    def stage_only(self) -> None:
        LongObject(7).stage(self.store)

    @rule(seed=st.integers(0, 20))
    def add_only(self, seed: int) -> None:
        self.store.add(named(noise(seed, 40 + seed)))

    @rule(bucket=BUCKETS, key=KEYS)
    def delete(self, bucket: BucketName, key: str) -> None:
        with contextlib.suppress(NotFound):
            delete(self.store, key, bucket=bucket)

    @rule(bucket=BUCKETS, key=KEYS, which=st.integers(0, 3))
    def delete_version(self, bucket: BucketName, key: str, which: int) -> None:
        known = history(self.store, key, bucket)
        if which < len(known):
            delete(self.store, key, bucket=bucket, version=known[which].version)

    @rule(milliseconds=st.integers(-5, 5))
    def time_passes(self, milliseconds: int) -> None:
        self.data.clock.now_ms += milliseconds

    @rule()
    def restart(self) -> None:
        self.opened.close()
        self.opened = self.data.open()

    @rule(collects=st.booleans(), compacts=st.booleans())
    def reclaim(self, collects: bool, compacts: bool) -> None:
        if collects:
            collect(self.store)
        if compacts:
            compact_all(self.store)

    @rule()
    def rebuild(self) -> None:
        self.store.checkpoint()
        self.opened.close()
        self.is_open = False
        before = self.rows()
        self.require_sound()
        shutil.rmtree(self.data.path / "catalog")
        findings: list[Finding] = []
        rebuild_catalog(str(self.data.path), open_catalog=self.make_catalog, on_finding=findings.append)
        assert findings == []
        assert self.rows() == before
        self.require_sound()
        self.opened = self.data.open()
        self.is_open = True

    def require_sound(self) -> None:
        findings: list[Finding] = []
        known = self.data.open_catalog("")

        def open_catalog(path: str) -> Catalog:
            return known if os.path.basename(path) == "catalog" else MemoryCatalog()

        done = check_store(
            str(self.data.path), open_catalog=open_catalog, on_finding=findings.append, read_data=True
        )
        assert findings == []
        assert done.unabsorbed_bytes == 0

    def make_catalog(self, path: str) -> Catalog:
        """In memory, because many are made; the last one that is not scratch is the store's from now on."""
        os.mkdir(path)
        made = MemoryCatalog()
        if os.path.basename(path) == "catalog":
            self.data.open_catalog = lambda _: made
        return made

    def rows(self) -> Rows:
        catalog = self.data.open_catalog("")
        require_exact_accounts(catalog)
        return standing_rows(catalog)

    @invariant()
    def the_store_takes_writes(self) -> None:
        assert self.data.failures == []

    def teardown(self) -> None:
        with self.folder:
            if self.is_open:
                self.rebuild()
                self.opened.close()


RebuildMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, print_blob=True
)

TestRebuild = RebuildMachine.TestCase
