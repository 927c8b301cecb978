"""Name resolution with a deadline.

`getaddrinfo` takes no timeout and can block for ten seconds or more, so it runs in a daemon thread that is
abandoned when the deadline passes: neither the caller nor the end of the process waits for it. At most
`LOOKUPS_MAX` run at a time; waiting for a turn counts towards the deadline.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future
from typing import Any

from replicator.kernel.errors import PeerUnreachable

LOOKUPS_MAX = 8
_TURNS = threading.BoundedSemaphore(LOOKUPS_MAX)

Address = tuple[str, int]


def resolve(host: str, port: int, *, timeout_s: float) -> list[Address]:
    """The addresses of `host`, numeric, in the order to try them.

    Raises:
        PeerUnreachable: the name does not exist, or no answer came within `timeout_s`.
    """
    try:
        found = _look_up(host, port, timeout_s)
    except TimeoutError as error:
        raise PeerUnreachable(
            f"the name '{host}' was not resolved within {timeout_s:g} s", host=host
        ) from error
    except OSError as error:
        raise PeerUnreachable(f"the name '{host}' cannot be resolved: {error.strerror}", host=host) from error
    except ValueError as error:
        raise PeerUnreachable(f"'{host}' is not a valid host name", host=host) from error
    return [(str(address[0]), port) for *_, address in found]


def _look_up(host: str, port: int, timeout_s: float) -> list[Any]:
    deadline = time.monotonic() + timeout_s
    if not _TURNS.acquire(timeout=timeout_s):
        raise TimeoutError
    answer: Future[list[Any]] = Future()
    threading.Thread(target=_ask, args=(host, port, answer), name="resolve", daemon=True).start()
    return answer.result(deadline - time.monotonic())


def _ask(host: str, port: int, answer: Future[list[Any]]) -> None:
    try:
        answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, ValueError) as error:
        answer.set_exception(error)
    finally:
        _TURNS.release()
