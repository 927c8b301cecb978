"""Any sequence of what clients, peers and crashes do to a store, held against a dictionary of bytes.

A restart closes the store and opens it again; chunks that no commit followed are then as after kill -9.
Failures print a blob that replays them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from replicator.data_plane.objects.upload import Upload
from replicator.data_plane.ports import UNCONDITIONAL, Condition, NewVersion, Store
from replicator.data_plane.storage.codec import ChunkCompressor
from replicator.data_plane.storage.store import OpenedStore
from replicator.kernel.errors import Conflict, NotFound, PreconditionFailed
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.kernel.version import VersionClock, VersionId
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import (
    CONTENT_TYPE,
    TINY_CHUNKING,
    commit,
    delete,
    listed,
    named,
    noise,
    read_all,
    read_range,
    upload,
)

KEYS = st.sampled_from(["a", "a ", "a/b", "a/b/c", "a0", "aa", "b", "日本"])
PREFIXES = st.sampled_from(["", "a", "a/", "a/b", "b", "日", "zz"])
SEGMENT_BYTES_MAX = 8192


class Model:
    """What a store must hold: contents and version ids of the latest versions, by object id."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.versions: dict[str, VersionId] = {}
        self.newest = VersionId(bytes(16))

    def put(self, key: str, data: bytes, version: VersionId) -> None:
        self.contents[key] = data
        self.versions[key] = version

    def drop(self, key: str) -> None:
        del self.contents[key], self.versions[key]


class StoreMachine(RuleBasedStateMachine):
    """A store in memory; subclasses hold others against the same model."""

    contents: Bundle[bytes] = Bundle("contents")
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.clock = FrozenClock()
        self.elsewhere = VersionClock("elsewhere")
        self.open()

    def open(self) -> None:
        self.store = MemoryStore(clock=self.clock, chunking=TINY_CHUNKING)

    @initialize(target=contents)
    def nothing(self) -> bytes:
        return b""

    @rule(target=contents, seed=st.integers(0, 5), length=st.sampled_from([1, 63, 300, 2000, 20_000]))
    def fresh(self, seed: int, length: int) -> bytes:
        return noise(seed, length)

    @rule(target=contents, seed=st.integers(0, 2), length=st.sampled_from([300, 5000]))
    def that_shrinks(self, seed: int, length: int) -> bytes:
        return b"".join(b"%d and %d; " % (seed, number) for number in range(length))[:length]

    @rule(target=contents, one=contents, other=contents, at=st.floats(0, 1))
    def overlapping(self, one: bytes, other: bytes, at: float) -> bytes:
        cut = int(at * len(one))
        return (one[:cut] + other + one[cut:])[:40_000]

    @rule(key=KEYS, data=contents, block_bytes=st.sampled_from([500, 5000, 100_000]))
    def put(self, key: str, data: bytes, block_bytes: int) -> None:
        done = upload(self.store, key, data, block_bytes=block_bytes)
        assert done.version.version > self.model.newest
        assert (done.replaced is not None) == (key in self.model.contents)
        self.model.newest = done.version.version
        self.model.put(key, data, done.version.version)

    @rule(key=KEYS, data=contents)
    def put_where_absent(self, key: str, data: bytes) -> None:
        new = self.prepared(key, data, condition=Condition(must_be_absent=True))
        if key in self.model.contents:
            with pytest.raises(PreconditionFailed):
                commit(self.store, new)
            return
        version = commit(self.store, new).version.version
        assert version > self.model.newest
        self.model.newest = version
        self.model.put(key, data, version)

    def prepared(self, key: str, data: bytes, condition: Condition = UNCONDITIONAL) -> NewVersion:
        body = Upload(self.store, object_id=ObjectId(key))
        return body.finish(data, content_type=CONTENT_TYPE, condition=condition)

    @rule(data=contents)
    def upload_that_does_not_end(self, data: bytes) -> None:
        body = Upload(self.store, object_id=ObjectId("unfinished"))
        body.write(data)
        body.abandon()

    @rule(key=KEYS, data=contents, ahead_ms=st.integers(-2, 2))
    def replicate(self, key: str, data: bytes, ahead_ms: int) -> None:
        version = self.elsewhere.next(self.clock.now_ms + ahead_ms)
        new = self.prepared(key, data)
        new.version = version
        if version < self.model.versions.get(key, version):
            with pytest.raises(Conflict):
                commit(self.store, new)
            return
        for _ in range(2):
            assert commit(self.store, new).version.version == version
        self.model.newest = max(self.model.newest, version)
        self.model.put(key, data, version)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if key not in self.model.contents:
            with pytest.raises(NotFound):
                delete(self.store, key)
            return
        removed = delete(self.store, key).removed
        assert removed is not None
        assert removed.version == self.model.versions[key]
        self.model.drop(key)

    @rule(data=contents)
    def add_without_a_version(self, data: bytes) -> None:
        if data:
            self.store.add(named(data))
            assert self.store.locate([named(data)[0][0]]) == [len(data)]

    @precondition(lambda self: self.model.contents)
    @rule(dice=st.randoms(use_true_random=False))
    def read_a_range(self, dice: Random) -> None:
        key = dice.choice(sorted(self.model.contents))
        data = self.model.contents[key]
        start, stop = sorted(dice.randrange(len(data) + 1) for _ in range(2))
        head = self.store.head(DEFAULT_BUCKET, ObjectId(key))
        assert head is not None
        assert read_range(self.store, self.store.manifest(head.manifest), start, stop) == data[start:stop]

    @rule(prefix=PREFIXES, after=st.none() | KEYS, limit=st.integers(1, 5))
    def list_objects(self, prefix: str, after: str | None, limit: int) -> None:
        keys = sorted(self.model.contents, key=str.encode)
        rest = [key for key in keys if key.startswith(prefix) and (after is None or key > after)]
        found = listed(self.store, prefix, after=after, limit=limit)
        assert [version.object_id for version in found] == rest[:limit]
        assert [version.version for version in found] == [self.model.versions[key] for key in rest[:limit]]

    @rule(milliseconds=st.integers(-5, 5))
    def time_passes(self, milliseconds: int) -> None:
        self.clock.now_ms += milliseconds

    @invariant()
    def the_store_holds_what_it_acknowledged(self) -> None:
        held = {
            str(version.object_id): read_all(self.store, self.store.manifest(version.manifest))
            for version in listed(self.store)
        }
        assert held == self.model.contents


class NodeStoreMachine(StoreMachine):
    """The store on disk, restarted now and then."""

    opened: OpenedStore

    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.data = StoreFolder(
            Path(self.folder.name), open_catalog=rocks, segment_bytes_max=SEGMENT_BYTES_MAX
        )
        self.data.clock = self.clock
        self.opened = self.data.open()
        self.store = self.opened.store

    @rule(compression=st.booleans())
    def restart(self, compression: bool) -> None:
        self.data.compressor = ChunkCompressor() if compression else None
        self.opened.close()
        self.opened = self.data.open()
        self.store = self.opened.store

    @rule()
    def checkpoint(self) -> None:
        self.store.checkpoint()

    def teardown(self) -> None:
        self.opened.close()
        assert self.data.failures == []
        self.folder.cleanup()


StoreMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, print_blob=True
)
NodeStoreMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, print_blob=True
)

TestMemoryStore = StoreMachine.TestCase
TestNodeStore = NodeStoreMachine.TestCase
