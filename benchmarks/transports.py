"""Both transports side by side: an object from a node that is a process of its own, verified, and verified and stored.

    python -m benchmarks.transports [--mebibytes 1024] [--rounds 5] [--streams 1 2 4]

The rounds of the transports alternate, behind one of each that is not counted: it touches the memory and the files.
Rates are medians with their extremes. Seconds of processor time, of the source and of the destination, say more
where other work goes on beside.
docs/adr/0011-transports.md has what came of it.
"""

from __future__ import annotations

import argparse
import functools
import os
import queue
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.memory import peak_rss_bytes
from replicator.data_plane.ports import ChunkReader, Store
from replicator.data_plane.replication.opening import Transport, peer_opener
from replicator.data_plane.replication.ports import Offer, Peer, Piece, Wanted
from replicator.data_plane.replication.unpack import Unpacker
from replicator.data_plane.storage.rocks_catalog import RocksCatalog
from replicator.data_plane.storage.store import open_store
from replicator.kernel.clock import Clock
from replicator.kernel.manifest import ChunkRef, decode_page
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.runtime.bootstrap import tune_malloc
from replicator.runtime.clock import SystemClock
from replicator.testing.processes import ServerProcess, node_process
from replicator.wire.sessions import TaskSource

MEBIBYTE = 1024 * 1024
FETCH_BYTES = 16 * MEBIBYTE
TRANSPORTS: tuple[Transport, ...] = ("http", "grpc")
TIMEOUT_S = 60.0


class Fetching:
    """One object of a source, fetched over and over."""

    def __init__(self, source: TaskSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        peer = self._open("http")
        (offer,) = peer.offers([Wanted(DEFAULT_BUCKET, ObjectId("object"))], hold_s=600)
        assert isinstance(offer, Offer)
        pages = [
            decode_page(peer.page(offer.manifest, index), offer.manifest, index)
            for index in range(offer.manifest.page_count)
        ]
        refs = offer.manifest.entries or tuple(ref for page in pages for ref in page)
        peer.close()
        self._batches = list(_batches(refs))
        self.bytes = offer.manifest.size

    def seconds(
        self, transport: Transport, *, streams: int, store: Store | None, reader: ChunkReader
    ) -> float:
        """How long it takes to have every chunk verified and, with `store`, durable in it."""
        todo: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        for batch in self._batches:
            todo.put(Piece(batch))
        unpacker = Unpacker(reader)
        began_s = self._clock.monotonic_s()

        def stream() -> int:
            peer = self._open(transport)
            try:
                return sum(_fetch(peer, piece, unpacker, store) for piece in _drained(todo))
            finally:
                peer.close()

        with ThreadPoolExecutor(streams) as threads:
            received = sum(each.result() for each in [threads.submit(stream) for _ in range(streams)])
        if store is not None:
            store.checkpoint()
        assert received == self.bytes
        return self._clock.monotonic_s() - began_s

    def _open(self, transport: Transport) -> Peer:
        return peer_opener(transport, timeout_s=TIMEOUT_S, clock=self._clock)(self._source)


def _fetch(peer: Peer, piece: Piece, unpacker: Unpacker, store: Store | None) -> int:
    received = 0
    for delivery in peer.fetch([piece], compress=False):
        chunks = unpacker.unpack([piece], delivery).chunks
        if store is not None:
            store.add(chunks)
        received += sum(len(memoryview(payload)) for _, payload in chunks)
    return received


def _drained(todo: queue.SimpleQueue[Piece]) -> Iterator[Piece]:
    while True:
        try:
            yield todo.get_nowait()
        except queue.Empty:
            return


def _batches(refs: Sequence[ChunkRef]) -> Iterator[list[ChunkRef]]:
    batch: list[ChunkRef] = []
    length = 0
    for ref in refs:
        batch.append(ref)
        length += ref.length
        if length >= FETCH_BYTES:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _upload(source: ServerProcess, mebibytes: int) -> None:
    rng = random.Random(1)
    body = (rng.randbytes(MEBIBYTE) for _ in range(mebibytes))
    httpx.put(f"{source.url}/objects/object", content=body, timeout=600.0).raise_for_status()


class Round(NamedTuple):
    """Seconds that one took: by the clock, and of processor time at each end."""

    seconds: float
    source: float
    destination: float


def _round(fetch: Callable[[], float], source_pid: int) -> Round:
    source_s, destination_s = _cpu_seconds(source_pid), _cpu_seconds(os.getpid())
    seconds = fetch()
    return Round(seconds, _cpu_seconds(source_pid) - source_s, _cpu_seconds(os.getpid()) - destination_s)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _opened(folder: Path, clock: Clock) -> Iterator[Store]:
    opened = open_store(
        str(folder / "store"),
        node_name="benchmark",
        open_catalog=lambda path: RocksCatalog(path, cache_bytes=64 * MEBIBYTE),
        clock=clock,
        segment_bytes_max=512 * MEBIBYTE,
        reserve_bytes=0,
        on_failure=lambda failure: print(failure.message),
    )
    try:
        yield opened.store
    finally:
        opened.close()
        shutil.rmtree(folder / "store")


def main() -> None:
    """Prints a row for each case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    tune_malloc()
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder, node_process("source", Path(folder)) as source:
        ready = source.events("node.ready")[0]
        _upload(source, options.mebibytes)
        fetching = Fetching(TaskSource(node="source", base_url=ready["url"], rpc_url=ready["rpc_url"]), clock)
        for stored in (False, True):
            for streams in options.streams:
                place = Path(folder)
                rounds: dict[Transport, list[Round]] = {transport: [] for transport in TRANSPORTS}
                for _ in range(options.rounds + 1):
                    for transport in TRANSPORTS:
                        with _opened(place, clock) as store:
                            fetch = functools.partial(
                                fetching.seconds,
                                transport,
                                streams=streams,
                                store=store if stored else None,
                                reader=store,
                            )
                            rounds[transport].append(_round(fetch, source.pid))
                print(f"{'verified and stored' if stored else 'verified'}, {streams} streams")
                for transport in TRANSPORTS:
                    print(_row(fetching.bytes, transport, rounds[transport][1:]), flush=True)
        for name, pid in (("source", source.pid), ("destination", os.getpid())):
            print(f"peak memory of the {name}: {(peak_rss_bytes(pid) or 0) / 1e6:.0f} MB")


def _row(size: int, transport: Transport, rounds: Sequence[Round]) -> str:
    rates = sorted(size / each.seconds / 1e9 for each in rounds)
    gib = size / 1024**3
    source, destination = (
        statistics.median(getattr(each, end) for each in rounds) / gib for end in ("source", "destination")
    )
    return (
        f"  {transport}: {statistics.median(rates):.2f} GB/s ({rates[0]:.2f} to {rates[-1]:.2f}), "
        f"processor s/GiB: {source:.2f} + {destination:.2f} = {source + destination:.2f}"
    )


if __name__ == "__main__":
    main()
