"""Room for the catalog on a disk that is full.

A batch that the catalog cannot write ends the store, even one that only deletes. So what makes the catalog
larger is refused while less than `CATALOG_ROOM_BYTES` are free, and a ballast file is kept that gives its
space to deletes when somebody else has filled the disk to the last byte.
"""

from __future__ import annotations

import os

from replicator.data_plane.storage import files
from replicator.kernel.errors import QuotaExceeded

CATALOG_ROOM_BYTES = 8 * 1024 * 1024
BALLAST_BYTES = 8 * 1024 * 1024
_FULL_BYTES = 1024 * 1024


def make_room(path: str) -> None:
    """Give the ballast of a data folder up where the disk is so full that its catalog would not open."""
    ballast = _ballast_of(path)
    if os.path.exists(ballast) and files.free_bytes(path) < CATALOG_ROOM_BYTES:
        os.truncate(ballast, 0)


class Room:
    """Watches the space of the data folder `path`. Used by the committer's thread alone."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._ballast = _ballast_of(path)
        self._held = os.path.exists(self._ballast) and os.path.getsize(self._ballast) == BALLAST_BYTES
        self.has_room(growing=True)

    def give(self) -> bool:
        """Give the ballast up where there is one: a write found no room. Says whether there was."""
        was_held, self._held = self._held, False
        if was_held:
            os.truncate(self._ballast, 0)
        return was_held

    def has_room(self, *, growing: bool) -> bool:
        """Whether the catalog may grow. Gives the ballast up, or takes it again, as the disk demands.

        Args:
            growing: False where only deletes are to come; they never lose their room to the ballast again.
        """
        free = files.free_bytes(self._path)
        if free < _FULL_BYTES:
            self.give()
        elif growing and not self._held and free >= CATALOG_ROOM_BYTES + 2 * BALLAST_BYTES:
            self._held = self._take()
        return free >= CATALOG_ROOM_BYTES

    def _take(self) -> bool:
        try:
            files.fill(self._ballast, BALLAST_BYTES)
        except QuotaExceeded:
            # A quota may be used up on a disk that has room. What was taken of it is given back; where not
            # even an inode was left, there is nothing to give.
            if os.path.exists(self._ballast):
                os.truncate(self._ballast, 0)
            return False
        return True


def _ballast_of(path: str) -> str:
    return os.path.join(path, "BALLAST")
