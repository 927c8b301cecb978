"""Name resolution with a deadline.

`getaddrinfo` takes no timeout and can block for ten seconds or more, so it runs in a thread of a small pool
that is abandoned, not waited for, when the deadline passes.
"""

from __future__ import annotations

import concurrent.futures
import socket

from replicator.kernel.errors import PeerUnreachable

_RESOLVERS = concurrent.futures.ThreadPoolExecutor(max_workers=8, thread_name_prefix="resolve")

Address = tuple[str, int]


def resolve(host: str, port: int, *, timeout_s: float) -> list[Address]:
    """The addresses of `host`, numeric, in the order to try them.

    Raises:
        PeerUnreachable: the name does not exist, or no answer came within `timeout_s`.
    """
    pending = _RESOLVERS.submit(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    try:
        found = pending.result(timeout_s)
    except concurrent.futures.TimeoutError as error:
        pending.cancel()
        raise PeerUnreachable(
            f"the name '{host}' was not resolved within {timeout_s:g} s", host=host
        ) from error
    except OSError as error:
        raise PeerUnreachable(f"the name '{host}' cannot be resolved: {error.strerror}", host=host) from error
    return [(str(address[0]), port) for *_, address in found]
