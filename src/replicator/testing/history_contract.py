"""Any history of a bucket, held against a tiny model; and nodes that exchange versions. See `store_contract`.

Each example has a bucket of its own in the one store under test.
"""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from replicator.data_plane.ports import NewVersion, Store, Version, Versioning
from replicator.kernel.errors import Conflict, NotFound
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionClock, VersionId
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import TINY_CHUNKING, commit, delete, history, listed, new_version

KEYS = st.sampled_from(["a", "a/b", "b"])
CONTENTS = st.sampled_from([b"one", b"two", b"three"])
OFF, ON, SUSPENDED = Versioning.OFF, Versioning.ON, Versioning.SUSPENDED
_names = itertools.count(1)


class Kept(NamedTuple):
    """What the model knows of a version; `content` is None for a delete marker."""

    content: bytes | None
    null: bool


def fresh_bucket(store: Store, versioning: Versioning) -> BucketName:
    """A bucket that no example has used."""
    return store.set_bucket(BucketName(f"bucket-{next(_names)}"), versioning).name


class HistoryMachine(RuleBasedStateMachine):
    """Writes, replications, copies, deletions and changes of versioning in one bucket."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.kept: dict[str, dict[VersionId, Kept]] = {}
        self.newest = VersionId(bytes(16))

    @initialize(versioning=st.sampled_from(Versioning))
    def make(self, versioning: Versioning) -> None:
        self.versioning = versioning
        self.bucket = fresh_bucket(self.store, versioning)
        # The store's clock goes on from example to example: what others made is before or after it by this.
        probe = new_version("a", b"one", bucket=fresh_bucket(self.store, ON))
        self.began_ms = commit(self.store, probe).version.version.wall_ms

    @rule(versioning=st.sampled_from(Versioning))
    def change_versioning(self, versioning: Versioning) -> None:
        if versioning is OFF and self.versioning is not OFF:
            with pytest.raises(Conflict):
                self.store.set_bucket(self.bucket, versioning)
            return
        self.versioning = self.store.set_bucket(self.bucket, versioning).versioning

    @rule(key=KEYS, content=CONTENTS)
    def write(self, key: str, content: bytes) -> None:
        made = commit(self.store, self.prepared(key, content)).version.version
        assert made > self.newest
        self.keep(key, made, Kept(content, self.versioning is not ON))

    @rule(key=KEYS, content=CONTENTS, behind_ms=st.integers(-3, 3), node=st.sampled_from(["n1", "n2"]))
    def replicate(self, key: str, content: bytes, behind_ms: int, node: str) -> None:
        # No node gives an id twice, so the one that made it is another for each object.
        maker = VersionClock(f"{node} of {self.bucket}/{key}")
        # An odd moment for one and an even one for the other: which of two is newer is not left to their names.
        version = maker.next(self.began_ms - 2 * behind_ms - (node == "n1"))
        new = self.prepared(key, content, version)
        here = self.kept.get(key, {})
        known = here.get(version)
        null = self.versioning is not ON
        newer_null = null and any(each.null and at > version for at, each in here.items())
        if (newer_null and known is None) or (known is not None and known.content != content):
            with pytest.raises(Conflict):
                commit(self.store, new)
            return
        commit(self.store, new)
        if known is None:
            self.keep(key, version, Kept(content, null))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), target_key=KEYS)
    def copy(self, data: st.DataObject, target_key: str) -> None:
        content = data.draw(st.sampled_from(sorted(set(self.live().values()))))
        made = commit(self.store, self.prepared(target_key, content, shares=True)).version.version
        self.keep(target_key, made, Kept(content, self.versioning is not ON))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if key not in self.live():
            with pytest.raises(NotFound):
                delete(self.store, key, bucket=self.bucket)
            return
        marker = delete(self.store, key, bucket=self.bucket).marker
        if self.versioning is OFF:
            assert marker is None
            self.kept[key] = {at: each for at, each in self.kept[key].items() if not each.null}
            return
        assert marker is not None
        self.keep(key, marker.version, Kept(None, self.versioning is SUSPENDED))

    @precondition(lambda self: any(self.kept.values()))
    @rule(data=st.data())
    def remove_for_good(self, data: st.DataObject) -> None:
        every = sorted((key, at) for key, here in self.kept.items() for at in here)
        key, version = data.draw(st.sampled_from(every))
        removed = delete(self.store, key, bucket=self.bucket, version=version).removed
        assert removed is not None
        assert removed.version == version
        del self.kept[key][version]

    @invariant()
    def the_store_holds_what_the_model_does(self) -> None:
        if not hasattr(self, "bucket"):
            return
        for key, here in self.kept.items():
            found = history(self.store, key, self.bucket)
            expected = [
                (at, None if each.content is None else len(each.content), each.null)
                for at, each in sorted(here.items(), reverse=True)
            ]
            shown = [
                (each.version, each.size if isinstance(each, Version) else None, each.null) for each in found
            ]
            assert shown == expected
            head = self.store.head(self.bucket, ObjectId(key))
            assert head == (found[0] if key in self.live() else None)
        heads = listed(self.store, bucket=self.bucket)
        assert [(version.object_id, version.size) for version in heads] == [
            (key, len(content)) for key, content in sorted(self.live().items())
        ]

    def prepared(
        self, key: str, content: bytes, version: VersionId | None = None, *, shares: bool = False
    ) -> NewVersion:
        return new_version(key, content, bucket=self.bucket, version=version, shares=shares)

    def keep(self, key: str, version: VersionId, kept: Kept) -> None:
        here = self.kept.get(key, {})
        self.kept[key] = {at: each for at, each in here.items() if not (kept.null and each.null)}
        self.kept[key][version] = kept
        self.newest = max(self.newest, version)

    def live(self) -> dict[str, bytes]:
        """The content of every object that is not deleted."""
        newest = {key: here[max(here)].content for key, here in self.kept.items() if here}
        return {key: content for key, content in newest.items() if content is not None}


class HistoryContract:
    """Histories: what the model says, and the same on every node."""

    def test_any_history_is_what_the_model_says(self, store: Store) -> None:
        class Machine(HistoryMachine):
            def __init__(self) -> None:
                super().__init__(store)

        run_state_machine_as_test(
            Machine,
            settings=settings(max_examples=15, stateful_step_count=20, deadline=None, print_blob=True),
        )

    def test_nodes_that_exchange_versions_in_any_order_agree(self, store: Store) -> None:
        """Two nodes write the same object; each then hears of the other's versions, late and repeatedly."""
        exchange = given(data=st.data())(lambda data: _exchange(store, data))
        settings(max_examples=15, deadline=None, print_blob=True)(exchange)()


def _exchange(store: Store, data: st.DataObject) -> None:
    bucket = fresh_bucket(store, ON)
    other: Store = MemoryStore(clock=FrozenClock(), node_name=f"other {bucket}", chunking=TINY_CHUNKING)
    nodes = (store, other)
    other.set_bucket(bucket, ON)
    made: tuple[list[NewVersion], list[NewVersion]] = ([], [])
    for writer, content, hears in data.draw(
        st.lists(st.tuples(st.integers(0, 1), CONTENTS, st.booleans()), min_size=1, max_size=8)
    ):
        if hears and made[1 - writer]:
            commit(nodes[writer], data.draw(st.sampled_from(made[1 - writer])))
        new = new_version("a", content, bucket=bucket)
        new.version = commit(nodes[writer], new).version.version
        made[writer].append(new)
    for reader in (0, 1):
        for new in data.draw(st.permutations(made[1 - reader] * 2)):
            commit(nodes[reader], new)
    histories = [history(node, "a", bucket) for node in nodes]
    assert histories[0] == histories[1]
    assert len(histories[0]) == len(made[0]) + len(made[1])
    assert store.head(bucket, ObjectId("a")) == other.head(bucket, ObjectId("a")) == histories[0][0]
