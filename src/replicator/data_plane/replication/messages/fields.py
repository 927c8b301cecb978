"""What requests and replies have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import BrokenPeer, Corrupt, InvalidRequest
from replicator.kernel.names import OBJECT_ID_BYTES_MAX

MessageT = TypeVar("MessageT", bound=Message)


def parse_message(kind: type[MessageT], encoded: bytes) -> MessageT:
    """The message of that kind. Raises `InvalidRequest` where the bytes are none."""
    try:
        return kind.FromString(encoded)
    except DecodeError as error:
        raise InvalidRequest(f"the body is no {kind.DESCRIPTOR.name}") from error


@contextmanager
def from_server(what: str) -> Iterator[None]:
    """What is wrong with a message inside is its sender's fault: raises `BrokenPeer`."""
    try:
        yield
    except BrokenPeer:
        raise
    except (InvalidRequest, Corrupt) as error:
        raise BrokenPeer(f"the peer sent no valid {what}: {error.message}") from error


def join_digests(digests: Iterable[Digest]) -> bytes:
    """Digests as one field."""
    return b"".join(digests)


def split_digests(joined: bytes, what: str) -> list[Digest]:
    """From `join_digests`; raises `InvalidRequest`."""
    if len(joined) % DIGEST_BYTES:
        raise InvalidRequest(f"{what} is a run of digests of {DIGEST_BYTES} bytes, not {len(joined)} bytes")
    return [Digest(joined[at : at + DIGEST_BYTES]) for at in range(0, len(joined), DIGEST_BYTES)]


def check_count(count: int, maximum: int, what: str) -> None:
    """Raises `InvalidRequest` unless there are 1 to `maximum`."""
    if not 1 <= count <= maximum:
        raise InvalidRequest(f"1 to {maximum} {what} go into one request, not {count}")


def check_bound(text: str, what: str) -> str:
    """A prefix or bound of keys, which need not be a key itself; raises `InvalidRequest`."""
    if len(text.encode()) > OBJECT_ID_BYTES_MAX:
        raise InvalidRequest(f"'{what}' has at most {OBJECT_ID_BYTES_MAX} bytes in UTF-8")
    if "\0" in text:
        raise InvalidRequest(f"'{what}' may not hold a NUL")
    return text
