"""What to fetch for a page of a new version where an earlier version is here. Pure.

An *anchor* is a chunk that both manifests hold. Wanted chunks between two anchors most likely descend from the old
chunks between the same two, so those are their references. A long run is split, and each part is given the old
bytes from as far behind the left anchor to as far before the right one as it lies itself, and a margin on both
sides. Where these two places are far apart because much was inserted or deleted, or in no order because a block was
moved, they are two stretches of references; at the end of a page, where the next anchor is not known, there is one.

Order is not forced on anchors, so a moved block costs its two edges and nothing else. A chunk that the old version
repeats says little about the place: it is an anchor only shortly behind the place where it is expected.

An old manifest of any length is seen through a window of its pages that moves along with the new one. Where more
is inserted or deleted at once than the window reaches, what follows is fetched without references.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import NamedTuple

from replicator.data_plane.replication.ports import Piece
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef, Manifest
from replicator.wire.frames import DELTA_BYTES_MAX

RUN_BYTES_MAX = 1536 * 1024
MARGIN_BYTES = 512 * 1024
REPEAT_BYTES_MAX = 4 * 1024 * 1024
WINDOW_PAGES = 16
_PAGES_BEFORE = 4
_STRETCH_BYTES_MAX = 2 * (RUN_BYTES_MAX + 2 * MARGIN_BYTES)


class Stretch(NamedTuple):
    """Bytes of the old version, from `start` up to `end`."""

    start: int
    end: int


class OldManifest:
    """The chunks of the earlier version, and how far the new one has been followed along them.

    Memory: the entries of `WINDOW_PAGES` pages, some 20 MB where they are full.

    Args:
        read_page: the entries of a page of `manifest`, if it has pages. What it raises comes out of `pieces`.
    """

    def __init__(self, manifest: Manifest, read_page: Callable[[int], Sequence[ChunkRef]]) -> None:
        lengths = [page.length for page in manifest.pages] or [manifest.size]
        self._page_starts = [0, *accumulate(lengths)]
        self._page_count = len(lengths)
        self._read_page = read_page if manifest.pages else lambda _: manifest.entries
        self._pages: dict[int, Sequence[ChunkRef]] = {}
        self._entries: list[ChunkRef] = []
        self._starts: list[int] = []
        self._once: dict[Digest, int] = {}
        self._repeated: dict[Digest, list[int]] = {}
        self.anchor_end = 0
        self.behind_bytes = 0

    @property
    def expected(self) -> int:
        """Where the next new chunk would begin, had nothing changed since the last anchor."""
        return self.anchor_end + self.behind_bytes

    def follow(self) -> None:
        """Move the window to where the new version goes on."""
        page = min(bisect_right(self._page_starts, self.expected), self._page_count) - 1
        first = max(0, min(page - _PAGES_BEFORE, self._page_count - WINDOW_PAGES))
        loaded = next(iter(self._pages), None)
        if loaded is None or abs(first - loaded) >= _PAGES_BEFORE or page not in self._pages:
            self._load(first)

    def _load(self, first: int) -> None:
        pages = range(first, min(first + WINDOW_PAGES, self._page_count))
        self._pages = {number: self._pages.get(number) or self._read_page(number) for number in pages}
        self._entries = list(chain.from_iterable(self._pages.values()))
        lengths = [ref.length for ref in self._entries]
        self._starts = list(accumulate(lengths, initial=self._page_starts[first]))
        self._once, self._repeated = {}, {}
        for number, (digest, _) in enumerate(self._entries):
            if self._once.setdefault(digest, number) != number:
                self._repeated.setdefault(digest, [self._once[digest]]).append(number)

    def find(self, digest: Digest) -> Stretch | None:
        """The place of an anchor."""
        number = self._once.get(digest)
        if number is None:
            return None
        if digest in self._repeated:
            numbers = self._repeated[digest]
            nth = bisect_left(numbers, bisect_left(self._starts, self.anchor_end))
            number = numbers[min(nth, len(numbers) - 1)]
            if not self.anchor_end <= self._starts[number] <= self.expected + REPEAT_BYTES_MAX:
                return None
        return Stretch(self._starts[number], self._starts[number + 1])

    def chunks(self, stretches: Sequence[Stretch]) -> list[ChunkRef]:
        """Those that lie in any of `stretches`, even in part, each place once and in order."""
        numbers: set[int] = set()
        last = len(self._entries)
        for start, end in stretches:
            if start < end:
                low = max(0, bisect_right(self._starts, start) - 1)
                numbers.update(range(low, min(last, bisect_left(self._starts, end))))
        return [self._entries[number] for number in sorted(numbers)]


@dataclass(slots=True)
class _Run:
    """New chunks between two anchors: those to fetch, with where each begins behind the left one."""

    left: int
    length: int
    chunks: list[tuple[int, ChunkRef]] = field(default_factory=list)


class _Part(NamedTuple):
    start: int
    end: int
    chunks: list[ChunkRef]


def pieces(new: Sequence[ChunkRef], wanted: AbstractSet[Digest], old: OldManifest) -> list[Piece]:
    """The chunks of `new` that are `wanted`, each once and in order, with references where there are any.

    Args:
        new: a page of the new manifest. Give the pages in their order: `old` is followed along.
        wanted: chunks that are not here, or damaged.
    """
    old.follow()
    found: list[Piece] = []
    open_ = set(wanted)
    run = _Run(old.anchor_end, old.behind_bytes)
    for ref in new:
        anchor = None if ref.digest in wanted else old.find(ref.digest)
        if anchor is not None:
            found.extend(_run_pieces(run, anchor.start, wanted, old))
            old.anchor_end, old.behind_bytes = anchor.end, 0
            run = _Run(anchor.end, 0)
            continue
        if ref.digest in open_:
            open_.remove(ref.digest)
            run.chunks.append((run.length, ref))
        run.length += ref.length
        old.behind_bytes = run.length
    found.extend(_run_pieces(run, None, wanted, old))
    return found


def _run_pieces(
    run: _Run, right: int | None, wanted: AbstractSet[Digest], old: OldManifest
) -> Iterator[Piece]:
    for part in _parts(run.chunks):
        near = old.chunks(_stretches(part, run, right))
        yield Piece(part.chunks, _bounded([ref for ref in near if ref.digest not in wanted], part))


def _parts(chunks: Sequence[tuple[int, ChunkRef]]) -> Iterator[_Part]:
    """The chunks in parts that reach over at most `RUN_BYTES_MAX`, or hold one chunk."""
    part: _Part | None = None
    for start, ref in chunks:
        end = start + ref.length
        if part is not None and end - part.start <= RUN_BYTES_MAX:
            part.chunks.append(ref)
            part = part._replace(end=end)
            continue
        if part is not None:
            yield part
        part = _Part(start, end, [ref])
    if part is not None:
        yield part


def _stretches(part: _Part, run: _Run, right: int | None) -> list[Stretch]:
    """Where in the old version the bytes of `part` may come from."""
    left = run.left
    head = Stretch(max(left, left + part.start - MARGIN_BYTES), left + part.end + MARGIN_BYTES)
    if right is None:
        return [head]
    base = right - run.length
    tail = Stretch(base + part.start - MARGIN_BYTES, min(right, base + part.end + MARGIN_BYTES))
    if left > right:
        return [head, tail]
    head = Stretch(head.start, min(right, head.end))
    tail = Stretch(max(left, tail.start), tail.end)
    whole = Stretch(min(head.start, tail.start), max(head.end, tail.end))
    return [whole] if whole.end - whole.start <= _STRETCH_BYTES_MAX else [head, tail]


def _bounded(references: Sequence[ChunkRef], part: _Part) -> Sequence[ChunkRef]:
    """As many of `references` as a delta may have; none where the run itself is too long for one."""
    if sum(ref.length for ref in part.chunks) > DELTA_BYTES_MAX:
        return ()
    ends = list(accumulate(ref.length for ref in references))
    return references[: bisect_right(ends, DELTA_BYTES_MAX)]
