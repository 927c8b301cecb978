"""Damage to files of a store, and what a node may then answer: the right bytes or a typed error, never others."""

from __future__ import annotations

import http.client
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef
from replicator.testing.oracle import TIMEOUT_S, Content, content_of

PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Damage:
    """One way to harm a file; `strike` says what it did."""

    name: str
    strike: Callable[[Path, random.Random], str]


def flip_bit(file: Path, *, offset: int, bit: int) -> str:
    """Turn one bit of `file` over; says which."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        (byte,) = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([byte ^ 1 << bit]))
    return f"bit {bit} of byte {offset}"


def spoil_chunk(data_dir: Path, data: bytes, refs: Sequence[ChunkRef], digest: Digest) -> str:
    """Turn a bit over, on disk, of a chunk of an object that has the bytes `data` and the chunks `refs`.

    The node's store must keep chunks as they are. Says what was done.
    """
    index = next(index for index, ref in enumerate(refs) if ref.digest == digest)
    start = sum(ref.length for ref in refs[:index])
    chunk = data[start : start + refs[index].length]
    done = []
    for segment in sorted((data_dir / "segments").iterdir()):
        at = segment.read_bytes().find(chunk)
        if at >= 0:
            done.append(f"{segment.name}: {flip_bit(segment, offset=at + len(chunk) // 2, bit=0)}")
    assert done, f"chunk {digest} is in no segment of {data_dir}"
    return "; ".join(done)


def _flip(file: Path, rng: random.Random) -> str:
    return flip_bit(file, offset=rng.randrange(file.stat().st_size), bit=rng.randrange(8))


def _zero_page(file: Path, rng: random.Random) -> str:
    page = rng.randrange(-(-file.stat().st_size // PAGE_BYTES))
    length = min(PAGE_BYTES, file.stat().st_size - page * PAGE_BYTES)
    with file.open("r+b") as opened:
        opened.seek(page * PAGE_BYTES)
        opened.write(bytes(length))
    return f"page {page}"


def _swap_pages(file: Path, rng: random.Random) -> str:
    count = file.stat().st_size // PAGE_BYTES
    one, other = rng.randrange(max(1, count)), rng.randrange(max(1, count))
    with file.open("r+b") as opened:
        contents = [_page(opened.fileno(), page) for page in (one, other)]
        os.pwrite(opened.fileno(), contents[1], one * PAGE_BYTES)
        os.pwrite(opened.fileno(), contents[0], other * PAGE_BYTES)
    return f"pages {one} and {other}"


def _page(descriptor: int, page: int) -> bytes:
    return os.pread(descriptor, PAGE_BYTES, page * PAGE_BYTES)


def _cut(file: Path, rng: random.Random) -> str:
    length = rng.randrange(file.stat().st_size)
    os.truncate(file, length)
    return f"at byte {length}"


DAMAGES: Sequence[Damage] = (
    Damage("a flipped bit", _flip),
    Damage("a zeroed page", _zero_page),
    Damage("two pages in each other's place", _swap_pages),
    Damage("a file cut off", _cut),
)


class Unread(Exception):
    """A read ended in a typed error, or was cut short; the message says which."""


def read_each(base_url: str) -> dict[str, Content | Unread]:
    """What a damaged node gives for every object that it lists.

    Raises:
        Unread: it does not list.
        AssertionError: an error without a type.
    """
    url = urlsplit(base_url)
    assert url.hostname is not None
    found: dict[str, Content | Unread] = {}
    for object_id in _list(url.hostname, url.port):
        try:
            found[object_id] = content_of(
                _get(url.hostname, url.port, f"/objects/{quote(object_id, safe='')}")
            )
        except Unread as error:
            found[object_id] = error
    return found


def require_nothing_wrong(expected: Mapping[str, bytes], found: Mapping[str, Content | Unread]) -> int:
    """Hold what a damaged node gave against what was stored; returns how many reads were refused.

    Raises:
        AssertionError: other bytes, an object that nobody stored, or one that is missing without a word.
    """
    wrong = [
        f"{object_id}: stored {_show(expected.get(object_id))}, found {_show(found.get(object_id))}"
        for object_id in sorted(expected.keys() | found.keys())
        if not isinstance(found.get(object_id), Unread) and found.get(object_id) != expected.get(object_id)
    ]
    assert not wrong, "\n".join(wrong)
    return sum(isinstance(each, Unread) for each in found.values())


def _show(content: Content | Unread) -> str:
    return content.hex()[:12] if isinstance(content, bytes) else "nothing"


def _list(host: str, port: int | None) -> list[str]:
    found: list[str] = []
    path = "/objects?limit=1000"
    while True:
        page = json.loads(_get(host, port, path))
        found += [each["object_id"] for each in page["objects"]]
        if page["next_cursor"] is None:
            return found
        path = f"/objects?limit=1000&cursor={page['next_cursor']}"


def _get(host: str, port: int | None, path: str) -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (http.client.IncompleteRead, ConnectionResetError) as error:
        raise Unread(f"{path} was cut short") from error
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return body
    assert answer.getheader("content-type", "").startswith("application/problem+json"), f"{path}: {body!r}"
    code = json.loads(body)["code"]
    assert code == "corrupt", f"{path} was answered with {answer.status}: {body!r}"
    raise Unread(f"{path}: {code}")
