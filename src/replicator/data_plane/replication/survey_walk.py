"""The walk over both sides of a survey, a stretch of keys at a time.

The destination lists a stretch of its own and asks the source for the digest of the same one. Where the two agree,
which is nearly everywhere, nothing is listed over the wire; where they do not, the source's listing of it is
fetched, and the stretch ends where the shorter of the two does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

from replicator.data_plane.ports import Store, Version, Versioning
from replicator.data_plane.replication.compare import Pair, pairs, place_of
from replicator.data_plane.replication.cursor import Position
from replicator.data_plane.replication.ports import Entry, Listing, Stretch
from replicator.data_plane.replication.source import Source
from replicator.kernel.errors import BrokenPeer, InvalidRequest, NotFound
from replicator.kernel.merkle import stretch_digest
from replicator.kernel.names import BucketName, NodeName, ObjectId
from replicator.wire.replication import BUCKETS_MAX
from replicator.wire.sessions import Survey

BARREN_MAX = 1 << 18
"""Stretches in a row that a source may have nothing but deleted keys in: a thousand million of them."""
_NOTHING = Listing((), stretch_digest(()), 0, "", False, Versioning.OFF, NodeName(""))


class Lists(Protocol):
    """What lists: see `Peer.listing`."""

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        """See `Peer.listing`."""
        ...


class Stretched(NamedTuple):
    """A stretch of both sides.

    Attributes:
        pairs: what they have there, in order; to be gone through once.
        end: where the walk stands when all of them have been dealt with.
        unknown: the id that was asked for and that the source does not have.
    """

    bucket: BucketName
    pairs: Iterable[Pair]
    end: Position
    unknown: ObjectId | None = None


class _Found(NamedTuple):
    pairs: Iterable[Pair]
    last: str
    more: bool


class Walk:
    """Goes through what a survey is about, from a position on.

    Args:
        own: lists `store`.
        limit: keys in a stretch.

    Its iteration raises what `Source` does, and `NotFound` where the source has no such bucket.
    """

    def __init__(self, survey: Survey, *, source: Source, store: Store, own: Lists, limit: int) -> None:
        if survey.object_ids and survey.bucket is None:
            raise InvalidRequest("a survey of some ids must name their bucket")
        self._survey = survey
        self._source = source
        self._store = store
        self._own = own
        self._limit = limit
        # Where the last stretch differed the next probably does: it is listed at once.
        self._agreed = True
        self._barren = 0

    def stretches(self, position: Position) -> Iterator[Stretched]:
        """What follows `position`."""
        self._barren = position.barren
        if self._survey.object_ids:
            yield from self._ids(position)
            return
        for bucket in self._buckets(position):
            start = position if bucket == position.bucket else Position(bucket=bucket)
            yield from self._bucket(bucket, start)

    def _buckets(self, position: Position) -> Iterator[BucketName]:
        if self._survey.bucket is not None:
            yield BucketName(self._survey.bucket)
            return
        if position.bucket:
            yield position.bucket
        after: str = position.bucket
        while names := self._source.buckets(after, BUCKETS_MAX):
            yield from names
            after = names[-1]

    def _ids(self, position: Position) -> Iterator[Stretched]:
        bucket = BucketName(self._survey.bucket or "")
        for index in range(position.ids, len(self._survey.object_ids)):
            object_id = ObjectId(self._survey.object_ids[index])
            stretch = Stretch(
                bucket=bucket, prefix=object_id, until=object_id, all_versions=self._survey.all_versions
            )
            there = self._source.listing(stretch, limit=1).entries
            found = pairs(there, self._own_listing(stretch, 1).entries, all_versions=stretch.all_versions)
            yield Stretched(
                bucket,
                self._remaining(found, position if index == position.ids else Position()),
                Position(ids=index + 1, bucket=bucket),
                None if there else object_id,
            )

    def _bucket(self, bucket: BucketName, start: Position) -> Iterator[Stretched]:
        after, more = start.after, True
        while more:
            found, last, more = self._stretch(
                Stretch(
                    bucket=bucket,
                    prefix=self._survey.prefix,
                    after=after,
                    all_versions=self._survey.all_versions,
                )
            )
            if more and last <= after:
                raise BrokenPeer("the source lists keys that it was not asked for")
            after = max(after, last)
            # Keys that have come since may put the end of a stretch before what is done already.
            done = start if start.key > after else Position(bucket=bucket)
            end = done._replace(after=after, barren=self._barren)
            yield Stretched(bucket, self._remaining(found, start), end)
            start = end

    def _remaining(self, found: Iterable[Pair], start: Position) -> Iterable[Pair]:
        """What has not been dealt with in an earlier task."""
        if not start.key:
            return found
        if not self._survey.all_versions or start.version is None:
            return (pair for pair in found if pair.chosen.object_id > start.key)
        done = (start.key, -int.from_bytes(start.version))
        return (pair for pair in found if place_of(pair.chosen) > done)

    def _stretch(self, stretch: Stretch) -> _Found:
        """The pairs of a stretch, the last key that it got to, and whether more follow."""
        here = self._own_listing(stretch, self._limit)
        digest_only = self._agreed and here.total > 0
        # Where nothing is here, all that is listed is found: no more than the result may hold.
        limit = self._limit if here.total else min(self._limit, self._survey.found_max)
        there = self._source.listing(stretch, limit=limit, digest_only=digest_only)
        if there.digest != here.digest and digest_only:
            there = self._source.listing(stretch, limit=self._limit)
        self._require_fertile(there)
        self._agreed = there.digest == here.digest
        if self._agreed:
            return _Found((Pair(entry, entry) for entry in here.entries), *_common_end(there, here))
        if self._survey.extras or self._survey.roots:
            return self._side_by_side(there, here)
        return self._looked_up(stretch.bucket, there, here)

    def _require_fertile(self, there: Listing) -> None:
        self._barren = self._barren + 1 if there.more and not there.total else 0
        if self._barren > BARREN_MAX:
            raise BrokenPeer("the source lists nothing and says that more follows, again and again")

    def _side_by_side(self, there: Listing, here: Listing) -> _Found:
        last, more = _common_end(there, here)
        found = pairs(
            _up_to(last, there.entries), _up_to(last, here.entries), all_versions=self._survey.all_versions
        )
        return _Found(found, last, more)

    def _looked_up(self, bucket: BucketName, there: Listing, here: Listing) -> _Found:
        """The same for all the source lists: it may have few keys where there are millions here."""
        listed = here.last if here.more else None
        near = _up_to(listed, there.entries)
        found = pairs(
            near,
            _up_to(there.last if there.more else None, here.entries),
            all_versions=self._survey.all_versions,
        )
        far = (Pair(entry, self._own_entry(bucket, entry)) for entry in there.entries[len(near) :])
        return _Found(chain(found, far), there.last, there.more)

    def _own_entry(self, bucket: BucketName, entry: Entry) -> Entry | None:
        if self._survey.all_versions:
            version = self._store.version(bucket, entry.object_id, entry.version)
        else:
            version = self._store.head(bucket, entry.object_id)
        if not isinstance(version, Version):
            return None
        return Entry(version.object_id, version.version, version.manifest, version.size)

    def _own_listing(self, stretch: Stretch, limit: int) -> Listing:
        try:
            return self._own.listing(stretch, limit=limit)
        except NotFound:
            # What has no bucket here yet is not here.
            return _NOTHING


def _common_end(there: Listing, here: Listing) -> tuple[str, bool]:
    """The last key that both have got to, and whether any of them has more.

    Equal entries do not make it the same: a side also steps over keys of which it lists nothing.
    """
    ends = [side.last for side in (there, here) if side.more]
    return (min(ends), True) if ends else (max(there.last, here.last), False)


def _up_to(last: str | None, entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries with keys up to `last`; all where that is None."""
    if last is None or not entries or entries[-1].object_id <= last:
        return entries
    return entries[: bisect_right(entries, last, key=lambda entry: entry.object_id)]
