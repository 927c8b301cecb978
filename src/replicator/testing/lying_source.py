"""A node that is a fake, and lies: honest in everything but the one step that a test replaces."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import unquote

from replicator.kernel.chunker import DEFAULT_CHUNKING, Chunker
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.manifest import ChunkRef, ManifestBuilder
from replicator.kernel.version import VersionClock, VersionId
from replicator.testing.processes import HOST
from replicator.testing.waiting import DEADLINE_S
from replicator.wire import frames, manifests
from replicator.wire.frames import FrameStatus

Step = Literal["offer", "page", "fetch"]
_HEAD_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Forgery:
    """An object as the source shows it. Made by `forge`; altered by `dataclasses.replace`."""

    manifest: bytes
    etag: str
    pages: Sequence[bytes] = ()
    chunks: Mapping[Digest, bytes] = field(default_factory=dict)
    version: str = ""
    content_type: str = "application/octet-stream"
    node: str = "source"


def forge(pieces: Iterable[bytes]) -> Forgery:
    """An honest object of the chunks `pieces`."""
    builder = ManifestBuilder(DEFAULT_CHUNKING)
    chunks, pages = {}, []
    for piece in pieces:
        ref = ChunkRef(Digest.of(piece), len(piece))
        chunks[ref.digest] = piece
        if full := builder.add(ref):
            pages.append(full[1])
    manifest, last = builder.finish()
    if last:
        pages.append(last[1])
    return Forgery(
        manifest=manifest.encoded,
        etag=f'"{manifest.digest}"',
        pages=pages,
        chunks=chunks,
        version=str(new_version()),
    )


def cut(data: bytes) -> list[bytes]:
    """The chunks of `data`, as a node would cut it."""
    chunker = Chunker(DEFAULT_CHUNKING)
    return [bytes(piece) for piece in (*chunker.feed(data), *chunker.finish())]


def new_version(wall_ms: int = 1_700_000_000_000) -> VersionId:
    """A version made by this source."""
    return VersionClock("liar").next(wall_ms)


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


def steps(*each: Lie) -> Lie:
    """One lie after the other, on the same line."""

    def lie(line: Line) -> None:
        for step in each:
            step(line)

    return lie


class LyingSource:
    """Serves forged objects, each of its own content, on a port of its own. A context manager.

    Attributes:
        paths: the target of every request that came.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._objects: dict[str, Forgery] = {}
        self._lies: dict[str, Mapping[Step, Lie]] = {}
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((HOST, 0))

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        self._listener.close()

    @property
    def url(self) -> str:
        """What the destination is told to be its source."""
        return f"http://{HOST}:{self._listener.getsockname()[1]}"

    def show(self, object_id: str, forgery: Forgery, lies: Mapping[Step, Lie] | None = None) -> None:
        """Serve `forgery` under that name, with `lies` in the place of honest answers."""
        self._objects[object_id] = forgery
        self._lies[object_id] = lies or {}

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        # The destination may go at any time: that is what it should do to a liar.
        with client, contextlib.suppress(OSError):
            while request := self._read_request(client):
                object_id, step, answer = self._answer(*request)
                lie = self._lies[object_id].get(step)
                if lie is not None:
                    lie(Line(client, answer, self._over))
                    return
                client.sendall(answer)

    def _read_request(self, client: socket.socket) -> tuple[str, bytes] | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            client.settimeout(0.1)
            try:
                byte = client.recv(1)
            except TimeoutError:
                if self._over.is_set():
                    return None
                continue
            if not byte or len(head) > _HEAD_BYTES_MAX:
                return None
            head += byte
        client.settimeout(DEADLINE_S)
        lines = head.decode("latin-1").split("\r\n")
        lengths = [int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")]
        body = b""
        while len(body) < sum(lengths):
            body += client.recv(sum(lengths) - len(body))
        return lines[0].split(" ")[1], body

    def _answer(self, path: str, body: bytes) -> tuple[str, Step, bytes]:
        self.paths.append(path)
        if path == "/chunks/fetch":
            object_id, stream = self._frames(body)
            return object_id, "fetch", respond(stream)
        if path.startswith("/pages/"):
            _, _, digest, index = path.split("/")
            object_id = next(name for name, each in self._objects.items() if each.etag == f'"{digest}"')
            return object_id, "page", respond(self._objects[object_id].pages[int(index)])
        object_id = unquote(path.removeprefix("/manifests/"))
        forged = self._objects[object_id]
        headers = [
            ("ETag", forged.etag),
            (manifests.NODE_HEADER, forged.node),
            (manifests.VERSION_HEADER, forged.version),
            (manifests.CONTENT_TYPE_HEADER, forged.content_type),
        ]
        return object_id, "offer", respond(forged.manifest, headers)

    def _frames(self, wanted: bytes) -> tuple[str, bytes]:
        digests = [Digest(wanted[at : at + DIGEST_BYTES]) for at in range(0, len(wanted), DIGEST_BYTES)]
        object_id = next(name for name, each in self._objects.items() if digests[0] in each.chunks)
        chunks = self._objects[object_id].chunks
        return object_id, b"".join(frame(digest, chunks[digest]) for digest in digests)


def frame(digest: bytes, payload: bytes, status: FrameStatus = FrameStatus.CHUNK) -> bytes:
    """One frame of a chunk stream."""
    return frames.encode_frame(digest, status, len(payload)) + payload


def respond(
    body: bytes,
    headers: Sequence[tuple[str, str]] = (),
    *,
    status: str = "200 OK",
    length: int | str | None = -1,
) -> bytes:
    """A response. `length` replaces the true Content-Length; None leaves it out."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
