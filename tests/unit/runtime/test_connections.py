"""Connections that hold on to a server without asking anything of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from replicator.testing.waiting import wait_until

DEADLINE_S = 30
IMPATIENCE_S = 0.3

SERVER = textwrap.dedent(f"""
    from replicator.runtime import http_protocol
    from replicator.runtime.server import bind, serve

    http_protocol.HEAD_SECONDS_MAX = http_protocol.CLOSE_SECONDS_MAX = {IMPATIENCE_S}

    async def lifespan(receive, send):
        while (await receive())["type"] == "lifespan.startup":
            await send({{"type": "lifespan.startup.complete"}})
        await send({{"type": "lifespan.shutdown.complete"}})

    async def answer(scope, receive, send):
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        size = int(scope["path"][1:])
        headers = [(b"content-length", b"%d" % size)]
        await send({{"type": "http.response.start", "status": 200, "headers": headers}})
        await send({{"type": "http.response.body", "body": bytes(size)}})

    listener = bind("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    serve(answer, listener)
""")


@contextmanager
def server() -> Iterator[tuple[psutil.Process, int]]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield psutil.Process(process.pid), port
        finally:
            process.kill()


def request(size: int, more: bytes = b"") -> bytes:
    return b"GET /%d HTTP/1.1\r\nHost: x\r\n%b\r\n" % (size, more)


def drip_until_closed(client: socket.socket, drip: bytes) -> None:
    """Send `drip` over and over until the server closes; a server that never does fails the test by its timeout."""
    client.settimeout(IMPATIENCE_S / 6)
    with suppress(ConnectionError):
        while True:
            client.sendall(drip)
            with suppress(TimeoutError):
                if not client.recv(1000):
                    return


@pytest.mark.timeout(DEADLINE_S)
@pytest.mark.parametrize("opening", [b"", b"GET /1 HTTP/1.1\r\nHost: x\r\n"], ids=["silent", "begun"])
def test_a_head_that_drips_is_cut_off(opening: bytes) -> None:
    with server() as (_, port), socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
        client.sendall(opening)
        drip_until_closed(client, b"X: y\r\n" if opening else b"")


@pytest.mark.timeout(DEADLINE_S)
@pytest.mark.parametrize(
    ("more", "drip"),
    [(b"", b"\r\n"), (b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n")],
    ids=["line ends", "body behind its answer"],
)
def test_bytes_that_are_no_request_do_not_hold_a_connection(more: bytes, drip: bytes) -> None:
    with server() as (_, port), socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
        client.sendall(request(1, more))
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        drip_until_closed(client, drip)


@pytest.mark.timeout(DEADLINE_S)
def test_a_closed_connection_whose_client_reads_nothing_is_dropped() -> None:
    with server() as (process, port), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(DEADLINE_S)
        client.connect(("127.0.0.1", port))
        size = 64 * 1024 * 1024
        client.sendall(request(size, b"Connection: close\r\n"))
        assert client.recv(1)
        while_open = process.num_fds()
        wait_until(lambda: process.num_fds() < while_open, "the server lets go of the connection")
