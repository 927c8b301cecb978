"""Measures one store, in a process of its own: `python -m benchmarks.growth.probe FOLDER ROUND`."""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.growth.filling import CROWDED_PREFIX, SEGMENT_BYTES, SMALL_CHUNK_BYTES, crowded_name
from benchmarks.memory import peak_rss_bytes
from replicator.data_plane.ports import Committed, NewVersion
from replicator.data_plane.settings import NodeSettings
from replicator.data_plane.storage.rocks_catalog import RocksCatalog
from replicator.data_plane.storage.store import NodeStore, OpenedStore, open_store
from replicator.kernel.chunker import DEFAULT_CHUNKING
from replicator.kernel.digest import Digest
from replicator.kernel.errors import ReplicatorError, StoreFailed
from replicator.kernel.manifest import ChunkRef, ManifestBuilder
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.runtime.bootstrap import raise_open_files_limit, tune_malloc
from replicator.runtime.clock import SystemClock

CACHE_BYTES: int = NodeSettings.model_fields["catalog_cache_bytes"].default
REAL_OBJECTS = 2000
_APART = 20
_COLD_GETS = 1000
_HOT_GETS = 200
_COLD_PAGES = 25
_PAGES = 25
_PASSES = 5
_PAGE_ITEMS = 1000
_IN_FLIGHT = 32
_READ_BYTES = 1024 * 1024
_T = TypeVar("_T")


class Reading(NamedTuple):
    """What one store costs. Times of an operation in microseconds, of processor time where the name says cpu."""

    put_us: float
    put_cpu_us: float
    put_cold_us: float
    get_hot_us: float
    get_cold_us: float
    page_us: float
    page_cold_us: float
    crowded_page_us: float
    groups_page_us: float
    open_cold_s: float
    open_again_s: float
    close_s: float
    catalog_mb: float
    rss_peak_mb: float


def open_growing(folder: Path) -> OpenedStore:
    """The store in `folder`, with the settings that a node has by default."""
    return open_store(
        str(folder),
        node_name="node1",
        open_catalog=lambda path: RocksCatalog(path, cache_bytes=CACHE_BYTES),
        clock=SystemClock(),
        segment_bytes_max=SEGMENT_BYTES,
        reserve_bytes=0,
        on_failure=_fail,
    )


def real_names() -> list[str]:
    """The objects whose bytes are there."""
    source = random.Random("real")
    apart = [f"apart-{number:03}" for number in range(_APART)]
    return apart + [crowded_name(source) for _ in range(REAL_OBJECTS - _APART)]


def put(store: NodeStore, names: Sequence[str], seed: str) -> None:
    """Commit a small object under each name, some of them at the same time; returns when all are durable."""
    source = random.Random(seed)
    slots = threading.Semaphore(_IN_FLIGHT)
    failures: list[ReplicatorError] = []

    def settle(_: Committed | None, error: ReplicatorError | None) -> None:
        if error is not None:
            failures.append(error)
        slots.release()

    for name in names:
        payload = source.randbytes(SMALL_CHUNK_BYTES)
        slots.acquire()
        store.commit(_new_version(name, payload), settle)
    for _ in range(_IN_FLIGHT):
        slots.acquire()
    if failures:
        raise failures[0]


def measure(folder: Path, round_number: int, puts: int) -> Reading:
    """Open the store with nothing of it in memory and use it; then again with its catalog in the page cache."""
    names = real_names()
    random.Random(round_number).shuffle(names)
    _forget_pages(folder)
    opened, open_cold = _timed(lambda: open_growing(folder))
    store = opened.store
    get_cold = _median_get(store, names[:_COLD_GETS])
    page_cold = _median_page(store, "page-cold", _COLD_PAGES)
    put_cold, _ = _mean_put(store, round_number, puts // 10)
    _read_into_memory(folder / "catalog")
    get_hot = _best(_median_get, store, names[:_HOT_GETS])
    page = _best(_median_page, store, "page", _PAGES)
    crowded = _best(_median_grouped, store, "", count=_PAGES)
    groups = _best(_median_grouped, store, CROWDED_PREFIX, count=_PAGES // 5)
    put_wall, put_cpu = _mean_put(store, round_number, puts)
    peak = peak_rss_bytes(os.getpid()) or 0
    close = _seconds(opened.close)
    opened, open_again = _timed(lambda: open_growing(folder))
    opened.close()
    catalog = sum(path.stat().st_size for path in (folder / "catalog").iterdir())
    return Reading(
        put_us=put_wall * 1e6,
        put_cpu_us=put_cpu * 1e6,
        put_cold_us=put_cold * 1e6,
        get_hot_us=get_hot * 1e6,
        get_cold_us=get_cold * 1e6,
        page_us=page * 1e6,
        page_cold_us=page_cold * 1e6,
        crowded_page_us=crowded * 1e6,
        groups_page_us=groups * 1e6,
        open_cold_s=open_cold,
        open_again_s=open_again,
        close_s=close,
        catalog_mb=catalog / 1e6,
        rss_peak_mb=peak / 1e6,
    )


def _best(measured: Callable[..., float], *arguments: object, **options: object) -> float:
    """The least of some passes: what else the machine does only ever adds."""
    return min(measured(*arguments, **options) for _ in range(_PASSES))


def _median_get(store: NodeStore, names: Sequence[str]) -> float:
    return statistics.median(_seconds(_get, store, ObjectId(name)) for name in names)


def _get(store: NodeStore, object_id: ObjectId) -> None:
    version = store.head(DEFAULT_BUCKET, object_id)
    assert version is not None
    for refs in store.entries(store.manifest(version.manifest)):
        store.read(refs)


def _median_page(store: NodeStore, seed: str, count: int) -> float:
    """Seconds of a page without groups, of those at `count` random places."""
    source = random.Random(seed)
    places = [crowded_name(source) for _ in range(count)]
    return statistics.median(
        _seconds(store.list_objects, DEFAULT_BUCKET, "", after=place, limit=_PAGE_ITEMS) for place in places
    )


def _median_grouped(store: NodeStore, prefix: str, count: int) -> float:
    """Seconds of the first page of groups, again and again."""
    return statistics.median(
        _seconds(store.list_objects, DEFAULT_BUCKET, prefix, delimiter="/", limit=_PAGE_ITEMS)
        for _ in range(count)
    )


def _mean_put(store: NodeStore, round_number: int, count: int) -> tuple[float, float]:
    source = random.Random(f"put {round_number} {time.time_ns()}")
    names = [crowded_name(source) for _ in range(count)]
    cpu = time.process_time()
    wall = _seconds(put, store, names, names[0])
    return wall / count, (time.process_time() - cpu) / count


def _new_version(name: str, payload: bytes) -> NewVersion:
    digest = Digest.of(payload)
    builder = ManifestBuilder(DEFAULT_CHUNKING)
    builder.add(ChunkRef(digest, len(payload)))
    return NewVersion(
        object_id=ObjectId.parse(name),
        bucket=DEFAULT_BUCKET,
        manifest=builder.finish()[0],
        content_type="application/octet-stream",
        chunks=[(digest, payload)],
    )


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    started = time.perf_counter()
    done = work()
    return done, time.perf_counter() - started


def _seconds(work: Callable[..., object], *arguments: object, **options: object) -> float:
    return _timed(lambda: work(*arguments, **options))[1]


def _forget_pages(folder: Path) -> None:
    """Have the kernel drop what it holds of the files, so that they are read from the disk."""
    for path in (*(folder / "catalog").iterdir(), *(folder / "segments").iterdir()):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _read_into_memory(folder: Path) -> None:
    for path in folder.glob("*.sst"):
        with path.open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass


def _fail(failure: StoreFailed) -> None:
    print(failure.message, file=sys.stderr)


def main() -> None:
    """The process: prints the reading as JSON."""
    folder, round_number, puts = sys.argv[1:]
    tune_malloc()
    raise_open_files_limit()
    print(json.dumps(measure(Path(folder), int(round_number), int(puts))._asdict()))


if __name__ == "__main__":
    main()
