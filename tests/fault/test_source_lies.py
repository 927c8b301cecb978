"""A source that lies: no wrong byte is admitted, and the attempt ends in time with an error that says why.

The destination waits a second for a byte, so that each case is short. Each case pulls an object of its own.
"""

import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from replicator.kernel.chunker import DEFAULT_CHUNKING
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import PAGE_ENTRIES, ROOT_BYTES_MAX, ChunkRef, Manifest, encode_page
from replicator.testing.lying_source import (
    Forgery,
    Lie,
    Line,
    LyingSource,
    Step,
    cut,
    forge,
    frame,
    new_version,
    respond,
)
from replicator.testing.processes import ServerProcess, node_process
from replicator.testing.task_desk import TaskDesk
from replicator.testing.waiting import wait_until
from replicator.wire.frames import FRAME_BYTES, FrameStatus
from replicator.wire.sessions import TaskResult

MEBIBYTE = 1024 * 1024
MEMORY_BYTES_MAX = 300 * 1000 * 1000
DESCRIPTORS_MORE_MAX = 4


@dataclass
class Stage:
    """A destination, a desk that gives it tasks, and the source it is to pull from."""

    destination: ServerProcess
    desk: TaskDesk
    source: LyingSource
    told: list[str] = field(default_factory=list)

    def pull(self, object_id: str, forgery: Forgery, lies: dict[Step, Lie] | None = None) -> TaskResult:
        """Let the destination pull the object; what it must never do is checked here."""
        self.source.show(object_id, forgery, lies)
        result = self.desk.result(self.desk.assign(object_id, self.source.url))
        self._check_admitted(object_id, forgery, succeeded=result.outcome == "succeeded")
        return result

    def _check_admitted(self, object_id: str, forgery: Forgery, *, succeeded: bool) -> None:
        with httpx.Client(base_url=self.destination.url, trust_env=False) as client:
            assert client.get(f"/objects/{object_id}").status_code == (200 if succeeded else 404)
            for digest in forgery.chunks:
                chunk = client.get(f"/chunks/{digest}")
                assert chunk.status_code == 404 or Digest.of(chunk.content) == digest


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("lies")
    settings = {"REPLICATOR_NODE_PEER_TIMEOUT_S": "1"}
    with (
        TaskDesk() as desk,
        LyingSource() as source,
        node_process("destination", folder, control_plane=desk.url, settings=settings) as destination,
    ):
        stage = Stage(destination, desk, source)
        assert stage.pull("warm-up", honest("warm-up")).outcome == "succeeded"
        descriptors = destination.open_files()
        yield stage
        assert stage.pull("at the end", honest("at the end")).outcome == "succeeded"
        wait_until(
            lambda: destination.open_files() <= descriptors + DESCRIPTORS_MORE_MAX, "descriptors are closed"
        )
        assert destination.peak_memory_bytes() < MEMORY_BYTES_MAX
        assert destination.stray_output() == []
        assert destination.events("task.broke") == []
        assert destination.stop() == 0


def honest(seed: str, size: int = 60_000) -> Forgery:
    return forge(cut(random.Random(seed).randbytes(size)))


def test_an_honest_source_is_believed(stage: Stage) -> None:
    forgery = honest("honest", 3 * MEBIBYTE)
    result = stage.pull("honest", forgery)
    assert result.outcome == "succeeded"
    got = httpx.get(f"{stage.destination.url}/objects/honest", trust_env=False).content
    assert got == b"".join(forgery.chunks.values())
    transfer = result.transfer
    assert (transfer.bytes_logical, transfer.bytes_transferred) == (3 * MEBIBYTE, 3 * MEBIBYTE)


def damaged(body: bytes, at: int = FRAME_BYTES + 5) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def with_frame(line: Line, position: int, *fields: object) -> bytes:
    """The honest stream with its first header packed anew from `position` on."""
    header = list(struct.unpack(">32sBBHI", line.body[:FRAME_BYTES]))
    header[position : position + len(fields)] = fields
    return struct.pack(">32sBBHI", *header) + line.body[FRAME_BYTES:]


# What no source may send: the object cannot be had from it, and trying again would not help.
BROKEN_STREAMS: dict[str, Lie] = {
    "other bytes": lambda line: line.send(line.head + damaged(line.body)),
    "other bytes in the last chunk": lambda line: line.send(line.head + damaged(line.body, -1 % len(line.body))),
    "another digest": lambda line: line.send(line.head + with_frame(line, 0, bytes(32))),
    "a longer chunk": lambda line: line.send(line.head + with_frame(line, 4, 200_000)),
    "a shorter chunk": lambda line: line.send(line.head + with_frame(line, 4, 10)),
    "an empty chunk": lambda line: line.send(line.head + with_frame(line, 4, 0)),
    "an enormous chunk": lambda line: line.send(line.head + with_frame(line, 4, 2**32 - 1)),
    "an unknown status": lambda line: line.send(line.head + with_frame(line, 1, 77)),
    "an unknown codec": lambda line: line.send(line.head + with_frame(line, 2, 1)),
    "garbage": lambda line: line.send(line.head + random.Random(1).randbytes(len(line.body))),
    "nothing": lambda line: line.send(respond(b"")),
    "too few frames": lambda line: line.send(respond(line.body[: FRAME_BYTES + 1])),
    "more frames than asked for": lambda line: line.send(respond(line.body + line.body)),
    "an endless body": lambda line: (line.send(respond(b"", length=None)), line.repeat(line.body))[0],
    "a length of exabytes": lambda line: line.send(respond(line.body, length=2**62)),
    "a negative length": lambda line: line.send(respond(line.body, length=-5)),
    "a length that is no number": lambda line: line.send(respond(line.body, length="many")),
    "endless chunked coding": lambda line: (
        line.send(respond(b"", [("Transfer-Encoding", "chunked")], length=None)),
        line.repeat(b"400\r\n" + bytes(1024) + b"\r\n"),
    )[0],
    "not HTTP": lambda line: line.send(random.Random(2).randbytes(5000)),
    "a header line without end": lambda line: line.send(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 3 * MEBIBYTE),
    "headers without end": lambda line: (line.send(b"HTTP/1.1 200 OK\r\n"), line.repeat(b"X: y\r\n" * 100))[0],
    "a redirect": lambda line: line.send(respond(b"", [("Location", "/elsewhere")], status="302 Found")),
    "204": lambda line: line.send(respond(b"", status="204 No Content", length=None)),
    "206": lambda line: line.send(respond(line.body, status="206 Partial Content")),
    "404 without a reason": lambda line: line.send(respond(b"<html>", status="404 Not Found")),
}


@pytest.mark.parametrize("lie", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS.keys())
def test_a_chunk_stream_that_breaks_the_protocol_fails_for_good(
    stage: Stage, request: pytest.FixtureRequest, lie: Lie
) -> None:
    name = request.node.callspec.id
    result = stage.pull(name, honest(name), {"fetch": lie})
    assert result.outcome == "failed"
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", "broken-peer")
    assert len(result.error.message) > 20
    assert result.transfer.objects_failed == 1
    assert not [path for path in stage.source.paths if path.startswith("/elsewhere")]


def problem(status: str, code: str) -> bytes:
    body = {"title": "x", "status": int(status[:3]), "detail": "as the source says", "code": code}
    return respond(json.dumps(body).encode(), [("Content-Type", "application/problem+json")], status=status)


# What may pass: the same request may work later.
PASSING: dict[str, Lie] = {
    "silence before the answer": Line.stall,
    "silence in the middle": lambda line: (line.send(line.answer[:-100]), line.stall())[0],
    "a body cut short": lambda line: line.send(line.answer[:-100]),
    "a head cut short": lambda line: line.send(line.answer[:20]),
    "no answer": lambda line: None,
    "a reset before the answer": Line.reset,
    "a reset in the middle": lambda line: (line.send(line.answer[:-100]), line.reset())[0],
    "a body that drips": lambda line: (line.send(line.head), line.drip(line.body))[0],
    "a head that drips": lambda line: line.drip(line.answer),
    "interim answers without end": lambda line: line.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 20),
    "500 without a reason": lambda line: line.send(respond(b"oops", status="500 Internal Server Error")),
    "502 of a proxy": lambda line: line.send(respond(b"<html>", status="502 Bad Gateway")),
    "500 with a reason": lambda line: line.send(problem("500 Internal Server Error", "internal")),
    "503 with a reason": lambda line: line.send(problem("503 Service Unavailable", "unavailable")),
    "an error that drips": lambda line: (
        line.send(respond(b"", status="500 Internal Server Error", length=50_000)),
        line.drip(b"x" * 50_000),
    )[0],
}
STEPS: tuple[Step, ...] = ("offer", "fetch")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("lie", PASSING.values(), ids=PASSING.keys())
def test_a_source_in_trouble_fails_the_attempt_for_now(
    stage: Stage, request: pytest.FixtureRequest, step: Step, lie: Lie
) -> None:
    name = request.node.callspec.id
    # A drip is given up when it falls below the least rate, so the less is asked for the sooner.
    result = stage.pull(name, honest(name, 15_000), {step: lie})
    assert result.outcome == "failed"
    assert result.error is not None
    assert result.error.error_class == "transient", result.error
    assert result.transfer.objects_failed == 1


@pytest.mark.parametrize("code", ["cancelled", "fenced", "store-failed", "peer-unreachable", "quota-exceeded"])
def test_a_source_cannot_speak_for_the_destination(stage: Stage, code: str) -> None:
    lie: Lie = lambda line: line.send(problem("503 Service Unavailable", code))  # noqa: E731
    result = stage.pull(f"says {code}", honest(code), {"fetch": lie})
    assert result.outcome == "failed"
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "unavailable")


def test_a_source_that_is_not_there_is_down(stage: Stage) -> None:
    with LyingSource() as gone:
        url = gone.url
    result = stage.desk.result(stage.desk.assign("anything", url))
    assert result.error is not None
    assert (result.outcome, result.error.error_class) == ("failed", "node-down")


def test_an_object_that_is_not_there_fails_for_good(stage: Stage) -> None:
    lie: Lie = lambda line: line.send(problem("404 Not Found", "not-found"))  # noqa: E731
    result = stage.pull("absent", honest("absent"), {"offer": lie})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", "not-found")
    assert "as the source says" in result.error.message


@pytest.mark.parametrize(
    ("status", "code"), [(FrameStatus.MISSING, "not-found"), (FrameStatus.CORRUPT, "corrupt")]
)
def test_a_chunk_the_source_does_not_have_or_has_damaged_is_named(
    stage: Stage, status: FrameStatus, code: str
) -> None:
    forgery = honest(code, MEBIBYTE)
    last = list(forgery.chunks)[-1]

    def lie(line: Line) -> None:
        stream = line.body[: -len(forgery.chunks[last]) - FRAME_BYTES] + frame(last, b"", status)
        line.send(respond(stream, length=len(line.body)))

    result = stage.pull(f"lacks {code}", forgery, {"fetch": lie})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", code)
    assert str(last) in result.error.message
    again = stage.pull(f"lacks {code}", forgery)
    assert again.outcome == "succeeded"
    assert again.transfer.bytes_transferred == len(forgery.chunks[last]), "the rest had arrived"


def forged_root(alter: dict[int, object], *, body: bytes | None = None) -> Forgery:
    """An object whose root, properly named by its digest, contradicts itself in the given fields."""
    forgery = honest("root")
    root = struct.Struct(">4sBBHIIIQQ")
    fields = list(root.unpack_from(forgery.manifest))
    for position, value in alter.items():
        fields[position] = value
    encoded = root.pack(*fields) + (forgery.manifest[root.size :] if body is None else body)
    return replace(forgery, manifest=encoded, etag=f'"{Digest.of(encoded)}"')


def entries_of(*lengths: int) -> bytes:
    return b"".join(bytes([index]) * 32 + struct.pack(">I", length) for index, length in enumerate(lengths))


WRONG_OFFERS: dict[str, Forgery] = {
    "another digest": replace(honest("root"), etag=f'"{Digest.of(b"")}"'),
    "no digest": replace(honest("root"), etag='"abc"'),
    "bytes cut off": replace(honest("root"), manifest=honest("root").manifest[:-1]),
    "no bytes": replace(honest("root"), manifest=b"", etag=f'"{Digest.of(b"")}"'),
    "another format": forged_root({1: 9}),
    "an impossible depth": forged_root({2: 7}),
    "impossible chunking": forged_root({4: 0, 5: 0, 6: 2**32 - 1}),
    "another size": forged_root({7: 2**63}),
    "another count": forged_root({8: 2**40}),
    "a chunk longer than the longest": forged_root({7: 2**31, 8: 1}, body=entries_of(2**31)),
    "an empty chunk": forged_root({7: 1, 8: 2}, body=entries_of(0, 1)),
    "ragged entries": forged_root({}, body=b"x" * 37),
    "pages for a small object": forged_root({2: 1}),
    "a page that covers too much": forged_root(
        {2: 1, 7: 2**62, 8: PAGE_ENTRIES + 1}, body=(bytes(32) + struct.pack(">Q", 2**61)) * 2
    ),
    "larger than any": replace(honest("root"), manifest=bytes(ROOT_BYTES_MAX + 1)),
    "no version": replace(honest("root"), version=""),
    "a version that is none": replace(honest("root"), version="g" * 32),
    "a version of the far future": replace(honest("root"), version=str(new_version(2**47))),
    "an endless content type": replace(honest("root"), content_type="x" * 60_000),
    "a content type that is not ASCII": replace(honest("root"), content_type="text/\xff"),
}


@pytest.mark.parametrize("forgery", WRONG_OFFERS.values(), ids=WRONG_OFFERS.keys())
def test_a_manifest_that_cannot_be_right_fails_for_good(
    stage: Stage, request: pytest.FixtureRequest, forgery: Forgery
) -> None:
    asked_before = stage.source.paths.count("/chunks/fetch")
    result = stage.pull(f"offer {request.node.callspec.id}", forgery)
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", "broken-peer")
    assert stage.source.paths.count("/chunks/fetch") == asked_before, "no chunk was asked for"


@pytest.mark.parametrize("code", ["endless", "announced"])
def test_a_manifest_without_end_is_not_read_to_it(stage: Stage, code: str) -> None:
    length = None if code == "endless" else 2**50
    lie: Lie = lambda line: (line.send(respond(b"", length=length)), line.repeat(bytes(65_536)))[0]  # noqa: E731
    result = stage.pull(f"manifest {code}", honest(code), {"offer": lie})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", "broken-peer")


def paged() -> Forgery:
    """An object of two pages, all of one small chunk."""
    piece = b"one small chunk, again and again"
    forgery = forge([piece] * (PAGE_ENTRIES + 10))
    assert len(forgery.pages) == 2
    return forgery


def other_page(count: int, length: int) -> bytes:
    return encode_page([ChunkRef(Digest.of(b"other"), length)] * count)


WRONG_PAGES: dict[str, Lie] = {
    "another page": lambda line: line.send(respond(other_page(PAGE_ENTRIES, 32))),
    "a page cut off": lambda line: line.send(respond(line.body[:-1])),
    "an empty page": lambda line: line.send(respond(b"")),
    "garbage": lambda line: line.send(respond(random.Random(3).randbytes(len(line.body)))),
    "too long a page": lambda line: line.send(respond(bytes(MEBIBYTE))),
    "an endless page": lambda line: (line.send(respond(b"", length=None)), line.repeat(bytes(65_536)))[0],
}


@pytest.mark.parametrize("lie", WRONG_PAGES.values(), ids=WRONG_PAGES.keys())
def test_a_page_that_is_not_the_one_named_fails_for_good(
    stage: Stage, request: pytest.FixtureRequest, lie: Lie
) -> None:
    result = stage.pull(f"page {request.node.callspec.id}", paged(), {"page": lie})
    assert result.error is not None
    assert result.error.error_class == "permanent"
    assert result.error.code in ("corrupt", "broken-peer")


def test_a_page_that_is_named_but_contradicts_its_root_fails_for_good(stage: Stage) -> None:
    piece = b"one small chunk, again and again"
    honest_entries = [ChunkRef(Digest.of(piece), len(piece))] * PAGE_ENTRIES
    pages = [encode_page(honest_entries), other_page(10, DEFAULT_CHUNKING.chunk_bytes_max)]
    size = len(piece) * (PAGE_ENTRIES + 10)
    root = Manifest(
        DEFAULT_CHUNKING,
        size,
        PAGE_ENTRIES + 10,
        pages=tuple(
            ChunkRef(Digest.of(page), length)  # type: ignore[misc]
            for page, length in zip(pages, (len(piece) * PAGE_ENTRIES, len(piece) * 10), strict=True)
        ),
    )
    forgery = replace(paged(), manifest=root.encoded, etag=f'"{root.digest}"', pages=pages)
    result = stage.pull("contradicting page", forgery)
    assert result.error is not None
    assert result.error.error_class == "permanent"


def test_a_chunk_listed_with_two_lengths_fails_for_good(stage: Stage) -> None:
    piece = random.Random("two lengths").randbytes(20_000)
    digest = Digest.of(piece)
    refs = (ChunkRef(digest, 20_000), ChunkRef(digest, 19_999))
    manifest = Manifest(DEFAULT_CHUNKING, 39_999, 2, entries=refs)
    forgery = Forgery(
        manifest=manifest.encoded,
        etag=f'"{manifest.digest}"',
        chunks={digest: piece},
        version=str(new_version()),
    )
    result = stage.pull("two lengths", forgery)
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", "broken-peer")
