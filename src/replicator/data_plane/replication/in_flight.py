"""Which chunks the pulls of a node are fetching just now, so that none of them travels twice.

A pull claims what it is about to fetch. What another one has claimed it leaves to it, and is woken once that is
released: then it has come, or it is free to be claimed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from replicator.kernel.digest import Digest
from replicator.kernel.names import NodeName


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claimant:
    """A pull.

    Attributes:
        is_limited: whether what comes from a source, or for a job, has a limit of its own.
        wake: called from any thread when something that it was refused has been released.
    """

    source: NodeName
    job: int
    is_limited: Callable[[NodeName | None, int | None], bool]
    wake: Callable[[], None]

    def yields_to(self, other: Claimant) -> bool:
        """Whether `other` may fetch what this one has claimed, because a limit slows this one alone."""
        source = None if other.source == self.source else self.source
        job = None if other.job == self.job else self.job
        return other is self or self.is_limited(source, job)


class InFlight:
    """Who has claimed what. Thread-safe; `wake` is called without its lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[Digest, Claimant] = {}
        self._refused: dict[Digest, set[Claimant]] = {}
        self._freed: dict[Claimant, list[Digest]] = {}

    def claim(self, claimant: Claimant, digests: Iterable[Digest], *, insist: bool = False) -> set[Digest]:
        """Claim `digests`; those that are refused, of which it will hear, are given.

        Args:
            insist: take them from whoever has claimed them.
        """
        refused: set[Digest] = set()
        with self._lock:
            for digest in digests:
                holder = self._holders.get(digest)
                if holder is None or insist or holder.yields_to(claimant):
                    self._holders[digest] = claimant
                else:
                    refused.add(digest)
                    self._refused.setdefault(digest, set()).add(claimant)
        return refused

    def release(self, claimant: Claimant, digests: Iterable[Digest]) -> None:
        """They have come, or will not. Of no effect for what it has not claimed."""
        woken: set[Claimant] = set()
        with self._lock:
            for digest in digests:
                if self._holders.get(digest) is not claimant:
                    continue
                del self._holders[digest]
                for each in self._refused.pop(digest, ()):
                    self._freed.setdefault(each, []).append(digest)
                    woken.add(each)
        for each in woken:
            each.wake()

    def freed(self, claimant: Claimant) -> list[Digest]:
        """What it was refused and has been released since the last call."""
        with self._lock:
            return self._freed.pop(claimant, [])

    def leave(self, claimant: Claimant) -> None:
        """The pull ends: it claims nothing any more, and waits for nothing."""
        with self._lock:
            held = [digest for digest, holder in self._holders.items() if holder is claimant]
            for digest in [digest for digest, waiting in self._refused.items() if claimant in waiting]:
                self._refused[digest].discard(claimant)
                if not self._refused[digest]:
                    del self._refused[digest]
            self._freed.pop(claimant, None)
        self.release(claimant, held)
