"""What a node tells the control plane of the space on its disk: rarely, but soon where much has changed."""

from __future__ import annotations

from collections.abc import Callable

from replicator.kernel.clock import Clock
from replicator.kernel.errors import ReplicatorError
from replicator.wire.sessions import DiskSpace

PERIOD_S = 30.0
CHANGE_MIN = 0.01
"""As a share of the disk: so much is told at once."""


class SpaceReports:
    """When to tell what `look` sees. Belongs to one thread at a time."""

    def __init__(self, look: Callable[[], DiskSpace], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._told: DiskSpace | None = None
        self._told_at_s = 0.0

    def current(self) -> DiskSpace | None:
        """As it is now; None where the disk does not say, of which the store tells by itself."""
        try:
            return self._look()
        except ReplicatorError:
            return None

    def news(self) -> DiskSpace | None:
        """What is to be told now, if anything."""
        space = self.current()
        if space is None or self._told is None or space == self._told:
            return None if space == self._told else space
        moved = abs(space.bytes_free - self._told.bytes_free) > CHANGE_MIN * space.bytes_total
        late = self._clock.monotonic_s() - self._told_at_s >= PERIOD_S
        return space if moved or late or space.bytes_total != self._told.bytes_total else None

    def heard(self, space: DiskSpace | None) -> None:
        """The control plane has taken `space`."""
        if space is not None:
            self._told, self._told_at_s = space, self._clock.monotonic_s()
