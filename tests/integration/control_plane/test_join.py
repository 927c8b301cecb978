"""Telling a node over real HTTP which control plane to join."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from replicator.control_plane.join import HttpJoiner
from replicator.kernel.errors import BrokenPeer, Conflict, PeerUnreachable, ReplicatorError
from replicator.kernel.names import NodeName

pytestmark = pytest.mark.anyio

JOINER = HttpJoiner(advertise_url="http://control-plane:8000", deadline_s=30)
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(conversation: Conversation) -> AsyncIterator[str]:
    """A server on loopback, and its URL by a name that must be resolved."""
    server = await asyncio.start_server(conversation, "127.0.0.1", 0)
    async with server:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}"


def answering(status: int, body: bytes, heard: list[bytes] | None = None) -> Conversation:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if heard is not None:
            heard.extend([head, await reader.readexactly(length)])
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        writer.close()

    return converse


async def ask(base_url: str, joiner: HttpJoiner = JOINER) -> None:
    await joiner.ask(node=NodeName("node1"), base_url=base_url)


async def test_a_node_hears_its_name_and_the_url() -> None:
    heard: list[bytes] = []
    agreed = b'{"node": "node1", "boot_id": "12345678"}'
    async with listening(answering(200, agreed, heard)) as url:
        await ask(url + "/behind/a/path")
    assert heard[0].startswith(b"POST /behind/a/path/control/join HTTP/1.1\r\n")
    assert f"host: {url.removeprefix('http://')}\r\n".encode() in heard[0].lower()
    assert json.loads(heard[1]) == {"node": "node1", "control_plane_url": "http://control-plane:8000/"}


@pytest.mark.parametrize(
    ("status", "body", "error", "told"),
    [
        (200, b'{"node": "node5", "boot_id": "12345678"}', Conflict, "called 'node5'"),
        (200, b"<html>", BrokenPeer, "is no node"),
        (404, b"<html>", BrokenPeer, "is no node"),
        (302, b"", BrokenPeer, "is no node"),
        (200, b"x" * 100_000, BrokenPeer, "more than a node would"),
        (
            409,
            b'{"title": "Conflict", "status": 409, "detail": "it joins no other", "code": "conflict"}',
            Conflict,
            "joins no other",
        ),
        (
            503,
            b'{"title": "X", "status": 503, "detail": "is stopping", "code": "unavailable"}',
            BrokenPeer,
            "is stopping",
        ),
    ],
)
async def test_what_does_not_agree_is_told_apart(
    status: int, body: bytes, error: type[ReplicatorError], told: str
) -> None:
    async with listening(answering(status, body)) as url:
        with pytest.raises(error, match=told):
            await ask(url)


async def test_the_refusing_node_is_named() -> None:
    body = b'{"title": "X", "status": 409, "detail": "no", "code": "conflict", "node": "node1"}'
    async with listening(answering(409, body)) as url:
        with pytest.raises(Conflict) as refusal:
            await ask(url)
    assert refusal.value.data["node"] == "node1"


async def test_a_node_that_stalls_is_given_up() -> None:
    stalled = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stalled.wait()
        writer.close()

    async with listening(stall) as url:
        with pytest.raises(PeerUnreachable, match="did not answer within"):
            await ask(url, HttpJoiner(advertise_url="http://control-plane:8000", deadline_s=0.2))
        stalled.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid", "http://localhost:1"])
async def test_where_nothing_answers(url: str) -> None:
    with pytest.raises(PeerUnreachable):
        await ask(url)
