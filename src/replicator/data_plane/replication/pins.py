"""What was offered to other nodes stays for a while, whatever becomes of the objects meanwhile.

Pins that end within the same half minute share one hold, which is closed when the last of them has ended. So
there are a handful of holds however much is pinned, a pin that is renewed simply moves to a later one, and
letting go takes no bookkeeping of single pins.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from replicator.data_plane.ports import Hold, Store
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import NotFound
from replicator.kernel.manifest import Manifest

SLOT_S = 30
PINS_MAX = 65_536


class Pins:
    """Manifests that are pinned until a moment. Thread-safe.

    Args:
        pins_max: beyond that those go that would have ended first.
    """

    def __init__(self, store: Store, clock: Clock, *, pins_max: int = PINS_MAX) -> None:
        self._store = store
        self._clock = clock
        self._pins_max = pins_max
        self._lock = threading.Lock()
        self._slots: dict[int, Hold] = {}

    def pin(self, manifest: Digest, hold_s: int) -> Manifest:
        """A manifest's root; it and all it names stay for `hold_s` seconds, or more. Raises `NotFound`."""
        slot = int((self._clock.monotonic_s() + hold_s) // SLOT_S)
        with self._lock:
            self._close_ended()
            if slot not in self._slots:
                self._slots[slot] = self._store.hold("offered to other nodes")
            found = self._store.pin(manifest, self._slots[slot])
            self._make_room()
            return found

    def renew(self, manifest: Digest, hold_s: int) -> None:
        """Keep for `hold_s` seconds from now what is pinned; what is not, or no longer, is left alone."""
        with self._lock:
            self._close_ended()
            pinned = any(manifest in hold.manifests for hold in self._slots.values())
        if pinned:
            with contextlib.suppress(NotFound):
                self.pin(manifest, hold_s)

    def sweep(self) -> None:
        """Let go of what has ended."""
        with self._lock:
            self._close_ended()

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(SLOT_S)
            self.sweep()

    @property
    def count(self) -> int:
        """Pins that have not ended, those that were renewed more than once."""
        with self._lock:
            return self._count()

    def _count(self) -> int:
        return sum(len(hold.manifests) for hold in self._slots.values())

    def _close_ended(self) -> None:
        now = int(self._clock.monotonic_s() // SLOT_S)
        for slot in [each for each in self._slots if each < now]:
            self._slots.pop(slot).close()

    def _make_room(self) -> None:
        while self._count() > self._pins_max and len(self._slots) > 1:
            self._slots.pop(min(self._slots)).close()
