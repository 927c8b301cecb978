"""The contract suite of the `Store` port: subclass `StoreContract` and give it a `store` fixture.

It holds what a caller may rely on through the port alone. What only a store on disk can promise (recovery,
faults, damage) is tested where that store is.
"""

from __future__ import annotations

import pytest

from replicator.data_plane.ports import Store
from replicator.testing.bucket_contract import BucketContract, KeptVersionContract, NullVersionContract
from replicator.testing.chunk_contract import ChunkContract, HoldContract, ManifestContract
from replicator.testing.history_contract import HistoryContract
from replicator.testing.objects import TINY_CHUNKING
from replicator.testing.scan_contract import ScanContract
from replicator.testing.version_contract import (
    DeletionContract,
    ListingContract,
    OutboxContract,
    ReplicatedVersionContract,
    VersionContract,
)


class StoreContract(
    ChunkContract,
    ManifestContract,
    HoldContract,
    VersionContract,
    ReplicatedVersionContract,
    DeletionContract,
    BucketContract,
    KeptVersionContract,
    NullVersionContract,
    HistoryContract,
    ListingContract,
    ScanContract,
    OutboxContract,
):
    """Every promise of `Store`. The fixture gives an empty store that cuts by `TINY_CHUNKING`."""

    @pytest.fixture
    def store(self) -> Store:
        """The store under test."""
        raise NotImplementedError("a subclass provides the store")

    def test_it_takes_writes_and_says_how_it_cuts(self, store: Store) -> None:
        """A fresh store is writable."""
        store.require_writable()
        assert store.chunking == TINY_CHUNKING
