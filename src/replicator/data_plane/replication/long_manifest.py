"""Bringing an object whose manifest has pages: a few of them at a time, so memory does not grow with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from replicator.data_plane.ports import Store
from replicator.data_plane.replication.asking import Asking
from replicator.data_plane.replication.gathering import Gathering
from replicator.data_plane.replication.goal import Goal
from replicator.data_plane.replication.messages.fields import from_server
from replicator.data_plane.replication.runs import Part
from replicator.kernel.manifest import ChunkRef, decode_page

PAGES_AHEAD = 2


class _Page(NamedTuple):
    number: int
    encoded: bytes
    entries: Sequence[ChunkRef]
    part: Part


class LongManifest:
    """Brings one object. Belongs to the thread of the pull.

    While the chunks of one page arrive those of the next two are asked for. A page whose chunks are here is
    staged, which makes it and them durable.
    """

    def __init__(self, store: Store, asking: Asking, gathering: Gathering, goal: Goal) -> None:
        self._store = store
        self._asking = asking
        self._gathering = gathering
        self._goal = goal
        self._number = store.stage()
        self._waiting: deque[_Page] = deque()
        self._arrived: set[Part] = set()

    def bring(self, commit: Callable[[int], None]) -> None:
        """Have everything here that the manifest names; then `commit` gets the number it is staged under.

        Raises:
            ReplicatorError: something did not come; what was staged is undone.
        """
        old = self._gathering.earlier(self._goal)
        manifest = self._goal.offered.manifest
        try:
            for index in range(manifest.page_count):
                encoded = self._page(index)
                with from_server(f"page {index}"):
                    entries = decode_page(encoded, manifest, index)
                part = self._gathering.want(self._goal, entries, self._gathering.locate(entries), lambda: old)
                self._waiting.append(_Page(index, encoded, entries, part))
                if len(self._waiting) > PAGES_AHEAD:
                    self._stage_first()
            while self._waiting:
                self._stage_first()
        except BaseException:
            self._store.discard(self._number)
            raise
        commit(self._number)

    def _page(self, index: int) -> bytes:
        manifest = self._goal.offered.manifest
        return self._asking.ask(lambda peer: peer.page(manifest, index))

    def _stage_first(self) -> None:
        page = self._waiting.popleft()
        while page.part not in self._arrived:
            for goal, part, error in self._gathering.settled():
                if goal is not self._goal:
                    # It has failed, and what was still on its way for it has come, or has not.
                    continue
                if error is not None:
                    raise error
                self._arrived.add(part)
        self._arrived.remove(page.part)
        self._store.stage_page(self._number, page.number, page.encoded, page.entries)
        self._gathering.forget(page.entries)
        self._goal.fold(page.part)
