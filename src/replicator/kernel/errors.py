"""Every error Replicator raises on purpose."""

from typing import Any, ClassVar


class ReplicatorError(Exception):
    """Root of the tree. Branch by what the caller can do::

        ReplicatorError
        ├── InvalidRequest        change the request
        │   ├── DigestMismatch    the bytes are not what they were said to be
        │   └── IsDeleteMarker    the version named has no content: name another
        ├── NotFound              it is not there
        │   └── ObjectDeleted     its newest version is a delete marker
        ├── Conflict              it clashes with what is there
        ├── PreconditionFailed    a condition of the caller's did not hold
        ├── RangeNotSatisfiable   ask for a range inside the object
        ├── TooLarge              send less
        ├── Fenced                a newer lease or session took over: stop
        ├── Cancelled             somebody asked for it to stop
        ├── Corrupt               stored or received bytes failed their check
        │   └── BrokenPeer        another process broke the protocol
        ├── QuotaExceeded         free space, then retry
        └── Unavailable           retry later
            ├── PeerUnreachable   the other process cannot be reached
            └── StoreFailed       the store refuses writes until it is opened again

    Attributes:
        code: stable kebab-case name, the same in every API.
        data: what the error is about (digest, node, object_id …), JSON-ready.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, /, **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class InvalidRequest(ReplicatorError):
    """The request can never work as it stands."""

    code = "invalid-request"


class DigestMismatch(InvalidRequest):
    """Bytes do not hash to the digest that came with them."""

    code = "digest-mismatch"


class IsDeleteMarker(InvalidRequest):
    """The version named is a delete marker, which can only be removed; `data["version"]` is its id."""

    code = "is-delete-marker"


class NotFound(ReplicatorError):
    """The named thing is not there."""

    code = "not-found"


class ObjectDeleted(NotFound):
    """The object is deleted though older versions of it are kept; `data["version"]` is the marker's id."""

    code = "object-deleted"


class Conflict(ReplicatorError):
    """The request clashes with the state it met."""

    code = "conflict"


class PreconditionFailed(ReplicatorError):
    """A condition that the caller set (If-Match, If-None-Match) did not hold."""

    code = "precondition-failed"


class RangeNotSatisfiable(ReplicatorError):
    """The range lies outside the object; `data["size"]` holds its size in bytes."""

    code = "range-not-satisfiable"


class TooLarge(ReplicatorError):
    """A bound on length or count was exceeded."""

    code = "too-large"


class Fenced(ReplicatorError):
    """A newer lease or session has taken over; the caller must stop."""

    code = "fenced"


class Cancelled(ReplicatorError):
    """The work was asked to stop."""

    code = "cancelled"


class Corrupt(ReplicatorError):
    """Bytes failed their digest or checksum, or a stored structure does not decode."""

    code = "corrupt"


class BrokenPeer(Corrupt):
    """Another process answered with something the protocol forbids."""

    code = "broken-peer"


class QuotaExceeded(ReplicatorError):
    """No room: the disk or a set limit is full."""

    code = "quota-exceeded"


class Unavailable(ReplicatorError):
    """It cannot be done now; the same request may work later."""

    code = "unavailable"


class PeerUnreachable(Unavailable):
    """The other process does not answer: name, connection, or a deadline."""

    code = "peer-unreachable"


class StoreFailed(Unavailable):
    """A write or sync failed; the store acknowledges nothing more until the process is restarted."""

    code = "store-failed"
