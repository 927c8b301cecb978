"""Whatever comes, and however much of it: a node stays within its memory."""

import hashlib
import random
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Protocol

import httpx
import pytest

from replicator.testing.bulk import Stored, get_digest, put_blocks, put_each
from replicator.testing.processes import ServerProcess

MEBIBYTE = 1024 * 1024
LONG_RUN_S = 3600
WARM_UP_BYTES = 256 * MEBIBYTE
GROWTH_BYTES_MAX = 64 * MEBIBYTE
PAGE_OBJECTS = 1000
_POOL = random.Random("pool").randbytes(24 * MEBIBYTE)


class Form(Protocol):
    object_bytes: int
    objects: int
    uploads: int
    upload_bytes: int


def repetitive(size: int, seed: str) -> Iterator[memoryview]:
    """`size` bytes that repeat, but neither evenly nor wholly: most chunks are known, some are new."""
    rng = random.Random(seed)
    pool = memoryview(_POOL)
    while size:
        start = rng.randrange(len(pool) - 3 * MEBIBYTE)
        block = pool[start : start + min(size, 3 * MEBIBYTE)]
        size -= len(block)
        yield block


@contextmanager
def unread_requests(node: ServerProcess, count: int, request: bytes) -> Iterator[None]:
    """`count` connections that send a request and never read the answer."""
    with ExitStack() as held:
        for _ in range(count):
            connection = held.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", node.port))
            connection.sendall(request)
        yield


def store_and_compare(node: ServerProcess, object_id: str, size: int) -> None:
    sent = hashlib.sha256()

    def hashed() -> Iterator[memoryview]:
        for block in repetitive(size, object_id):
            sent.update(block)
            yield block

    assert put_blocks(node.url, object_id, hashed(), size=size).status == 201
    assert get_digest(node.url, object_id) == sent.digest()


@pytest.mark.timeout(LONG_RUN_S)
def test_memory_does_not_grow_with_an_object(capped_node: ServerProcess, form: Form) -> None:
    store_and_compare(capped_node, "warm-up", WARM_UP_BYTES)
    warm = capped_node.peak_memory_bytes()
    store_and_compare(capped_node, "large", form.object_bytes)
    assert capped_node.peak_memory_bytes() - warm < GROWTH_BYTES_MAX


@pytest.mark.timeout(LONG_RUN_S)
def test_a_long_listing_is_whole_and_in_order(capped_node: ServerProcess, form: Form) -> None:
    ids = [f"list/{number:07}" for number in range(form.objects)]
    put_each(capped_node.url, ids, connections=32)
    found: list[str] = []
    seconds: list[float] = []
    with httpx.Client(base_url=capped_node.url, trust_env=False, timeout=30) as client:
        cursor: str | None = None
        while cursor is not None or not found:
            began = time.perf_counter()
            query = {"prefix": "list/", "limit": str(PAGE_OBJECTS)} | ({"cursor": cursor} if cursor else {})
            page = client.get("/objects", params=query).json()
            seconds.append(time.perf_counter() - began)
            found += [each["object_id"] for each in page["objects"]]
            cursor = page["next_cursor"]
    assert found == ids
    tenth = max(1, len(seconds) // 10)
    first, last = statistics.median(seconds[:tenth]), statistics.median(seconds[-tenth:])
    print(f"pages of {PAGE_OBJECTS}: first tenth {first * 1e3:.1f} ms, last tenth {last * 1e3:.1f} ms")


@pytest.mark.timeout(LONG_RUN_S)
def test_a_crowd_of_uploads_is_stored_or_told_to_come_back(capped_node: ServerProcess, form: Form) -> None:
    def body(number: int) -> bytes:
        return number.to_bytes(8, "big") + random.Random(number).randbytes(form.upload_bytes - 8)

    def put(number: int) -> Stored:
        data = body(number)
        return put_blocks(capped_node.url, f"crowd/{number}", [data], size=len(data))

    with ThreadPoolExecutor(form.uploads) as threads:
        answers = list(threads.map(put, range(form.uploads)))
    for number, answer in enumerate(answers):
        assert answer.status == 201 or (answer.status == 503 and answer.retry_after)
        stored = get_digest(capped_node.url, f"crowd/{number}")
        assert stored == (hashlib.sha256(body(number)).digest() if answer.status == 201 else None)
    kept = sum(answer.status == 201 for answer in answers)
    print(f"{kept} of {form.uploads} uploads stored at once, the rest told to come back")
    assert kept > 0


def test_a_crowd_of_downloads_that_nobody_takes_is_not_held(capped_node: ServerProcess) -> None:
    data, small = random.Random("download").randbytes(8 * MEBIBYTE), b"small"
    put_blocks(capped_node.url, "wanted", [data], size=len(data))
    put_blocks(capped_node.url, "small", [small], size=len(small))
    request = b"GET /objects/wanted HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        unread_requests(capped_node, 600, request),
        httpx.Client(base_url=capped_node.url, trust_env=False, timeout=60) as client,
    ):
        # Answered behind all of them, so by then each has been given what it will get without being read.
        assert client.get("/objects/small").content == small
        assert client.put("/objects/another", content=small).status_code == 201
        answer = client.get("/objects/wanted")
        # Its turn may not come; it is told so, in time.
        assert answer.content == data or (answer.status_code == 503 and answer.headers["retry-after"])
        assert client.get("/objects/another").content == small
    assert get_digest(capped_node.url, "wanted") == hashlib.sha256(data).digest()
