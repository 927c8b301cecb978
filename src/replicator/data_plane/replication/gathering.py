"""From the entries of manifests to the chunks that are fetched for them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from replicator.data_plane.ports import Hold, Store, Version
from replicator.data_plane.replication import plan
from replicator.data_plane.replication.delta import OldManifest, pieces
from replicator.data_plane.replication.engine import MEBIBYTE
from replicator.data_plane.replication.fetcher import Fetcher
from replicator.data_plane.replication.goal import Goal
from replicator.data_plane.replication.ports import Piece
from replicator.data_plane.replication.runs import Part
from replicator.kernel.errors import Corrupt, NotFound, ReplicatorError
from replicator.kernel.manifest import ChunkRef, decode_page

QUEUED_BYTES_MAX = 256 * MEBIBYTE
_VERSIONS_LOOKED_AT = 16


class Gathering:
    """Looks up what is here, and has the rest fetched. Belongs to the thread of the pull.

    Args:
        hold: keeps what is here, and what it is a delta against.
        renew: called now and then while waiting, and `renew_s` says when the next time is.
    """

    def __init__(
        self,
        store: Store,
        hold: Hold,
        fetcher: Fetcher,
        *,
        renew: Callable[[], None],
        renew_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._hold = hold
        self._fetcher = fetcher
        self._renew = renew
        self._renew_s = renew_s
        self._owners = itertools.count(1)
        self._open: dict[int, tuple[Goal, Part]] = {}

    @property
    def is_full(self) -> bool:
        """Whether so much is queued that it is time to wait."""
        return self._fetcher.left_bytes >= QUEUED_BYTES_MAX

    @property
    def is_done(self) -> bool:
        """Whether nothing is under way."""
        return not self._open

    def locate(self, entries: Sequence[ChunkRef]) -> list[int | None]:
        """The length of each chunk that is here, whole as far as is known; it stays. `want` follows."""
        self._fetcher.look()
        return self._store.locate([ref.digest for ref in entries], intact=True, hold=self._hold)

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
        owner = next(self._owners)
        part = self._fetcher.add(owner, _pieces(entries, wanted, old))
        goal.parts.append(part)
        goal.here_bytes += sum(ref.length for ref in entries) - sum(ref.length for ref in wanted)
        self._open[owner] = (goal, part)
        return part

    def settled(self) -> list[tuple[Goal, Part, ReplicatorError | None]]:
        """What has arrived, or was given up, since the last call; waits for something.

        Raises:
            Cancelled: the pull was stopped.
            ReplicatorError: as `renew`.
        """
        while True:
            settled = self._fetcher.settled(self._renew_s())
            self._renew()
            if settled:
                return [(*self._open.pop(owner), error) for owner, error in settled]

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
