from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import httpx
import pytest

from replicator.kernel.errors import InvalidRequest
from replicator.runtime.http_protocol import HEAD_BYTES_MAX
from replicator.runtime.server import bind

DEADLINE_S = 30

ECHO = textwrap.dedent("""
    from replicator.runtime.server import bind, serve

    async def lifespan(receive, send):
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        print("closed", flush=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def echo(scope, receive, send):
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    listener = bind("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    serve(echo, listener)
    print("returned", flush=True)
""")


@contextlib.contextmanager
def echo_server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    with subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server, int(server.stdout.readline())
        finally:
            server.kill()


def begin_request(port: int) -> socket.socket:
    """A request whose body is half sent."""
    client = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
    assert client.recv(1000).startswith(b"HTTP/1.1 100")
    client.sendall(b"01234")
    return client


def wait_until_refused(port: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), DEADLINE_S).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.01)
    pytest.fail("the server still accepts connections")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_serving_after_requests_in_flight(ending: signal.Signals) -> None:
    with echo_server() as (server, port), begin_request(port) as client:
        server.send_signal(ending)
        wait_until_refused(port)
        client.sendall(b"56789")
        answer = b"".join(iter(lambda: client.recv(1000), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"0123456789" in answer
        output, _ = server.communicate(timeout=DEADLINE_S)
        assert output.split() == ["closed", "returned"]
        assert server.returncode == 0


def flood(port: int, opening: bytes) -> bytes:
    """What the server answers to headers that never end; it must not take them all."""
    line = b"X-Long: " + b"a" * 100_000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(opening)
            for _ in range(10 * HEAD_BYTES_MAX // len(line)):
                client.sendall(line)
            pytest.fail("the server takes headers without end")
        with contextlib.suppress(ConnectionResetError):
            return client.recv(1000)
    return b""


def test_headers_and_trailers_without_end_are_cut_off() -> None:
    with echo_server() as (_, port):
        assert flood(port, b"GET / HTTP/1.1\r\nHost: x\r\n")[:12] in {b"HTTP/1.1 400", b""}
        chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        assert b"200 OK" not in flood(port, chunked)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_may_be_longer_than_any_head(framing: str) -> None:
    body = b"0123456789abcdef" * (4 * HEAD_BYTES_MAX // 16)
    content = body if framing == "length" else (body[at : at + 1000] for at in range(0, len(body), 1000))
    with echo_server() as (_, port), httpx.Client(timeout=DEADLINE_S) as client:
        assert client.post(f"http://127.0.0.1:{port}/", content=content).content == body
        assert client.get(f"http://127.0.0.1:{port}/").content == b""


def test_a_taken_port_is_named_with_the_option_to_choose_another() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidRequest, match=f"port {port} .*taken.*choose another with --s3-port"):
            bind("127.0.0.1", port, option="--s3-port")


def test_a_bound_socket_takes_connections_before_anything_serves() -> None:
    with bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), DEADLINE_S):
        pass


def test_a_port_can_be_bound_again_at_once() -> None:
    with bind("127.0.0.1", 0) as first:
        address = first.getsockname()
        with socket.create_connection(address, DEADLINE_S):
            first.accept()[0].close()
    with bind("127.0.0.1", address[1]) as second:
        assert second.getsockname() == address


@pytest.mark.parametrize("port", [-1, 65_536, 70_000])
def test_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{port} is no port: --port takes 0 to 65535"):
        bind("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("192.0.2.1", "cannot listen on 192.0.2.1"),
        ("no-such-host.invalid", "cannot listen on 'no-such-host.invalid'"),
        ("a..b", "not a valid host name"),
    ],
)
def test_an_impossible_host_is_refused(host: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def offline(name: str, *args: int, **options: int) -> object:
        if name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(name, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(InvalidRequest, match=why):
        bind(host, 0)
