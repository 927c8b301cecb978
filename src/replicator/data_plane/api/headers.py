"""What request headers of the object API mean. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from replicator.data_plane.ports import UNCONDITIONAL, Condition
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import (
    InvalidRequest,
    IsDeleteMarker,
    ObjectDeleted,
    RangeNotSatisfiable,
    ReplicatorError,
)
from replicator.kernel.names import ContentType, ObjectId

Headers = Mapping[bytes, bytes]

DEFAULT_CONTENT_TYPE = b"application/octet-stream"
_ETAG = re.compile(rb'\s*(W/)?"([^"]*)"\s*')
_RANGE = re.compile(rb"bytes=(\d{0,19})-(\d{0,19})")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SHA_256 = re.compile(rb"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):\s*(?:,|$)")


def parse_object_id(raw: bytes) -> ObjectId:
    """The object id in the rest of a raw request path: percent-decoded once, exactly.

    Raises:
        InvalidRequest: a broken escape, bytes that are not UTF-8, or an id that `ObjectId` refuses.
    """
    if b"%" in raw:
        if _BAD_ESCAPE.search(raw):
            raise InvalidRequest("the path holds a '%' that is not followed by two hexadecimal digits")
        raw = unquote_to_bytes(raw)
    try:
        return ObjectId.parse(raw.decode())
    except UnicodeDecodeError as error:
        raise InvalidRequest("an object id must be valid UTF-8") from error


def etag_of(manifest: Digest) -> str:
    """The strong entity tag of an object with that manifest."""
    return f'"{manifest}"'


def put_condition(headers: Headers) -> Condition:
    """If-Match and If-None-Match of an upload or delete (RFC 9110, section 13.1).

    Raises:
        InvalidRequest: a header that is neither `*` nor a list of entity tags.
    """
    if b"if-match" not in headers and b"if-none-match" not in headers:
        return UNCONDITIONAL
    wanted, refused = headers.get(b"if-match"), headers.get(b"if-none-match")
    any_wanted = wanted is not None and wanted.strip() == b"*"
    any_refused = refused is not None and refused.strip() == b"*"
    return Condition(
        must_exist=any_wanted,
        must_be_absent=any_refused,
        manifests=None if wanted is None or any_wanted else _manifests(wanted, weak=False),
        refused=frozenset() if refused is None or any_refused else _manifests(refused, weak=True),
    )


def problem_headers(error: ReplicatorError) -> list[tuple[bytes, bytes]]:
    """What goes ahead of the problem that reports `error`, besides what describes its body."""
    match error:
        case RangeNotSatisfiable():
            return [(b"content-range", b"bytes */%d" % error.data["size"])]
        case ObjectDeleted() | IsDeleteMarker():
            sent = [
                (b"x-replicator-delete-marker", b"true"),
                (b"x-replicator-version", str(error.data["version"]).encode()),
            ]
            return sent if isinstance(error, ObjectDeleted) else [*sent, (b"allow", b"DELETE")]
        case _:
            return []


def matches(header: bytes, manifest: Digest, *, weak: bool) -> bool:
    """Whether an If-Match (`weak=False`) or If-None-Match (`weak=True`) header names `manifest`."""
    if header.strip() == b"*":
        return True
    return any(tag == str(manifest).encode() and (weak or not is_weak) for is_weak, tag in _tags(header))


def _tags(header: bytes) -> list[tuple[bool, bytes]]:
    tags, position = [], 0
    while match := _ETAG.match(header, position):
        tags.append((match[1] is not None, match[2]))
        position = match.end()
        if position == len(header):
            return tags
        if header[position : position + 1] != b",":
            break
        position += 1
    raise InvalidRequest("expected '*' or entity tags in double quotes, separated by commas")


def _manifests(header: bytes, *, weak: bool) -> frozenset[Digest]:
    """The manifests that a list of entity tags names; weak ones count where `weak` says so."""
    tags = [tag for is_weak, tag in _tags(header) if weak or not is_weak]
    return frozenset(Digest.parse(tag.decode()) for tag in tags if re.fullmatch(rb"[0-9a-f]{64}", tag))


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` to `stop` of an object of `size` bytes."""

    start: int
    stop: int
    size: int

    @property
    def content_range(self) -> bytes:
        """As in a 206."""
        return b"bytes %d-%d/%d" % (self.start, self.stop - 1, self.size)


def parse_range(headers: Headers, manifest: Digest, size: int) -> ByteRange | None:
    """The single range that is asked for; None for the whole object.

    What RFC 9110 lets a server ignore is ignored: several ranges, other units, nonsense, and a range whose
    If-Range is about another representation.

    Raises:
        RangeNotSatisfiable: it holds no byte of the object.
    """
    header = headers.get(b"range")
    match = _RANGE.fullmatch(header.strip()) if header is not None else None
    if match is None or not (match[1] or match[2]):
        return None
    condition = headers.get(b"if-range")
    if condition is not None and condition.strip() != etag_of(manifest).encode():
        return None
    if match[1]:
        start, last = int(match[1]), int(match[2]) if match[2] else size - 1
        if match[2] and last < start:
            return None
    else:
        start, last = max(0, size - int(match[2])), size - 1
    stop = min(last + 1, size)
    if start >= stop:
        raise RangeNotSatisfiable(f"the object has {size} bytes", size=size)
    return ByteRange(start, stop, size)


def expected_digest(headers: Headers) -> Digest | None:
    """The SHA-256 that Content-Digest or Repr-Digest (RFC 9530) gives; other algorithms are ignored.

    Raises:
        InvalidRequest: the value is malformed, or the two headers contradict each other.
    """
    if b"content-digest" not in headers and b"repr-digest" not in headers:
        return None
    found = {
        _parse_digest(headers[name]) for name in (b"content-digest", b"repr-digest") if name in headers
    } - {None}
    if len(found) > 1:
        raise InvalidRequest("Content-Digest and Repr-Digest contradict each other")
    return found.pop() if found else None


def require_body_length(headers: Headers) -> None:
    """Raises `InvalidRequest` unless the headers say where the body ends, and that it comes as it is."""
    if b"upgrade" in headers:
        raise InvalidRequest("a body cannot come with Upgrade: send it by plain HTTP/1.1 (curl: --http1.1)")
    coding = headers.get(b"transfer-encoding", b"").strip().lower()
    if coding not in (b"", b"chunked"):
        raise InvalidRequest("only the transfer coding 'chunked' is understood here")
    if not coding and b"content-length" not in headers:
        raise InvalidRequest("a body needs Content-Length or Transfer-Encoding: chunked")


def _parse_digest(header: bytes) -> Digest | None:
    match = _SHA_256.search(header)
    if match is None:
        if b"sha-256" in header.lower():
            raise InvalidRequest("a sha-256 digest is written as sha-256=:BASE64:")
        return None
    try:
        raw = base64.b64decode(match[1], validate=True)
    except binascii.Error as error:
        raise InvalidRequest("the sha-256 digest is not valid base64") from error
    if len(raw) != DIGEST_BYTES:
        raise InvalidRequest(f"a sha-256 digest has {DIGEST_BYTES} bytes, this one has {len(raw)}")
    return Digest(raw)


def content_type(headers: Headers) -> ContentType:
    """The media type to keep; raises `InvalidRequest` where it cannot be sent back as it came."""
    if b"content-encoding" in headers:
        raise InvalidRequest("Content-Encoding is not kept here: send the bytes as they shall be served")
    if b"content-range" in headers:
        raise InvalidRequest("a PUT replaces the whole object: Content-Range is not allowed")
    return ContentType.parse(headers.get(b"content-type", DEFAULT_CONTENT_TYPE).decode("latin-1"))
