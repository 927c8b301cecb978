"""Serving one ASGI application on one port until a signal ends it."""

from __future__ import annotations

import asyncio
import errno
import functools
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from replicator.kernel.errors import InvalidRequest
from replicator.runtime.admission import Admission, ConnectionLimits
from replicator.runtime.http_protocol import HttpProtocol

GRACE_SECONDS = 10
IDLE_SECONDS = 75
_PORT_MAX = 65_535
_ENDING = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """A bound listening socket, so that a taken port is reported before anything else starts.

    Raises:
        InvalidRequest: the address cannot be bound; names `option`, with which to choose another.
    """
    if not 0 <= port <= _PORT_MAX:
        raise InvalidRequest(f"{port} is no port: {option} takes 0 to {_PORT_MAX}")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise InvalidRequest(f"cannot listen on '{host}': {error.strerror}") from error
    except UnicodeError as error:
        raise InvalidRequest(f"cannot listen on '{host}': not a valid host name") from error
    listener = socket.socket(family, kind, proto)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(ConnectionLimits().backlog)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InvalidRequest(
                f"port {port} on {host} is taken by another process; choose another with {option}"
            ) from error
        raise InvalidRequest(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


class _Server(uvicorn.Server):
    """Says on the event loop that it is about to stop, before it waits for the requests in flight."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


def serve(
    app: Any,
    listener: socket.socket,
    *,
    admission: Admission | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Run `app` on `listener` until SIGINT or SIGTERM, then return; requests in flight get `GRACE_SECONDS`.

    The application's lifespan brackets everything: it starts before the first request and its end is
    awaited. `admission` decides how many connections may be open. `on_stop` is called before requests in flight are waited for, to end those that wait themselves.
    """
    admission = admission or Admission(ConnectionLimits())
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=functools.partial(HttpProtocol, admission=admission),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=True,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=admission.limits.backlog,
    )
    server = _Server(config, on_stop)
    # uvicorn raises the signal anew once it has shut down. Under the default handlers that would end the
    # process inside this call, before the caller has closed what it opened.
    previous = {ending: signal.signal(ending, server.handle_exit) for ending in _ENDING}
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listener]))
    finally:
        for ending, handler in previous.items():
            signal.signal(ending, handler)
