"""Commits of many objects that settle while others are begun."""

from __future__ import annotations

import queue

from replicator.data_plane.ports import Committed, NewVersion, Store
from replicator.data_plane.replication.goal import Goal
from replicator.kernel.errors import ReplicatorError


class Commits:
    """What was begun and has not been collected: no more than a task has items. Belongs to one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended: queue.SimpleQueue[tuple[Goal, ReplicatorError | None]] = queue.SimpleQueue()
        self._open: set[Goal] = set()

    def begin(self, goal: Goal, new: NewVersion) -> None:
        """Submit a version of `goal`; the committer makes one group of those that wait."""
        self._open.add(goal)

        def settle(_: Committed | None, error: ReplicatorError | None) -> None:
            self._ended.put((goal, error))

        self._store.commit(new, settle)

    def has(self, goal: Goal) -> bool:
        """Whether a version of `goal` was begun and not collected."""
        return goal in self._open

    def collect(self) -> list[tuple[Goal, ReplicatorError | None]]:
        """How all that was begun ended; waits for it."""
        ended = [self._ended.get() for _ in self._open]
        self._open.clear()
        return ended
