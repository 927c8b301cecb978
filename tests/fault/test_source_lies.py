"""A source that lies in its chunk streams: no wrong byte is admitted, and the attempt ends for good."""

import random
import struct

import pytest

from replicator.kernel.manifest import PAGE_ENTRIES
from replicator.testing.lies import Lie, Line, altered_frames, bomb, frame, respond, split_frames, steps
from replicator.testing.pull_stage import PullStage, honest, paged
from replicator.wire.frames import FRAME_BYTES, Codec, FrameStatus

MEBIBYTE = 1024 * 1024


def test_an_honest_source_is_believed(stage: PullStage) -> None:
    forgery = honest("honest", 3 * MEBIBYTE)
    result = stage.pull("honest", forgery)
    assert result.outcome == "verified"
    assert stage.read("honest") == b"".join(forgery.chunks.values())
    assert (result.size, result.bytes_transferred) == (3 * MEBIBYTE, 3 * MEBIBYTE)


def closing(line: Line) -> None:
    """The honest answer, behind which the connection is closed as announced."""
    line.send(line.head[:-2] + b"Connection: close\r\n\r\n" + line.body)


def test_a_source_that_closes_behind_every_answer_is_no_liar(stage: PullStage) -> None:
    pages = paged("closing")
    result = stage.pull("closing", pages, {"offers": closing, "page": closing, "fetch": closing})
    assert result.outcome == "verified", result.error
    assert stage.read("closing") == b"".join(pages.chunks.values()) * (PAGE_ENTRIES + 10)


def damaged(body: bytes, at: int = FRAME_BYTES + 5) -> bytes:
    at %= len(body)
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def with_frame(line: Line, position: int, *fields: object) -> bytes:
    """The honest stream with its first header packed anew from `position` on."""
    header = list(struct.unpack(">32sBBHI", line.body[:FRAME_BYTES]))
    header[position : position + len(fields)] = fields
    return struct.pack(">32sBBHI", *header) + line.body[FRAME_BYTES:]


BOMB = bomb()


def reversed_frames(stream: bytes) -> bytes:
    return b"".join(frame(each.digest, each.payload) for each in reversed(split_frames(stream)))


# What no source may send: the object cannot be had from it, and trying again would not help.
BROKEN_STREAMS: dict[str, Lie] = {
    "other bytes": lambda line: line.send(line.head + damaged(line.body)),
    "other bytes in the last chunk": lambda line: line.send(line.head + damaged(line.body, -1)),
    "another digest": lambda line: line.send(line.head + with_frame(line, 0, bytes(32))),
    "a longer chunk": lambda line: line.send(line.head + with_frame(line, 4, 200_000)),
    "a shorter chunk": lambda line: line.send(line.head + with_frame(line, 4, 10)),
    "an empty chunk": lambda line: line.send(line.head + with_frame(line, 4, 0)),
    "an enormous chunk": lambda line: line.send(line.head + with_frame(line, 4, 2**32 - 1)),
    "an unknown status": lambda line: line.send(line.head + with_frame(line, 1, 77)),
    "an unknown codec": lambda line: line.send(line.head + with_frame(line, 2, 7)),
    "plain bytes as compressed ones": lambda line: line.send(line.head + with_frame(line, 2, Codec.ZSTD)),
    "a delta that nobody asked for": lambda line: line.send(
        line.head + with_frame(line, 1, FrameStatus.DELTA, Codec.ZSTD)
    ),
    "a bomb": altered_frames(lambda sent: sent._replace(codec=Codec.ZSTD, payload=BOMB)),
    "chunks in another order": lambda line: line.send(line.head + reversed_frames(line.body)),
    "garbage": lambda line: line.send(line.head + random.Random(1).randbytes(len(line.body))),
    "nothing": lambda line: line.send(respond(b"")),
    "too few frames": lambda line: line.send(respond(line.body[: FRAME_BYTES + 1])),
    "more frames than asked for": lambda line: line.send(respond(line.body + line.body)),
    "an endless body": steps(
        lambda line: line.send(respond(b"", length=None)), lambda line: line.repeat(line.body)
    ),
    "a length of exabytes": lambda line: line.send(respond(line.body, length=2**62)),
    "a negative length": lambda line: line.send(respond(line.body, length=-5)),
    "a length that is no number": lambda line: line.send(respond(line.body, length="many")),
    "endless chunked coding": steps(
        lambda line: line.send(respond(b"", [("Transfer-Encoding", "chunked")], length=None)),
        lambda line: line.repeat(b"400\r\n" + bytes(1024) + b"\r\n"),
    ),
    "not HTTP": lambda line: line.send(random.Random(2).randbytes(5000)),
    "a header line without end": lambda line: line.send(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 3 * MEBIBYTE),
    "headers without end": steps(
        lambda line: line.send(b"HTTP/1.1 200 OK\r\n"),
        lambda line: line.repeat(b"X: y\r\n" * 100),
    ),
    "a redirect": lambda line: line.send(respond(b"", [("Location", "/elsewhere")], status="302 Found")),
    "204": lambda line: line.send(respond(b"", status="204 No Content", length=None)),
    "206": lambda line: line.send(respond(line.body, status="206 Partial Content")),
    "404 without a reason": lambda line: line.send(respond(b"<html>", status="404 Not Found")),
}


@pytest.mark.parametrize("lie", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS.keys())
def test_a_chunk_stream_that_breaks_the_protocol_fails(
    stage: PullStage, request: pytest.FixtureRequest, lie: Lie
) -> None:
    name = request.node.callspec.id
    result = stage.pull(name, honest(name, 300_000), {"fetch": lie})
    assert result.outcome == "failed"
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "broken-peer")
    assert len(result.error.message) > 20
    assert not [step for step in stage.source.steps if "elsewhere" in step]


@pytest.mark.parametrize("case", ["other bytes", "a longer chunk", "garbage", "an endless body", "a bomb"])
def test_a_good_second_source_brings_what_a_liar_does_not(stage: PullStage, case: str) -> None:
    name = f"second source, {case}"
    forgery = honest(name)
    result = stage.pull(name, forgery, {"fetch": BROKEN_STREAMS[case]}, other=forgery)
    assert result.outcome == "verified", result.error
    assert stage.read(name) == b"".join(forgery.chunks.values())


@pytest.mark.parametrize("status", [FrameStatus.MISSING, FrameStatus.CORRUPT])
def test_a_good_second_source_brings_what_the_first_lacks(stage: PullStage, status: FrameStatus) -> None:
    name = f"second source, {status.name}"
    forgery = honest(name)
    refused: Lie = lambda line: line.send(  # noqa: E731
        respond(frame(split_frames(line.body)[0].digest, b"", status), length=len(line.body))
    )
    result = stage.pull(name, forgery, {"fetch": refused}, other=forgery)
    assert result.outcome == "verified", result.error
    assert stage.read(name) == b"".join(forgery.chunks.values())


def test_a_second_source_that_lies_as_well_helps_nobody(stage: PullStage) -> None:
    name = "both lie"
    forgery = honest(name)
    stage.other.show(name, forgery, {"fetch": BROKEN_STREAMS["other bytes"]})
    task = stage.begin(name, forgery, {"fetch": BROKEN_STREAMS["garbage"]}, with_other=True)
    result = stage.ended(task, name, forgery)
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "broken-peer")


@pytest.mark.parametrize(
    ("status", "code"), [(FrameStatus.MISSING, "not-found"), (FrameStatus.CORRUPT, "corrupt")]
)
def test_a_chunk_the_source_does_not_have_or_has_damaged_is_named(
    stage: PullStage, status: FrameStatus, code: str
) -> None:
    forgery = honest(code, MEBIBYTE)
    last = list(forgery.chunks)[-1]

    def lie(line: Line) -> None:
        stream = b""
        for sent in split_frames(line.body):
            if sent.digest != last:
                stream += frame(sent.digest, sent.payload)
                continue
            stream += frame(last, b"", status)
            if status == FrameStatus.CORRUPT:
                line.send(respond(stream, length=len(line.body)))
                return
        line.send(respond(stream))

    result = stage.pull(f"lacks {code}", forgery, {"fetch": lie})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", code)
    assert str(last) in result.error.message
    again = stage.pull(f"lacks {code}", forgery)
    assert again.outcome == "verified"
    assert again.bytes_transferred == len(forgery.chunks[last]), "the rest had arrived"
