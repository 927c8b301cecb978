"""How an error of a source travels over gRPC: a status for everybody, and a `Refusal` for the other node.

The refusal goes in the trailing metadata, under `REFUSAL_KEY`: the code of the tree of errors, the message, and
the digest it is about. The status alone is what a client of another make sees, and what gRPC itself reports.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError

from replicator.data_plane.replication.messages.fields import from_server
from replicator.data_plane.replication.messages.refusals import decode_refusal, encode_refusal
from replicator.data_plane.replication.refusals import in_its_place
from replicator.kernel import errors
from replicator.kernel.errors import BrokenPeer, ReplicatorError, Unavailable
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.rpc import REFUSAL_KEY

_DETAILS_CHARS_MAX = 500

# Most specific first.
_STATUS: tuple[tuple[type[ReplicatorError], grpc.StatusCode], ...] = (
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.PreconditionFailed, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.RangeNotSatisfiable, grpc.StatusCode.OUT_OF_RANGE),
    (errors.TooLarge, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.Fenced, grpc.StatusCode.ABORTED),
    (errors.Cancelled, grpc.StatusCode.CANCELLED),
    (errors.Corrupt, grpc.StatusCode.DATA_LOSS),
    (errors.QuotaExceeded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
)
# gRPC itself gives these where a connection breaks, a deadline passes, or a server has its hands full.
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
_OVERSIZED = "message larger than max"


def status_of(error: ReplicatorError) -> grpc.StatusCode:
    """The status that reports `error`; INTERNAL where the tree names none."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return grpc.StatusCode.INTERNAL


def details_of(error: ReplicatorError) -> str:
    """What a status says in words."""
    return error.message[:_DETAILS_CHARS_MAX].encode(errors="replace").decode()


def refusal_metadata(error: ReplicatorError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that reports `error`."""
    return ((REFUSAL_KEY, encode_refusal(error).SerializeToString()),)


def error_of(url: str, call: Any) -> ReplicatorError:
    """What it means that `call` to the node at `url`, a `grpc.RpcError`, did not end well.

    Returns:
        what the node refused with, so far as it can be taken at its word; else `Unavailable` where it may pass,
        or `BrokenPeer`.
    """
    said = [value for key, value in call.trailing_metadata() or () if key == REFUSAL_KEY]
    if said:
        try:
            return in_its_place(url, _decode(said[0]))
        except BrokenPeer as error:
            return error
    status, details = call.code(), str(call.details())[:_DETAILS_CHARS_MAX]
    message = f"{url} answered {status.name}: {details}"
    if status in _PASSING and _OVERSIZED not in details:
        return Unavailable(message)
    return BrokenPeer(message, status=status.name)


def _decode(refusal: bytes) -> ReplicatorError:
    with from_server("refusal"):
        try:
            return decode_refusal(pb.Refusal.FromString(refusal))
        except DecodeError as error:
            raise BrokenPeer("the peer sent no valid refusal") from error
