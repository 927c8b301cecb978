"""Collection and compaction by hand, and what must hold of a store behind them."""

from __future__ import annotations

from replicator.data_plane.storage.collect import Collector
from replicator.data_plane.storage.compaction import Compactor, Rewritten
from replicator.data_plane.storage.pace import Brake, Interrupted
from replicator.data_plane.storage.recount import recount
from replicator.data_plane.storage.store import NodeStore
from replicator.data_plane.upkeep import Collected

FREELY = Brake(lambda: None)


class BrakeThatFails(Brake):
    """Interrupts work between two of its parts.

    Args:
        parts: that it lets pass first.
    """

    def __init__(self, parts: int) -> None:
        super().__init__(lambda: None)
        self._parts = parts

    def after(self) -> None:
        """See `Brake.after`; raises `Interrupted` once enough have passed."""
        if not self._parts:
            raise Interrupted("the work is interrupted here")
        self._parts -= 1


def collect(store: NodeStore, *, grace_s: float = 0, dry_run: bool = False) -> Collected:
    """Collect what has retired."""
    return Collector(store.parts).collect(grace_s=grace_s, dry_run=dry_run, brake=FREELY)


def compact(store: NodeStore, number: int, *, keep_orphans: bool = False, brake: Brake = FREELY) -> Rewritten:
    """Compact one segment, however much of it is alive."""
    compactor = Compactor(store.parts, space_overhead_max=0)
    compactor.begin([each for each in compactor.segments() if each.number == number])
    return compactor.compact(number, keep_orphans=keep_orphans, brake=brake)


def compact_all(store: NodeStore, *, keep_orphans: bool = False) -> list[Rewritten]:
    """Compact every segment there is."""
    numbers = store.parts.segments.numbers
    return [compact(store, number, keep_orphans=keep_orphans) for number in numbers]


def check_accounts(store: NodeStore) -> None:
    """The live bytes that the store keeps count of are those that its rows come to."""
    store.checkpoint()
    accounts = store.parts.accounts
    counted = recount(store.parts.catalog).live
    for (_, within), length in accounts.drops.items():
        counted[within] += length
    present = store.parts.segments.numbers
    assert {n: length for n, length in counted.items() if length} == {
        n: length for n, length in accounts.live.items() if length
    }
    assert set(counted) - {0} <= set(present)
    assert accounts.absorbed.keys() <= set(present)
