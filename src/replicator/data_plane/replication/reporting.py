"""How an attempt's errors are told to the control plane. Pure."""

from __future__ import annotations

from replicator.kernel import errors
from replicator.kernel.errors import ReplicatorError
from replicator.wire.sessions import ErrorClass, ErrorInfo

_MESSAGE_LENGTH_MAX = 2000


def classify(error: ReplicatorError) -> ErrorClass:
    """What may be done about an attempt that ended so."""
    match error:
        case errors.PeerUnreachable():
            return "node-down"
        case errors.Unavailable() if "retry_after_s" in error.data:
            return "throttled"
        case errors.Unavailable() | errors.QuotaExceeded():
            return "transient"
        case errors.BrokenPeer():
            # Something between the nodes may have garbled it; a peer that lies does so in every attempt.
            return "transient"
        case _ if type(error) is ReplicatorError:
            return "transient"
        case _:
            return "permanent"


def describe(error: ReplicatorError) -> ErrorInfo:
    """`error` as it is reported."""
    return ErrorInfo(
        error_class=classify(error), code=error.code, message=error.message[:_MESSAGE_LENGTH_MAX]
    )
