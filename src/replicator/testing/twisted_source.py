"""A source that is honest but for what a test replaces, whatever the transport."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from replicator.data_plane.replication.messages.replies import Sent
from replicator.data_plane.replication.messages.requests import FetchAsked
from replicator.data_plane.replication.ports import Listing, Stretch
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.digest import Digest
from replicator.runtime.clock import SystemClock
from replicator.testing.peer_source import NODE, SourceStore
from replicator.testing.waiting import DEADLINE_S
from replicator.wire.frames import Codec, FrameStatus


class TwistedServing(Serving):
    """Honest but for what a test replaces.

    Attributes:
        frames: what a fetch answers, for what was asked; None for the truth.
        refusal: what the question for missing chunks is refused with; None for nothing.
        listed: what a listing answers; None for the truth.
        open: that question waits until it is set.
        asked: set once it was asked.
        sent: frames of twisted fetches so far.
    """

    def __init__(self, store: SourceStore) -> None:
        super().__init__(store, node=NODE, clock=SystemClock())
        self.frames: Callable[[FetchAsked], Iterator[Sent]] | None = None
        self.refusal: Exception | None = None
        self.listed: Listing | None = None
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()
        self.sent = 0

    def missing(self, digests: Sequence[Digest]) -> list[bool]:
        """See `Serving.missing`."""
        self.asked.set()
        self.open.wait(DEADLINE_S)
        if self.refusal is not None:
            raise self.refusal
        return super().missing(digests)

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        """See `Serving.listing`."""
        return self.listed or super().listing(stretch, limit=limit, digest_only=digest_only)

    def fetch(self, asked: FetchAsked) -> Iterator[Sent]:
        """See `Serving.fetch`."""
        if self.frames is None:
            yield from super().fetch(asked)
            return
        for each in self.frames(asked):
            self.sent += 1
            yield each


def frame(
    payload: bytes,
    *,
    of: bytes | None = None,
    status: FrameStatus = FrameStatus.CHUNK,
    codec: Codec = Codec.PLAIN,
) -> Sent:
    """A frame with `payload`, about the chunk whose bytes are `of`, or these."""
    return Sent(Digest.of(payload if of is None else of), status, codec, payload)
