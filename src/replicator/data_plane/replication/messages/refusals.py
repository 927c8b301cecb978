"""Why something about one object could not be done at another node.

A node may say that it does not have a thing, has it damaged, has another one in its place, or cannot send so
much at once. In everything else it cannot speak for the one that asked: whatever error it names, either it may
pass or the two do not understand each other.
"""

from __future__ import annotations

from replicator.kernel.digest import Digest
from replicator.kernel.errors import (
    BrokenPeer,
    Conflict,
    Corrupt,
    IsDeleteMarker,
    NotFound,
    ObjectDeleted,
    PreconditionFailed,
    QuotaExceeded,
    ReplicatorError,
    StoreFailed,
    TooLarge,
    Unavailable,
)
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.replication import REFUSAL_CHARS_MAX

_SAID_OF_OBJECTS = (NotFound, ObjectDeleted, IsDeleteMarker, Conflict, PreconditionFailed, Corrupt, TooLarge)
_BY_CODE: dict[str, type[ReplicatorError]] = {kind.code: kind for kind in _SAID_OF_OBJECTS}
_PASSING = frozenset(kind.code for kind in (Unavailable, StoreFailed, QuotaExceeded, ReplicatorError))


def encode_refusal(error: ReplicatorError) -> pb.Refusal:
    """`error` for another node."""
    digest = error.data.get("digest")
    return pb.Refusal(
        code=error.code,
        message=error.message[:REFUSAL_CHARS_MAX].encode(errors="replace").decode(),
        digest=Digest.parse(digest) if isinstance(digest, str) else b"",
    )


def decode_refusal(refusal: pb.Refusal) -> ReplicatorError:
    """What another node says; `Unavailable` or `BrokenPeer` where it cannot be taken at its word.

    Raises:
        InvalidRequest: it names something that is no digest.
    """
    data = {"digest": str(Digest(refusal.digest))} if refusal.digest else {}
    message = refusal.message[:REFUSAL_CHARS_MAX]
    if (kind := _BY_CODE.get(refusal.code)) is not None:
        return kind(message, **data)
    if refusal.code in _PASSING:
        return Unavailable(f"the peer cannot now: {message}")
    return BrokenPeer(f"the peer refused: {message}", code=refusal.code[:100])
