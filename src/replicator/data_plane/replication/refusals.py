"""What a peer's answer other than 200 means to the one that asked. Pure.

A peer may say that it does not have a thing, or has it damaged. In everything else it cannot speak for the
destination: whatever error it names, either it may pass or the two do not understand each other.
"""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError

from replicator.kernel.errors import BrokenPeer, Corrupt, NotFound, ReplicatorError, Unavailable
from replicator.wire.problem import Problem, error_of

_HERE = "on this node"
_RETRY_AFTER_S_MAX = 3600.0
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def refusal_of(url: str, status: int, body: bytes, *, retry_after: str | None = None) -> ReplicatorError:
    """The error for an answer of `url` with `status` and `body`, which may or may not be problem+json.

    Args:
        retry_after: the header of that name.

    Returns:
        `NotFound` or `Corrupt` as the peer says; else `Unavailable` where it may pass, or `BrokenPeer`.
        `data["retry_after_s"]` of an `Unavailable` is how many seconds the peer asked for, if it did.
    """
    try:
        said = error_of(Problem.model_validate_json(body))
    except ValidationError:
        said = ReplicatorError("no reason was given")
    if isinstance(said, NotFound) or type(said) is Corrupt:
        return in_its_place(url, said)
    message = f"{url} answered {status}: {said.message}"
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(message, **_delay(retry_after))
    return BrokenPeer(message, status=status)


def in_its_place(node: str, said: ReplicatorError) -> ReplicatorError:
    """What `node`, a name or a URL, said of itself, as it is told elsewhere."""
    if _HERE not in said.message:
        return said
    return type(said)(said.message.replace(_HERE, f"on {node}"), **said.data)


def _delay(retry_after: str | None) -> dict[str, float]:
    # RFC 9110, section 10.2.3: seconds, or a date, which would need clocks that agree.
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit():
        return {}
    return {"retry_after_s": min(float(retry_after[:9]), _RETRY_AFTER_S_MAX)}
