"""Objects go to a node and come from it as they are, under exactly the id they were given."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote_to_bytes

import httpx
import pytest

from replicator.client.node import NodeClient, Upload
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, InvalidRequest, PeerUnreachable, QuotaExceeded
from replicator.kernel.names import ObjectId
from replicator.wire.objects import PutResult
from replicator.wire.problem import problem_of

STORED = PutResult.model_validate(PutResult.model_config["json_schema_extra"]["example"])  # type: ignore[index]

IDS = [
    "demo.bin",
    "/leading",
    "a//b/",
    "what?#is&this=",
    "100%",
    "a%2Fb",
    "%2e%2e/x",
    "snow/☃ man",
    "a b+c",
    "~tilde",
    "...",
    "http://other.example/x",
    ";a=b:@",
    "x" * 1024,
]


async def blocks_of(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def request_head(reader: asyncio.StreamReader) -> tuple[bytes, dict[bytes, bytes]]:
    line, *fields = (await reader.readuntil(b"\r\n\r\n")).rstrip().split(b"\r\n")
    headers = {name.lower(): value for name, value in (field.split(b": ", 1) for field in fields)}
    return line.split(b" ")[1], headers


def json_answer(status: bytes, body: str) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body.encode()), body.encode())


@pytest.mark.parametrize("object_id", IDS)
def test_an_object_id_arrives_exactly(raw_server: Any, object_id: str) -> None:
    paths: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        paths.append((await request_head(reader))[0])
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        await reader.read()

    async def run() -> None:
        async with raw_server(answer) as url, NodeClient(url) as node:
            await node.delete(ObjectId.parse(object_id))

    asyncio.run(run())
    (path,) = paths
    assert path.startswith(b"/objects/")
    assert unquote_to_bytes(path.removeprefix(b"/objects/")) == object_id.encode()
    assert b"?" not in path


def test_an_upload_sends_its_length_its_type_its_digest_and_its_conditions(raw_server: Any) -> None:
    seen: dict[bytes, bytes] = {}
    bodies: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.update((await request_head(reader))[1])
        bodies.append(await reader.readexactly(6))
        writer.write(json_answer(b"201 Created", STORED.model_dump_json()))
        await writer.drain()
        await reader.read()

    upload = Upload(
        blocks=blocks_of(b"abc", b"def"),
        size=6,
        content_type="text/plain",
        digest=Digest.of(b"abcdef"),
        headers={"If-None-Match": "*"},
    )

    async def run() -> PutResult:
        async with raw_server(answer) as url, NodeClient(url) as node:
            return await node.put(ObjectId("x"), upload)

    assert asyncio.run(run()) == STORED
    assert bodies == [b"abcdef"]
    assert seen[b"content-length"] == b"6"
    assert b"transfer-encoding" not in seen
    assert seen[b"content-type"] == b"text/plain"
    assert seen[b"if-none-match"] == b"*"
    encoded = base64.b64encode(hashlib.sha256(b"abcdef").digest())
    assert seen[b"repr-digest"] == b"sha-256=:%s:" % encoded


def test_an_upload_refused_before_its_end_reports_why(raw_server: Any) -> None:
    full = problem_of(QuotaExceeded("the disk is full; free space and try again"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(json_answer(b"507 Insufficient Storage", full.model_dump_json()))
        await writer.drain()
        writer.write_eof()
        while await reader.read(1 << 20):
            pass

    async def run() -> None:
        async with raw_server(answer) as url, NodeClient(url) as node:
            await node.put(ObjectId("x"), Upload(blocks=blocks_of(*[bytes(1 << 20)] * 16)))

    with pytest.raises(QuotaExceeded, match="the disk is full"):
        asyncio.run(run())


@pytest.mark.parametrize("size", [2, 4])
def test_a_body_that_is_not_as_long_as_was_said_is_refused(raw_server: Any, size: int) -> None:
    async def answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with raw_server(answer) as url, NodeClient(url) as node:
            await node.put(ObjectId("x"), Upload(blocks=blocks_of(b"abc"), size=size))

    with pytest.raises(InvalidRequest):
        asyncio.run(run())


def test_a_lost_connection_during_an_upload_names_the_node(raw_server: Any) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)

    async def run() -> None:
        async with raw_server(answer) as url, NodeClient(url, name="node1") as node:
            await node.put(ObjectId("x"), Upload(blocks=blocks_of(b"abc")))

    with pytest.raises(PeerUnreachable, match="node 'node1' cannot be reached"):
        asyncio.run(run())


HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "e"\r\nX-Replicator-Version: v\r\n\r\n'


def download_from(raw_server: Any, sent: bytes) -> bytes:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(sent)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async def run() -> bytes:
        async with raw_server(answer) as url, NodeClient(url) as node, node.get(ObjectId("x")) as download:
            assert (download.size, download.etag, download.version) == (10, '"e"', "v")
            return b"".join([block async for block in download.blocks])

    return asyncio.run(run())


def test_a_download_is_what_the_node_sent(raw_server: Any) -> None:
    assert download_from(raw_server, HEAD + b"0123456789") == b"0123456789"


def test_a_download_cut_short_is_an_error_and_not_a_short_object(raw_server: Any) -> None:
    with pytest.raises(BrokenPeer, match="ended its answer after 4 of 10 bytes"):
        download_from(raw_server, HEAD + b"0123")


def test_what_is_no_object_is_not_taken_for_one() -> None:
    async def run() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, text="hello"))
        async with NodeClient("http://h", transport=transport) as node, node.get(ObjectId("x")):
            pass

    with pytest.raises(BrokenPeer):
        asyncio.run(run())
