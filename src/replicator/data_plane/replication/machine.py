"""Which stream asks which source for which chunks. Pure: events in, decisions out.

Pieces wait in one queue. A stream that is free gets a request cut from its front, as large as its source does
in about a quarter of a second, so each source takes the share that it is fast enough for. Near the end requests
become small, and a source so slow that it would hold up the finish leaves what is left to faster ones.

Invariants:

- A chunk waits, or is in exactly one request, or has arrived, or is given up. So none is asked of two sources at
  once, nor again after it arrived.
- What a request did not bring goes back to the front, to be asked of whoever is free.
- A chunk that a source lacks, or has damaged, is asked of the others. It is given up when nobody is left who may
  have it; its error is then that of a source that left and might have it, else `Corrupt`, else `NotFound`.
- Chunks belong to owners (an object, or a page of one). One that several want travels once: it counts as
  transferred for the first. An owner is settled once: when its last chunk has arrived, or its first is given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from replicator.data_plane.replication.ports import Piece
from replicator.data_plane.replication.runs import Part, Run, credit, pieces_of, runs_of
from replicator.data_plane.replication.shares import REQUEST_BYTES_MIN, Share, Standing
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Corrupt, NotFound, ReplicatorError
from replicator.kernel.manifest import ChunkRef
from replicator.kernel.names import NodeName
from replicator.wire.frames import FETCH_CHUNKS_MAX
from replicator.wire.replication import REFERENCES_MAX
from replicator.wire.sessions import CORRUPT_MAX


class Ask(NamedTuple):
    """Decision: request `pieces`, `length` bytes in all."""

    number: int
    pieces: Sequence[Piece]
    length: int


class Wait(NamedTuple):
    """Decision: nothing for this stream until another event, or `until_s`."""

    until_s: float | None = None


class Leave(NamedTuple):
    """Decision: this source is not asked any more."""


class Settled(NamedTuple):
    """Every chunk of the owner has arrived, or one of them was given up."""

    owner: int
    error: ReplicatorError | None


class _Wanted(NamedTuple):
    length: int
    parts: list[Part]


@dataclass(slots=True)
class _Request:
    share: Share
    runs: Sequence[Run]
    began_s: float
    left: set[Digest] = field(default_factory=set)
    kept_bytes: int = 0


class Machine:
    """The state of one pull. Not for several threads at once; times are of one monotonic clock.

    Args:
        in_flight_bytes_max: bytes asked for that have not arrived.
        worth_bytes: what must be left before more sources are called in for speed alone.
        silence_s: see `Share.failed`.
    """

    def __init__(self, *, in_flight_bytes_max: int, worth_bytes: int, silence_s: float) -> None:
        self._in_flight_bytes_max = in_flight_bytes_max
        self._worth_bytes = worth_bytes
        self._silence_s = silence_s
        self._queue: deque[Run] = deque()
        self._requests: dict[int, _Request] = {}
        self._wanted: dict[Digest, _Wanted] = {}
        self._lately: dict[Digest, int] = {}
        self._parts: dict[int, Part] = {}
        self._shares: dict[NodeName, Share] = {}
        self._settled: list[Settled] = []
        self._asked_total = 0
        self._in_flight_bytes = 0
        self.queued_bytes = 0
        self.needs_others = False
        self.corrupt: dict[tuple[NodeName, Digest], None] = {}

    @property
    def left_bytes(self) -> int:
        """Bytes that have not arrived and are not given up."""
        return self.queued_bytes + self._in_flight_bytes

    def is_in(self, source: NodeName) -> bool:
        """Whether a source may still deliver."""
        return self._shares[source].is_in

    def enlist(self, source: NodeName) -> None:
        """A node that may hold the same bytes; it is called in when that is worth it."""
        self._shares.setdefault(source, Share(source, Standing.RESERVE))

    def join(
        self,
        source: NodeName,
        *,
        streams: int,
        rate_bytes_per_s: float | None = None,
        lacks: Iterable[Digest] = (),
    ) -> None:
        """A source answers, and may be asked from now on.

        Args:
            streams: how many will ask it.
            rate_bytes_per_s: of all of them, if known from before.
            lacks: chunks it said it does not have.
        """
        share = self._shares.setdefault(source, Share(source, Standing.LIVE))
        share.standing = Standing.LIVE
        share.streams = streams
        if rate_bytes_per_s is not None:
            share.rate_bytes_per_s = rate_bytes_per_s / streams
        share.lacks.update(digest for digest in lacks if digest in self._wanted)
        self._give_up_hopeless()

    def stay_out(self, source: NodeName) -> None:
        """A node that was called in is of no use; why does not matter, it was only hoped for."""
        self._shares[source].standing = Standing.OUT
        self._give_up_hopeless()

    def called_in(self) -> list[NodeName]:
        """The nodes in reserve that are to be asked now; each is named once."""
        if not self.needs_others and self.left_bytes < self._worth_bytes:
            return []
        called = [share for share in self._shares.values() if share.standing is Standing.RESERVE]
        for share in called:
            share.standing = Standing.COMING
        return [share.name for share in called]

    def look(self) -> None:
        """The caller is about to look up which chunks are here, and then to `add` those that are not.

        What arrives in between is remembered until the next look, and not fetched again.
        """
        self._lately.clear()

    def add(self, owner: int, pieces: Sequence[Piece]) -> Part:
        """Queue what `owner`, who is new, wants. Without pieces it is settled at once.

        Raises:
            BrokenPeer: another owner wants one of the chunks with another length; nothing is queued.
        """
        for ref in (ref for piece in pieces for ref in piece.chunks):
            if self._length_of(ref) != ref.length:
                raise BrokenPeer(
                    f"two manifests give chunk {ref.digest} different lengths", digest=str(ref.digest)
                )
        part = self._parts[owner] = Part(owner)
        for piece in pieces:
            new = [ref for ref in piece.chunks if self._want(ref, part)]
            for run in runs_of(new, piece.references):
                self._queue.append(run)
                self.queued_bytes += run.length
        if part.left == 0:
            self._settle(part, None)
        self._give_up_hopeless()
        return part

    def next(self, source: NodeName, now_s: float) -> Ask | Wait | Leave:
        """What a free stream of `source` is to do."""
        share = self._shares[source]
        if not share.is_in:
            return Leave()
        if now_s < share.resumes_at_s:
            return Wait(share.resumes_at_s)
        if share.is_probed or not self._queue:
            return Wait()
        room = self._in_flight_bytes_max - self._in_flight_bytes
        if room < REQUEST_BYTES_MIN and self._in_flight_bytes:
            return Wait()
        streams = sum(each.streams for each in self._shares.values() if each.standing is Standing.LIVE)
        runs = self._take(share, min(room, share.request_bytes(self.queued_bytes, streams)))
        return self._ask(share, runs, now_s) if runs else Wait()

    def kept(self, number: int, digests: Sequence[Digest], saved_bytes: int = 0) -> None:
        """Chunks of a request have arrived, and are in the store."""
        request = self._requests[number]
        brought = [digest for digest in dict.fromkeys(digests) if digest in request.left]
        came = [self._wanted.pop(digest) for digest in brought]
        request.left.difference_update(digests)
        travelled: dict[Part, int] = {}
        self._lately.update((digest, wanted.length) for digest, wanted in zip(brought, came, strict=True))
        for length, parts in came:
            travelled[parts[0]] = travelled.get(parts[0], 0) + length
            for part in parts:
                part.arrived += length
                part.left -= 1
        total = sum(travelled.values())
        request.kept_bytes += total
        self._in_flight_bytes -= total
        credit(travelled, min(saved_bytes, total), total)
        for part in dict.fromkeys(part for _, parts in came for part in parts):
            if part.left == 0:
                self._settle(part, None)

    def lacks(self, number: int, refs: Sequence[ChunkRef]) -> None:
        """The source says that it does not have `refs`."""
        self._requests[number].share.lacks.update(ref.digest for ref in refs)
        self._give_back(number, refs)

    def damaged(self, number: int, refs: Sequence[ChunkRef]) -> None:
        """The source says that its copies of `refs` are damaged."""
        share = self._requests[number].share
        share.damaged.update(ref.digest for ref in refs)
        for ref in refs:
            if len(self.corrupt) < CORRUPT_MAX:
                self.corrupt[share.name, ref.digest] = None
        self._give_back(number, refs)

    def resend(self, number: int, refs: Sequence[ChunkRef]) -> None:
        """A delta did not give `refs`: they are asked for again, without references."""
        self._give_back(number, refs)

    def ended(self, number: int, now_s: float) -> None:
        """A request has been answered to its end."""
        request = self._close(number, now_s)
        request.share.worked()
        self._requeue(request)

    def failed(self, number: int, error: ReplicatorError, *, now_s: float, jitter: float) -> None:
        """A request broke off; `jitter` is random, from 0 to 1."""
        request = self._close(number, now_s)
        request.share.failed(
            error,
            began_s=request.began_s,
            now_s=now_s,
            jitter=jitter,
            progress=request.kept_bytes > 0,
            silence_s=self._silence_s,
        )
        self._requeue(request)
        # What waits may have been left for this source alone.
        self._give_up_hopeless()

    def abort(self, error: ReplicatorError) -> None:
        """The pull ends here: every owner that is not settled fails with `error`."""
        for share in self._shares.values():
            share.leave(error)
        for part in list(self._parts.values()):
            self._settle(part, error)
        self._drop_unwanted()

    def settled(self) -> list[Settled]:
        """The owners that were settled since this was last asked."""
        settled, self._settled = self._settled, []
        return settled

    def _length_of(self, ref: ChunkRef) -> int:
        """Of the chunk, where it is wanted already or has arrived lately; else what `ref` says."""
        wanted = self._wanted.get(ref.digest)
        return self._lately.get(ref.digest, ref.length) if wanted is None else wanted.length

    def _want(self, ref: ChunkRef, part: Part) -> bool:
        """Note that `part` wants the chunk; whether nobody did before."""
        if ref.digest in self._lately:
            part.arrived += ref.length
            return False
        wanted = self._wanted.get(ref.digest)
        if wanted is None:
            self._wanted[ref.digest] = _Wanted(ref.length, [part])
            part.left += 1
            return True
        if part not in wanted.parts:
            wanted.parts.append(part)
            part.left += 1
        return False

    def _take(self, share: Share, bytes_max: int) -> list[Run]:
        """Runs from the front of the queue that are for this source, at least one if there is any."""
        spare = self._sparing(share)
        taken: list[Run] = []
        passed: list[Run] = []
        length = chunks = references = 0
        while self._queue:
            run = self._queue.popleft()
            if not share.has(run.chunks) or any(each.has(run.chunks) for each in spare):
                passed.append(run)
                continue
            chunks += len(run.chunks)
            references += len(run.references)
            fits = length + run.length <= bytes_max and chunks <= FETCH_CHUNKS_MAX
            if taken and not (fits and references <= REFERENCES_MAX):
                passed.append(run)
                break
            taken.append(run)
            length += run.length
        self._queue.extendleft(reversed(passed))
        self.queued_bytes -= length
        return taken

    def _ask(self, share: Share, runs: Sequence[Run], now_s: float) -> Ask:
        self._asked_total += 1
        request = _Request(share, runs, now_s)
        request.left.update(ref.digest for run in runs for ref in run.chunks)
        self._requests[self._asked_total] = request
        share.asked += 1
        length = sum(run.length for run in runs)
        self._in_flight_bytes += length
        return Ask(self._asked_total, pieces_of(runs), length)

    def _close(self, number: int, now_s: float) -> _Request:
        request = self._requests.pop(number)
        request.share.asked -= 1
        if request.kept_bytes:
            request.share.measure(request.kept_bytes, now_s - request.began_s)
        return request

    def _requeue(self, request: _Request) -> None:
        """What a request that is over did not bring goes back, in its order and with its references."""
        back: list[Run] = []
        for run in request.runs:
            left = [ref for ref in run.chunks if ref.digest in request.left]
            back += runs_of(left, run.references)
        self._put_back(back)

    def _give_back(self, number: int, refs: Sequence[ChunkRef]) -> None:
        """Chunks that the source said it does not bring."""
        request = self._requests[number]
        left = [ref for ref in refs if ref.digest in request.left]
        request.left.difference_update(ref.digest for ref in left)
        self._put_back(list(runs_of(left, ())))

    def _put_back(self, runs: Sequence[Run]) -> None:
        if not runs:
            return
        length = sum(run.length for run in runs)
        self._in_flight_bytes -= length
        self.queued_bytes += length
        self._queue.extendleft(reversed(runs))
        self._drop_unwanted()
        self._give_up_hopeless()

    def _give_up_hopeless(self) -> None:
        """Give up what waits and nobody can deliver; note whether only nodes in reserve may have some of it."""
        shares = [share for share in self._shares.values() if share.is_in]
        self.needs_others = False
        if any(share.standing is Standing.LIVE and not share.lacks and not share.damaged for share in shares):
            return
        hopeless: list[ChunkRef] = []
        for run in self._queue:
            standings = {share.standing for share in shares if share.has(run.chunks)}
            hopeless += [] if standings else run.chunks
            self.needs_others |= Standing.RESERVE in standings and Standing.LIVE not in standings
        for ref in hopeless:
            for part in self._wanted[ref.digest].parts:
                self._settle(part, self._error_for(ref))
        if hopeless:
            self._drop_unwanted()

    def _error_for(self, ref: ChunkRef) -> ReplicatorError:
        named = str(ref.digest)
        for share in self._shares.values():
            if share.error is not None and share.has([ref]):
                return share.error
        for share in self._shares.values():
            if ref.digest in share.damaged:
                return Corrupt(f"chunk {named} is damaged at '{share.name}'", digest=named)
        return NotFound(f"no source has chunk {named} any more", digest=named)

    def _drop_unwanted(self) -> None:
        """Forget what waits for owners that have failed."""
        kept = deque(run for run in self._queue if any(self._is_wanted(ref) for ref in run.chunks))
        if len(kept) == len(self._queue):
            return
        for run in self._queue:
            if not any(self._is_wanted(ref) for ref in run.chunks):
                self.queued_bytes -= run.length
                for ref in run.chunks:
                    del self._wanted[ref.digest]
        self._queue = kept

    def _is_wanted(self, ref: ChunkRef) -> bool:
        return not all(part.is_settled for part in self._wanted[ref.digest].parts)

    def _settle(self, part: Part, error: ReplicatorError | None) -> None:
        if not part.is_settled:
            part.is_settled = True
            del self._parts[part.owner]
            self._settled.append(Settled(part.owner, error))

    def _sparing(self, share: Share) -> list[Share]:
        """The sources that what they have is left to, where this one would hold up the finish.

        All of them are faster, so the fastest that has a chunk is never spared it.
        """
        faster = [each for each in self._shares.values() if each.is_faster_than(share)]
        rate = sum(each.total_rate_bytes_per_s for each in faster)
        return faster if share.holds_up(self.left_bytes, rate) else []
