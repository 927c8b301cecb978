"""Many small writes and some large ones at the same time, with an oracle that hears of every answer."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from replicator.testing.oracle import Oracle, content_of

TIMEOUT_S = 60.0
_SMALL_WRITERS = 6
_IDS_PER_WRITER = 12
_SMALL_BYTES = (0, 1, 100, 5_000, 70_000, 300_000)
_LARGE_BYTES = 24 * 1024 * 1024
_PIECE_BYTES = 128 * 1024


class Ingest:
    """Writes to one node until the node is gone or `limit` writes were acknowledged.

    Args:
        seed: decides every size, content and order.
        on_acknowledged: told after each acknowledgement how many there are in all.
    """

    def __init__(
        self,
        base_url: str,
        oracle: Oracle,
        *,
        seed: int,
        limit: int,
        on_acknowledged: Callable[[int], None] = lambda _: None,
    ) -> None:
        url = urlsplit(base_url)
        assert url.hostname is not None
        self._address = (url.hostname, url.port)
        self._oracle = oracle
        self._seed = seed
        self._limit = limit
        self._on_acknowledged = on_acknowledged
        self._over = threading.Event()
        self._shared = [random.Random(f"{seed}/{index}").randbytes(40_000) for index in range(5)]

    def run(self) -> None:
        """Write from several threads; returns when they have ended."""
        with ThreadPoolExecutor(_SMALL_WRITERS + 1) as threads:
            running = [threads.submit(self._write_small, index) for index in range(_SMALL_WRITERS)]
            running.append(threads.submit(self._write_large))
        for each in running:
            each.result()

    def _write_small(self, writer: int) -> None:
        rng = random.Random(f"{self._seed}/small/{writer}")
        self._repeat(lambda connection: self._one_small(connection, writer, rng))

    def _one_small(self, connection: http.client.HTTPConnection, writer: int, rng: random.Random) -> None:
        object_id = f"small/{writer}/{rng.randrange(_IDS_PER_WRITER)}"
        if rng.random() < 0.1:
            self._request(connection, "DELETE", object_id, None, [])
            return
        data = rng.choice(self._shared) if rng.random() < 0.2 else rng.randbytes(rng.choice(_SMALL_BYTES))
        self._request(connection, "PUT", object_id, content_of(data), [data])

    def _write_large(self) -> None:
        rng = random.Random(f"{self._seed}/large")
        self._repeat(lambda connection: self._one_large(connection, rng))

    def _one_large(self, connection: http.client.HTTPConnection, rng: random.Random) -> None:
        data = rng.randbytes(_LARGE_BYTES)
        pieces = [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]
        self._request(connection, "PUT", f"large/{rng.randrange(3)}", content_of(data), pieces)

    def _repeat(self, one: Callable[[http.client.HTTPConnection], None]) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        try:
            while not self._over.is_set():
                one(connection)
        except (OSError, http.client.HTTPException):
            # The node is gone, which is what the test is about; the oracle knows what was not answered.
            self._over.set()
        finally:
            connection.close()

    def _request(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        object_id: str,
        content: bytes | None,
        pieces: Sequence[bytes],
    ) -> None:
        self._oracle.trying(object_id, content)
        length = str(sum(map(len, pieces)))
        connection.request(method, f"/objects/{object_id}", _each(pieces), {"Content-Length": length})
        answer = connection.getresponse()
        answer.read()
        if answer.status in (http.client.OK, http.client.CREATED, http.client.NO_CONTENT):
            total = self._oracle.acknowledged(object_id, content)
            if total >= self._limit:
                self._over.set()
            self._on_acknowledged(total)
        elif answer.status != http.client.NOT_FOUND:
            self._oracle.refused(object_id, content)


def _each(pieces: Sequence[bytes]) -> Iterator[bytes]:
    yield from pieces
