"""From the entries of manifests to the chunks that are fetched for them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from replicator.data_plane.ports import Hold, Version
from replicator.data_plane.replication import plan
from replicator.data_plane.replication.delta import OldManifest, pieces
from replicator.data_plane.replication.engine import MEBIBYTE, Engine
from replicator.data_plane.replication.fetcher import Fetcher
from replicator.data_plane.replication.goal import Goal
from replicator.data_plane.replication.ports import Piece
from replicator.data_plane.replication.runs import Part
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Corrupt, NotFound, ReplicatorError
from replicator.kernel.manifest import ChunkRef, decode_page

QUEUED_BYTES_MAX = 256 * MEBIBYTE
_VERSIONS_LOOKED_AT = 16


class Arrival(NamedTuple):
    """What was wanted has arrived, or was given up."""

    goal: Goal
    part: Part
    error: ReplicatorError | None


@dataclass(slots=True, eq=False)
class _Wish:
    """What `want` was asked for.

    Attributes:
        claimed: the chunks that this pull fetches for it.
        left: its fetches that are under way, and chunks that other pulls are to bring.
    """

    goal: Goal
    part: Part
    claimed: list[Digest]
    left: int = 0
    is_over: bool = False


class Gathering:
    """Looks up what is here, and has the rest fetched. Belongs to the thread of the pull.

    What another pull of this node is fetching already is left to it. Once that pull has let it go it is looked
    up again, and fetched if it did not come. A pull that has nothing else under way waits for the others only
    while something comes of them.

    Args:
        hold: keeps what is here, and what it is a delta against.
        renew: called now and then while waiting, and `renew_s` says when the next time is.
    """

    def __init__(
        self,
        engine: Engine,
        hold: Hold,
        fetcher: Fetcher,
        *,
        renew: Callable[[], None],
        renew_s: Callable[[], float],
    ) -> None:
        self._store = engine.store
        self._engine = engine
        self._in_flight = engine.in_flight
        self._hold = hold
        self._fetcher = fetcher
        self._renew = renew
        self._renew_s = renew_s
        self._owners = itertools.count(1)
        self._open: dict[int, tuple[_Wish, Part]] = {}
        self._theirs: set[Digest] = set()
        self._late: dict[Digest, list[tuple[_Wish, ChunkRef]]] = {}
        self._idle_since_s: float | None = None

    @property
    def is_full(self) -> bool:
        """Whether so much is queued that it is time to wait."""
        return self._fetcher.left_bytes >= QUEUED_BYTES_MAX

    @property
    def is_done(self) -> bool:
        """Whether nothing is under way."""
        return not self._open and not self._late

    def locate(self, entries: Sequence[ChunkRef]) -> list[int | None]:
        """The length of each chunk that is here, whole as far as is known; it stays. `want` follows."""
        digests = [ref.digest for ref in entries]
        self._theirs = self._in_flight.claim(self._fetcher.claimant, digests)
        return self._located(digests)

    def want(
        self,
        goal: Goal,
        entries: Sequence[ChunkRef],
        lengths: Sequence[int | None],
        old: Callable[[], OldManifest | None],
    ) -> Part:
        """Have the chunks of `entries` that are not here fetched for `goal`.

        Args:
            lengths: as `locate` found them.
            old: an earlier version that is here, to be followed along; asked for where anything is missing.

        Raises:
            BrokenPeer: the manifest contradicts what is here, or another manifest.
        """
        wanted = plan.missing(entries, lengths)
        mine = [ref for ref in wanted if ref.digest not in self._theirs]
        owner = next(self._owners)
        part = self._fetcher.add(owner, _pieces(entries, mine, old))
        goal.parts.append(part)
        goal.here_bytes += sum(ref.length for ref in entries) - sum(ref.length for ref in wanted)
        wish = _Wish(goal, part, [ref.digest for ref in mine], left=1 + len(wanted) - len(mine))
        self._open[owner] = (wish, part)
        for ref in wanted:
            if ref.digest in self._theirs:
                self._late.setdefault(ref.digest, []).append((wish, ref))
        return part

    def settled(self) -> list[Arrival]:
        """What has arrived, or was given up, since the last call; waits for something, which may come to nothing.

        Raises:
            Cancelled: the pull was stopped.
            ReplicatorError: as `renew`.
        """
        arrivals = self._take_up()
        for owner, error in self._fetcher.settled(0.0 if arrivals else self._wait_s()):
            arrivals += self._ended(*self._open.pop(owner), error)
        self._renew()
        return arrivals

    def forget(self, entries: Sequence[ChunkRef]) -> None:
        """The chunks of `entries` are durable parts of something: they need not be held any more."""
        self._hold.chunks.difference_update(ref.digest for ref in entries)

    def earlier(self, goal: Goal) -> OldManifest | None:
        """What a delta can be made against: the newest version here, rather an older one than the goal's."""
        if self._store.head(goal.bucket, goal.object_id) is None:
            return None
        versions = self._store.versions(goal.bucket, goal.object_id, None, _VERSIONS_LOOKED_AT)
        here = [version for version in versions if isinstance(version, Version) and version.size]
        older = [version for version in here if goal.version is None or version.version < goal.version]
        chosen = next(iter(older or here), None)
        return None if chosen is None else self._opened(chosen)

    def _located(self, digests: Sequence[Digest]) -> list[int | None]:
        """What is here of `digests`, which were claimed before: so nothing comes unseen in between."""
        self._fetcher.look()
        lengths = self._store.locate(digests, intact=True, hold=self._hold)
        here = [digest for digest, length in zip(digests, lengths, strict=True) if length is not None]
        self._in_flight.release(self._fetcher.claimant, here)
        return lengths

    def _wait_s(self) -> float:
        if self._idle_since_s is None:
            return self._renew_s()
        idle_s = self._engine.clock.monotonic_s() - self._idle_since_s
        return min(self._renew_s(), max(0.0, self._engine.bounds.patience_s - idle_s))

    def _take_up(self) -> list[Arrival]:
        """Go on with what other pulls have let go, or with all they have if nothing comes of them."""
        freed = [digest for digest in self._in_flight.freed(self._fetcher.claimant) if digest in self._late]
        now_s = self._engine.clock.monotonic_s()
        if freed or not self._late or self._fetcher.left_bytes:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        elif now_s - self._idle_since_s >= self._engine.bounds.patience_s:
            self._idle_since_s = None
            return self._resume(list(self._late), insist=True)
        return self._resume(freed, insist=False) if freed else []

    def _resume(self, digests: Sequence[Digest], *, insist: bool) -> list[Arrival]:
        refused = self._in_flight.claim(self._fetcher.claimant, digests, insist=insist)
        free = [digest for digest in digests if digest not in refused]
        resumed: dict[_Wish, list[tuple[ChunkRef, int | None]]] = {}
        for digest, length in zip(free, self._located(free), strict=True):
            for wish, ref in self._late.pop(digest):
                resumed.setdefault(wish, []).append((ref, length))
        arrivals: list[Arrival] = []
        for wish, found in resumed.items():
            arrivals += self._go_on(wish, [ref for ref, _ in found], [length for _, length in found])
        return arrivals

    def _go_on(
        self, wish: _Wish, refs: Sequence[ChunkRef], lengths: Sequence[int | None]
    ) -> Iterable[Arrival]:
        """Fetch those of `refs` that no other pull has brought."""
        owner = next(self._owners)
        try:
            wanted = plan.missing(refs, lengths)
            part = self._fetcher.add(owner, [Piece(wanted)] if wanted else [])
        except BrokenPeer as error:
            return self._failed(wish, error)
        wish.goal.parts.append(part)
        wish.goal.here_bytes += sum(ref.length for ref in refs) - sum(ref.length for ref in wanted)
        wish.claimed += [ref.digest for ref in wanted]
        wish.left += 1 - len(refs)
        self._open[owner] = (wish, part)
        return []

    def _ended(self, wish: _Wish, part: Part, error: ReplicatorError | None) -> list[Arrival]:
        wish.left -= 1
        if error is not None:
            return self._failed(wish, error)
        if part is not wish.part:
            wish.goal.fold(part)
        return [] if wish.left or wish.is_over else [Arrival(wish.goal, wish.part, None)]

    def _failed(self, wish: _Wish, error: ReplicatorError) -> list[Arrival]:
        if wish.is_over:
            return []
        wish.is_over = True
        self._in_flight.release(self._fetcher.claimant, wish.claimed)
        late = {
            digest: [each for each in wishes if each[0] is not wish] for digest, wishes in self._late.items()
        }
        self._late = {digest: wishes for digest, wishes in late.items() if wishes}
        return [Arrival(wish.goal, wish.part, error)]

    def _opened(self, version: Version) -> OldManifest | None:
        try:
            manifest = self._store.pin(version.manifest, self._hold)
        except (NotFound, Corrupt):
            # It was deleted or damaged just now: then everything is fetched as it is.
            return None
        return OldManifest(
            manifest, lambda index: decode_page(self._store.page(manifest, index), manifest, index)
        )


def _pieces(
    entries: Sequence[ChunkRef], wanted: Sequence[ChunkRef], old: Callable[[], OldManifest | None]
) -> list[Piece]:
    if not wanted:
        return []
    earlier = old()
    if earlier is None:
        return [Piece(wanted)]
    try:
        return pieces(entries, {ref.digest for ref in wanted}, earlier)
    except (NotFound, Corrupt):
        # A page of what is here is gone or damaged: that must not keep out what is to come.
        return [Piece(wanted)]
