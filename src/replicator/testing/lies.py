"""What a source may do in the place of an honest answer: to its bytes, its messages, or its connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import zstandard
from google.protobuf.message import Message

from replicator.data_plane.replication.messages.replies import Sent
from replicator.wire import frames
from replicator.wire.frames import FRAME_BYTES, Codec, FrameStatus
from replicator.wire.replication import MEDIA_TYPE

_BOMB_BYTES = 1024 * 1024 * 1024

ReplyT = TypeVar("ReplyT", bound=Message)


class Line:
    """One connection to the destination, for a lie to misuse, and the honest answer that it replaces."""

    def __init__(self, sock: socket.socket, answer: bytes, over: threading.Event) -> None:
        self.answer = answer
        self._socket = sock
        self._over = over

    @property
    def head(self) -> bytes:
        """The honest head."""
        return self.answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    @property
    def body(self) -> bytes:
        """The honest body."""
        return self.answer.partition(b"\r\n\r\n")[2]

    def send(self, data: bytes) -> None:
        """Send `data`."""
        self._socket.sendall(data)

    def stall(self) -> None:
        """Say nothing until the destination has gone or the test is over."""
        while not self._over.is_set():
            self._socket.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                if not self._socket.recv(1):
                    return

    def drip(self, data: bytes, *, pause_s: float = 0.2) -> None:
        """Send `data` byte by byte, never silent for long."""
        for byte in data:
            if self._over.wait(pause_s):
                return
            self.send(bytes([byte]))

    def repeat(self, data: bytes) -> None:
        """Send `data` again and again."""
        while not self._over.is_set():
            self.send(data)

    def reset(self) -> None:
        """Close so that the destination sees a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


Lie = Callable[[Line], None]
"""Answers one request. The connection is closed behind it."""


def altered(kind: type[ReplyT], alter: Callable[[ReplyT], None]) -> Lie:
    """The honest message with a change made to it."""

    def lie(line: Line) -> None:
        reply = kind.FromString(line.body)
        alter(reply)
        line.send(respond(reply.SerializeToString()))

    return lie


def steps(*each: Lie) -> Lie:
    """One lie after the other, on the same line."""

    def lie(line: Line) -> None:
        for step in each:
            step(line)

    return lie


def once(lie: Lie) -> Lie:
    """The lie the first time, and the truth from then on."""
    told = threading.Event()

    def first_lie(line: Line) -> None:
        if told.is_set():
            line.send(line.answer)
        else:
            told.set()
            lie(line)

    return first_lie


def altered_frames(alter: Callable[[Sent], Sent]) -> Lie:
    """The honest chunk stream with a change made to each of its frames."""

    def lie(line: Line) -> None:
        altered = [alter(each) for each in split_frames(line.body)]
        line.send(
            respond(b"".join(frame(digest, raw, status, codec) for digest, status, codec, raw in altered))
        )

    return lie


def split_frames(stream: bytes) -> list[Sent]:
    """The frames of a whole chunk stream."""
    found: list[Sent] = []
    at = 0
    while at < len(stream):
        head = frames.decode_frame(stream[at : at + FRAME_BYTES], payload_bytes_max=len(stream))
        at += FRAME_BYTES + head.length
        found.append(Sent(head.digest, head.status, head.codec, stream[at - head.length : at]))
    return found


def frame(
    digest: bytes,
    payload: bytes | memoryview,
    status: FrameStatus = FrameStatus.CHUNK,
    codec: Codec = Codec.PLAIN,
) -> bytes:
    """One frame of a chunk stream."""
    return frames.encode_frame(digest, status, len(payload), codec) + payload


def bomb(*, states_length: bool = True) -> bytes:
    """A few kilobytes of zstd that decode to a gibibyte."""
    block = bytes(_BOMB_BYTES // 1024)
    making = zstandard.ZstdCompressor().compressobj(size=_BOMB_BYTES if states_length else -1)
    return b"".join([making.compress(block) for _ in range(1024)]) + making.flush()


def chunked(body: bytes, size: int) -> bytes:
    """A response in chunked coding, `size` bytes to a chunk."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return respond(b"", [("Transfer-Encoding", "chunked")], length=None) + coded + b"0\r\n\r\n"


def respond(
    body: bytes,
    headers: Sequence[tuple[str, str]] = (),
    *,
    status: str = "200 OK",
    length: int | str | None = -1,
) -> bytes:
    """A response. `length` replaces the true Content-Length; None leaves it out."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {MEDIA_TYPE}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
