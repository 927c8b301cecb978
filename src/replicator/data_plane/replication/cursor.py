"""Where a survey goes on in its next task.

A cursor means something to the node that made it, for the survey it was made for. Integers are big-endian, and
it is written as unpadded base64 for URLs::

    format u8 = 2 | survey, 8 bytes | began u64, ms | ids done u16 | barren u32
    | bucket u8 + bytes | after u16 + bytes | key u16 + bytes | version u8 + bytes
    | tree of the source u16 + bytes | tree of the destination u16 + bytes | check, 8 bytes

`survey` and `check` are the first bytes of SHA-256 of what was asked for, and of all that precedes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from replicator.kernel.errors import InvalidRequest
from replicator.kernel.merkle import Frontier
from replicator.kernel.names import BucketName
from replicator.kernel.version import VersionId
from replicator.wire.sessions import Survey

_HEAD = struct.Struct(">B8sQHI")
_FORMAT = 2
_CHECK_BYTES = 8
_WIDTHS = (1, 2, 2, 1, 2, 2)


class Position(NamedTuple):
    """Everything up to here has been dealt with.

    Attributes:
        ids: how many of the ids asked for are done, where ids were asked for.
        bucket: the one the walk is in; "" before the first.
        after: of that bucket all keys up to this one are done; "" for none.
        key, version: behind those, all up to this version is done too; "" and None for nothing.
        barren: so many stretches before it, one after the other, had nothing in them at the source.
    """

    ids: int = 0
    bucket: BucketName | Literal[""] = ""
    after: str = ""
    key: str = ""
    version: VersionId | None = None
    barren: int = 0


START = Position()


@dataclass(slots=True)
class Progress:
    """What one task of a survey hands to the next.

    Attributes:
        began_ms: when the survey began, by this node's wall clock: ages are as they were then.
        source, destination: the Merkle trees so far, where roots were asked for.
    """

    began_ms: int
    position: Position = START
    source: Frontier = field(default_factory=Frontier)
    destination: Frontier = field(default_factory=Frontier)


def encode_cursor(survey: Survey, progress: Progress) -> str:
    """The cursor from which `survey` goes on."""
    position = progress.position
    head = _HEAD.pack(_FORMAT, _fingerprint(survey), progress.began_ms, position.ids, position.barren)
    parts = (
        position.bucket.encode(),
        position.after.encode(),
        position.key.encode(),
        position.version or b"",
        progress.source.encode(),
        progress.destination.encode(),
    )
    body = (len(part).to_bytes(width) + part for part, width in zip(parts, _WIDTHS, strict=True))
    whole = b"".join((head, *body))
    return base64.urlsafe_b64encode(whole + _check(whole)).rstrip(b"=").decode()


def decode_cursor(survey: Survey, cursor: str) -> Progress:
    """What `cursor` says.

    Raises:
        InvalidRequest: no node has made it, not this release, or not for `survey`.
    """
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad() from error
    whole, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if len(whole) < _HEAD.size or check != _check(whole):
        raise _bad()
    fmt, fingerprint, began_ms, ids, barren = _HEAD.unpack_from(whole)
    if fmt != _FORMAT or fingerprint != _fingerprint(survey):
        raise _bad()
    rest = memoryview(whole)[_HEAD.size :]
    parts = []
    for width in _WIDTHS:
        part, rest = _next_field(rest, width)
        parts.append(part)
    bucket, after, key, version, source, destination = parts
    return Progress(
        began_ms=began_ms,
        position=Position(
            ids,
            BucketName.parse(bucket.decode()) if bucket else "",
            after.decode(),
            key.decode(),
            VersionId(version) if version else None,
            barren,
        ),
        source=Frontier.decode(source),
        destination=Frontier.decode(destination),
    )


def _fingerprint(survey: Survey) -> bytes:
    # Only what was asked for: so a cursor outlives releases that can be asked for more.
    asked = survey.model_dump(mode="json", exclude_defaults=True, exclude={"cursor", "found_max"})
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()[:8]


def _check(whole: bytes) -> bytes:
    return hashlib.sha256(whole).digest()[:_CHECK_BYTES]


def _next_field(data: memoryview, width: int) -> tuple[bytes, memoryview]:
    end = width + int.from_bytes(data[:width])
    return bytes(data[width:end]), data[end:]


def _bad() -> InvalidRequest:
    return InvalidRequest("this cursor is not of this survey, or of another release: begin the survey anew")
