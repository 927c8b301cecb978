"""How two listings differ.

Where only latest versions are compared, the two of a key are held against each other, and order decides: the
newer one is the latest on every node that has both. Where all are compared, each version is held against the
one with its id. Which of them are meant is asked of the source's version, and only of the destination's where
the source has none: so an object is never called missing because its size or age changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from replicator.data_plane.replication.ports import Entry
from replicator.wire.sessions import Finding

Place = tuple[str, int]
"""Where a version stands in the order of listings: by key, of each key the newest first."""


class Pair(NamedTuple):
    """What the two sides have in one place; one of them at least has something."""

    source: Entry | None
    destination: Entry | None

    @property
    def chosen(self) -> Entry:
        """The version that a filter is asked about, and that a finding names."""
        entry = self.source or self.destination
        assert entry is not None
        return entry


def place_of(entry: Entry) -> Place:
    """Where `entry` stands among all versions of a bucket."""
    return entry.object_id, -int.from_bytes(entry.version)


def pairs(source: Iterable[Entry], destination: Iterable[Entry], *, all_versions: bool) -> Iterator[Pair]:
    """Both sides side by side, each in the order of listings and of each key only the latest unless `all_versions`."""
    sources, destinations = iter(source), iter(destination)
    left, right = next(sources, None), next(destinations, None)
    while left is not None and right is not None:
        # What agrees is by far the most.
        if left == right or (not all_versions and left.object_id == right.object_id):
            yield Pair(left, right)
            left, right = next(sources, None), next(destinations, None)
            continue
        first, second = place_of(left), place_of(right)
        yield Pair(left if first <= second else None, right if second <= first else None)
        if first <= second:
            left = next(sources, None)
        if second <= first:
            right = next(destinations, None)
    while left is not None:
        yield Pair(left, None)
        left = next(sources, None)
    while right is not None:
        yield Pair(None, right)
        right = next(destinations, None)


def finding_of(pair: Pair) -> Finding | None:
    """How the two sides differ there; None where they do not.

    Sizes are not compared: they follow from the manifest.
    """
    source, destination = pair
    if source is None:
        return "extra"
    if destination is None:
        return "absent"
    if source.version < destination.version:
        return "newer"
    same = source.version == destination.version and source.manifest == destination.manifest
    return None if same else "differs"
