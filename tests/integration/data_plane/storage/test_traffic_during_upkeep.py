"""Uploads, reads and deletes while garbage is collected and segments are compacted as fast as they can be."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from replicator.data_plane.storage.store import NodeStore
from replicator.data_plane.storage.upkeep import StoreUpkeep, UpkeepPolicy
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import delete, listed, noise, read_all, upload
from replicator.testing.reclaiming import check_accounts, compact_all
from replicator.testing.waiting import wait_until

POLICY = UpkeepPolicy(
    gc_grace_s=0,
    space_overhead_max=0.05,
    compaction_bytes_per_s_max=1 << 30,
    dead_bytes_min=0,
    period_s=0.001,
)
CLIENTS = 3
STEPS = 120
KEYS = 4


def client(store: NodeStore, name: int, seed: int) -> dict[str, bytes]:
    """Work on objects of one's own, whose content others have as well; returns what they hold in the end."""
    dice = random.Random(f"{seed} {name}")
    held: dict[str, bytes] = {}
    for _ in range(STEPS):
        key = f"{name}/{dice.randrange(KEYS)}"
        if key in held and dice.random() < 0.3:
            delete(store, key)
            del held[key]
        elif key in held and dice.random() < 0.4:
            assert read(store, key) == held[key]
        else:
            held[key] = noise(dice.randrange(6), 4000) + noise(dice.randrange(6), 4000)
            upload(store, key, held[key], block_bytes=3000)
    return held


def read(store: NodeStore, key: str) -> bytes:
    head = store.head(DEFAULT_BUCKET, ObjectId(key))
    assert head is not None
    with store.hold(f"a read of '{key}'") as hold:
        return read_all(store, store.pin(head.manifest, hold))


def test_nobody_notices(tmp_path: Path, seed: int) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks, segment_bytes_max=16 * 1024)
    folder.clock.now_ms = 1 << 42
    with folder.opened() as store:
        upkeep = StoreUpkeep(store.parts, policy=POLICY)
        broken: list[Exception] = []
        upkeep.start(on_broken=broken.append)
        try:
            with ThreadPoolExecutor(CLIENTS) as clients:
                each = list(clients.map(lambda name: client(store, name, seed), range(CLIENTS)))
            held = {key: data for one in each for key, data in one.items()}
            wait_until(lambda: upkeep.stats().retiring_manifests == 0, "garbage was collected")
        finally:
            upkeep.stop()
        assert broken == []
        assert upkeep.space().compacted_segments > 0
        compact_all(store)
        assert {str(version.object_id) for version in listed(store)} == held.keys()
        assert all(read(store, key) == data for key, data in held.items())
        check_accounts(store)
    assert folder.failures == []
    with folder.opened() as again:
        assert all(read(again, key) == data for key, data in held.items())


@pytest.fixture
def seed() -> int:
    return 1
