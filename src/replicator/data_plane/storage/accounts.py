"""How much of each segment is alive: exact, changed with every batch, and kept in the catalog with it.

Alive is what something refers to: chunks that a manifest refers to, the entries of manifests, pages, versions
and buckets that stand, and drops as long as the segment that they are about exists. Everything else is dead:
garbage, commit marks, and chunks that came but that no manifest refers to yet.
"""

from __future__ import annotations

from collections import defaultdict

from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Batch, Catalog


class Accounts:
    """Counts in bytes of whole records. Changed by the committer alone; others may read."""

    def __init__(self) -> None:
        self.absorbed: dict[int, int] = {}
        """How much of each segment the catalog knows."""
        self.live: defaultdict[int, int] = defaultdict(int)
        self.drops: defaultdict[tuple[int, int], int] = defaultdict(int)
        """(about, within): bytes of the drops in one segment that end versions of another."""

    @classmethod
    def load(cls, catalog: Catalog) -> Accounts:
        """From the catalog."""
        accounts = cls()
        for key, row in catalog.scan("meta", rows.SEGMENT_PREFIX):
            number = rows.segment_number(key)
            accounts.absorbed[number], accounts.live[number] = rows.decode_segment_row(row)
        for key, row in catalog.scan("meta", rows.DROPS_PREFIX):
            accounts.drops[rows.decode_drops_key(key)] = rows.decode_number(row)
        return accounts

    def drops_within(self, segment: int) -> int:
        """Bytes of the live drops in a segment."""
        return sum(length for (_, within), length in self.drops.copy().items() if within == segment)

    def change(self) -> AccountsChange:
        """Begin to gather what one batch changes."""
        return AccountsChange(self)


class AccountsChange:
    """What one batch changes; nothing counts before `apply`."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._absorbed: dict[int, int] = {}
        self._live: defaultdict[int, int] = defaultdict(int)
        self._drops: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._gone: set[int] = set()

    def absorb(self, segment: int, length: int) -> None:
        """The catalog now knows the segment up to `length`."""
        self._absorbed[segment] = length

    def add_live(self, segment: int, record_bytes: int) -> None:
        """A record there came to life, or with a negative length died."""
        self._live[segment] += record_bytes

    def add_drop(self, about: int, within: int, record_bytes: int) -> None:
        """A drop came. One about its own segment dies with it, one about a segment that is gone is dead."""
        known = about in self._accounts.absorbed or about in self._absorbed
        if about != within and known:
            self._drops[about, within] += record_bytes
            self._live[within] += record_bytes

    def remove(self, segment: int) -> None:
        """The segment is gone, and the drops about it are dead."""
        self._gone.add(segment)
        for about, within in list(self._accounts.drops):
            if about == segment:
                self._live[within] -= self._accounts.drops[about, within] + self._drops[about, within]

    def is_empty(self, segment: int) -> bool:
        """Whether nothing in the segment is alive but drops."""
        live = self._accounts.live.get(segment, 0) + self._live.get(segment, 0)
        return live == self._accounts.drops_within(segment)

    @property
    def change_in_bytes(self) -> int:
        """What the batch adds to the live bytes of the store; negative where something died."""
        return sum(self._live.values())

    def put_rows(self, batch: Batch) -> None:
        """The rows that change."""
        accounts = self._accounts
        for number in {*self._absorbed, *self._live} - self._gone:
            absorbed = self._absorbed.get(number, accounts.absorbed.get(number, 0))
            row = rows.encode_segment_row(absorbed, accounts.live[number] + self._live[number])
            batch.put("meta", rows.segment_key(number), row)
        for number in self._gone:
            batch.delete("meta", rows.segment_key(number))
        keys = set(self._drops)
        if self._gone:
            # Seldom: looking through all of them would cost every commit by the number of segments.
            keys.update(key for key in accounts.drops if self._gone.intersection(key))
        for key in keys:
            if self._gone.intersection(key):
                batch.delete("meta", rows.drops_key(*key))
            else:
                row = rows.encode_number(accounts.drops[key] + self._drops[key])
                batch.put("meta", rows.drops_key(*key), row)

    def apply(self) -> None:
        """The batch is written: count it."""
        accounts = self._accounts
        accounts.absorbed |= self._absorbed
        for number, change in self._live.items():
            accounts.live[number] += change
        for key, change in self._drops.items():
            accounts.drops[key] += change
        for number in self._gone:
            accounts.absorbed.pop(number, None)
            accounts.live.pop(number, None)
            for key in [key for key in accounts.drops if number in key]:
                del accounts.drops[key]
