"""Traffic on one node while something happens to it, with an oracle that hears of every answer.

Each object has one writer, so what a read may find is known exactly. A new kind of request is one more line in
`OPERATIONS`, or in `UPKEEP`, which a caller adds.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from replicator.testing.oracle import Content, Oracle, content_of
from replicator.testing.waiting import wait_until

TIMEOUT_S = 60.0
WRITERS = 5
_IDS_PER_WRITER = 10
_SMALL_BYTES = (0, 1, 100, 5_000, 70_000, 300_000)
_LARGE_BYTES = 6 * 1024 * 1024
_PIECE_BYTES = 128 * 1024
_ACKNOWLEDGED = frozenset({http.client.OK, http.client.CREATED, http.client.NO_CONTENT})


class NodeGone(Exception):
    """The node does not answer, or says that its store has failed: the writer is done."""


class BrokenOff(Exception):
    """The connection ended before the answer did."""


class Traffic:
    """Reads and writes from several threads while the context lasts, or until the node is gone.

    Args:
        seed: decides every size, content and order within a writer.
        tally: counts what was asked and answered.
        operations: what the writers do; `OPERATIONS` where none are given.

    Leaving the context waits for the writers and raises `AssertionError` for the first wrong answer: a read of
    other bytes than it should find, a status that nothing explains.
    """

    def __init__(
        self,
        base_url: str,
        oracle: Oracle,
        *,
        seed: int,
        tally: Counter[str] | None = None,
        operations: Sequence[Operation] | None = None,
    ) -> None:
        self.tally = Counter() if tally is None else tally
        self.trouble = threading.Event()
        """Set before a fault: from then on the node may refuse, break off and die. Wrong bytes stay wrong."""
        self.darkness = threading.Event()
        """Set before a power cut: nobody hears from a machine without power, so no answer counts any more."""
        self._oracle = oracle
        self._seed = seed
        self._operations = OPERATIONS if operations is None else operations
        self._over = threading.Event()
        self._before = oracle.acknowledged_total
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(WRITERS)
        self._writers: list[Future[None]] = []
        self._clients = [
            Writer(number, base_url, oracle, trouble=self.trouble, darkness=self.darkness)
            for number in range(WRITERS)
        ]

    def __enter__(self) -> Self:
        self._writers = [self._threads.submit(self._write, client) for client in self._clients]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._threads.shutdown()
        if kind is None:
            for writer in self._writers:
                writer.result()

    @property
    def has_ended(self) -> bool:
        """Whether no writer goes on."""
        return all(writer.done() for writer in self._writers)

    def wait_acknowledged(self, count: int) -> None:
        """Wait until so many writes were acknowledged since the start, or nobody writes any more."""

        def reached() -> bool:
            return self.has_ended or self._oracle.acknowledged_total - self._before >= count

        wait_until(reached, f"{count} writes are acknowledged")

    def wait_answered(self, count: int) -> None:
        """Wait until so many requests were answered, whatever the answers, or nobody asks any more."""

        def reached() -> bool:
            return self.has_ended or sum(writer.answered for writer in self._clients) >= count

        wait_until(reached, f"{count} requests are answered")

    def wait_ended(self) -> None:
        """Wait until no writer goes on."""
        wait_until(lambda: self.has_ended, "the node is gone")

    def _write(self, writer: Writer) -> None:
        rng = random.Random(f"{self._seed}/{writer.name}")
        weights = [operation.weight for operation in self._operations]
        try:
            while not self._over.is_set():
                (operation,) = rng.choices(self._operations, weights)
                try:
                    operation.run(writer, rng)
                except BrokenOff:
                    # What was asked stays unanswered; the node may still be there for the next request.
                    writer.tally["broken off"] += 1
        except NodeGone:
            # The caller caused it: without `trouble` it would have been an `AssertionError`.
            return
        finally:
            writer.close()
            with self._lock:
                self.tally.update(writer.tally)


class Writer:
    """One connection to a node, and the objects that nobody else writes."""

    def __init__(
        self,
        number: int,
        base_url: str,
        oracle: Oracle,
        *,
        trouble: threading.Event,
        darkness: threading.Event,
    ) -> None:
        url = urlsplit(base_url)
        assert url.hostname is not None
        self.name = f"writer{number}"
        self._connection = http.client.HTTPConnection(url.hostname, url.port, timeout=TIMEOUT_S)
        self._oracle = oracle
        self._trouble = trouble
        self._darkness = darkness
        self.tally: Counter[str] = Counter()
        self.answered = 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def choose(self, rng: random.Random) -> str:
        """One of this writer's objects."""
        return f"{self.name}/{rng.randrange(_IDS_PER_WRITER)}"

    def put(self, object_id: str, data: bytes) -> None:
        """Write an object."""
        self._change("PUT", object_id, content_of(data), data)

    def delete(self, object_id: str) -> None:
        """Delete an object."""
        self._change("DELETE", object_id, None, b"")

    def get(self, object_id: str) -> None:
        """Read an object and hold it against the record."""
        status, body = self._exchange("GET", f"/objects/{object_id}", b"")
        self.tally[f"get.{status}"] += 1
        if status == http.client.OK:
            self._oracle.saw(object_id, hashlib.sha256(body).digest())
        elif status == http.client.NOT_FOUND:
            self._oracle.saw(object_id, None)
        else:
            self._explain(f"GET {object_id}", status, body)

    def post(self, path: str, **asked: object) -> None:
        """Ask for upkeep, which changes no object; a conflict is with the same that runs already."""
        status, body = self._exchange("POST", path, json.dumps(asked).encode())
        self.tally[f"{path}.{status}"] += 1
        if status not in (*_ACKNOWLEDGED, http.client.ACCEPTED, http.client.CONFLICT):
            self._explain(f"POST {path}", status, body)

    def _change(self, method: str, object_id: str, content: Content, data: bytes) -> None:
        self._oracle.trying(object_id, content)
        status, body = self._exchange(method, f"/objects/{object_id}", data)
        self.tally[f"{method.lower()}.{status}"] += 1
        if status in _ACKNOWLEDGED and not self._darkness.is_set():
            self._oracle.acknowledged(object_id, content)
        elif status in _ACKNOWLEDGED:
            self.tally["not heard"] += 1
        elif status == http.client.NOT_FOUND and content is None:
            self._oracle.refused(object_id, None)
            self._oracle.saw(object_id, None)
        elif status == http.client.INSUFFICIENT_STORAGE:
            self._oracle.refused(object_id, content)
            self._explain(f"{method} {object_id}", status, body)
        else:
            # 503: whether it was kept shows only after a restart.
            self._explain(f"{method} {object_id}", status, body)

    def _exchange(self, method: str, path: str, data: bytes) -> tuple[int, bytes]:
        try:
            self._connection.request(method, path, _pieces(data), _headers(method, data))
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if not self._trouble.is_set():
                raise AssertionError(f"{method} {path} was broken off") from error
            gone = isinstance(error, ConnectionRefusedError)
            raise (NodeGone if gone else BrokenOff)(f"{method} {path}") from error
        self.answered += 1
        return answer.status, body

    def _explain(self, what: str, status: int, body: bytes) -> None:
        assert self._trouble.is_set(), f"{what} was answered with {status}: {body[:500]!r}"
        assert status in (500, 503, 507), f"{what} was answered with {status}: {body[:500]!r}"
        code = json.loads(body)["code"]
        assert code in ("corrupt", "store-failed", "unavailable", "quota-exceeded"), f"{what}: {body[:500]!r}"
        if code == "store-failed":
            raise NodeGone(f"{what}: {body[:500]!r}")


@dataclass(frozen=True, slots=True)
class Operation:
    """Something a writer does, as often as its weight says."""

    name: str
    weight: int
    run: Callable[[Writer, random.Random], None]


def _put_small(writer: Writer, rng: random.Random) -> None:
    writer.put(writer.choose(rng), rng.randbytes(rng.choice(_SMALL_BYTES)))


def _put_shared(writer: Writer, rng: random.Random) -> None:
    """The same content from every writer, so that one chunk has many references."""
    writer.put(writer.choose(rng), random.Random(rng.randrange(5)).randbytes(40_000))


def _put_large(writer: Writer, rng: random.Random) -> None:
    writer.put(writer.choose(rng), rng.randbytes(_LARGE_BYTES))


OPERATIONS: Sequence[Operation] = (
    Operation("put small", 50, _put_small),
    Operation("put shared", 10, _put_shared),
    Operation("put large", 2, _put_large),
    Operation("delete", 12, lambda writer, rng: writer.delete(writer.choose(rng))),
    Operation("get", 26, lambda writer, rng: writer.get(writer.choose(rng))),
)
UPKEEP: Sequence[Operation] = (
    Operation("collect", 1, lambda writer, _: writer.post("/store/gc", grace_s=0)),
    Operation("compact", 1, lambda writer, _: writer.post("/store/compact")),
    Operation("scrub", 1, lambda writer, _: writer.post("/store/scrub")),
)


def _headers(method: str, data: bytes) -> dict[str, str]:
    length = {"Content-Length": str(len(data))}
    return length | {"Content-Type": "application/json"} if method == "POST" else length


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), _PIECE_BYTES):
        yield data[at : at + _PIECE_BYTES]
