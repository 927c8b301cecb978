"""A node that is a fake, and lies: honest in everything but the one step that a test replaces."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Literal, Self, cast

from replicator.data_plane.ports import Versioning
from replicator.data_plane.replication.encode import encode_delta
from replicator.data_plane.replication.messages import replies, requests
from replicator.data_plane.replication.messages.requests import PieceAsked
from replicator.data_plane.replication.ports import Entry, Listing
from replicator.kernel.digest import Digest
from replicator.kernel.errors import ReplicatorError
from replicator.kernel.merkle import encode_entry, stretch_digest
from replicator.kernel.names import NodeName, ObjectId
from replicator.kernel.version import VersionId
from replicator.testing.forgery import Forgery
from replicator.testing.lies import Lie, Line, frame, respond
from replicator.testing.processes import HOST
from replicator.testing.waiting import DEADLINE_S
from replicator.wire.frames import Codec, FrameStatus
from replicator.wire.pb import replication_pb2 as pb

Step = Literal["hello", "list", "offers", "page", "missing", "fetch", "prove", "remove"]
PATHS = "/replication/"
_HEAD_BYTES_MAX = 64 * 1024


class LyingSource:
    """Serves forged objects of the bucket `default` on a port of its own. A context manager.

    Attributes:
        steps: what every request that came was for, in order.
        received_bytes, sent_bytes: what went over its connections, lies aside.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.received_bytes = 0
        self.sent_bytes = 0
        self._objects: dict[str, Forgery] = {}
        self._lies: dict[str, Mapping[Step, Lie]] = {}
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((HOST, 0))
        self._answers: dict[str, Callable[[bytes], tuple[str | None, bytes]]] = {
            "hello": self._hello,
            "list": self._list,
            "offers": self._offers,
            "page": self._page,
            "missing": self._missing,
            "fetch": self._fetch,
            "prove": self._prove,
            "remove": self._remove,
        }

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
        """Serve `forgery` under that name, with `lies` in the place of honest answers about it.

        A lie about `hello`, `list` or `missing`, which are about no object, is told whoever asks.
        """
        self._lies[object_id] = lies or {}
        self._objects[object_id] = forgery

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
                lie, answer = self._answer(*request)
                if lie is not None:
                    lie(Line(client, answer, self._over))
                    return
                client.sendall(answer)
                self.sent_bytes += len(answer)

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
        self.received_bytes += len(head) + len(body)
        return lines[0].split(" ")[1], body

    def _answer(self, path: str, body: bytes) -> tuple[Lie | None, bytes]:
        step = path.removeprefix(PATHS)
        self.steps.append(step)
        if step not in self._answers:
            return None, respond(b"", status="404 Not Found")
        object_id, reply = self._answers[step](body)
        return self._lie(cast("Step", step), object_id), respond(reply)

    def _lie(self, step: Step, object_id: str | None) -> Lie | None:
        if object_id is not None:
            return self._lies.get(object_id, {}).get(step)
        return next((lies[step] for lies in self._lies.values() if step in lies), None)

    def _node(self) -> NodeName:
        return NodeName(next((each.node for each in self._objects.values()), "source"))

    def _hello(self, _: bytes) -> tuple[None, bytes]:
        return None, replies.encode_hello(self._node(), "0").SerializeToString()

    def _list(self, body: bytes) -> tuple[None, bytes]:
        stretch, limit, digest_only = requests.decode_list(pb.ListRequest.FromString(body))
        within = sorted(
            (key, each)
            for key, each in self._objects.items()
            if key.startswith(stretch.prefix)
            and key > stretch.after
            and (not stretch.until or key <= stretch.until)
        )
        entries = [
            Entry(ObjectId(key), VersionId(each.version), each.digest, each.size)
            for key, each in within[:limit]
        ]
        digest = stretch_digest(encode_entry(key, version, digest) for key, version, digest, _ in entries)
        last = entries[-1].object_id if entries else ""
        listed = [] if digest_only else entries
        more = len(within) > limit
        listing = Listing(listed, digest, len(entries), last, more, Versioning.OFF, self._node())
        return None, replies.encode_list(listing).SerializeToString()

    def _offers(self, body: bytes) -> tuple[str, bytes]:
        asked = pb.OffersRequest.FromString(body)
        keys = [wanted.key for wanted in asked.wanted]
        node = next((self._objects[key].node for key in keys if key in self._objects), "source")
        reply = pb.OffersReply(node=node, offers=map(self._offer, keys))
        return keys[0], reply.SerializeToString()

    def _offer(self, key: str) -> pb.Offer:
        forged = self._objects.get(key)
        if forged is None:
            return pb.Offer(refused=pb.Refusal(code="not-found", message=f"there is no object '{key}'"))
        offered = pb.Offered(
            version=forged.version,
            manifest=forged.manifest,
            content_type=forged.content_type,
            versioning=forged.versioning,
        )
        return pb.Offer(offered=offered)

    def _page(self, body: bytes) -> tuple[str, bytes]:
        asked = pb.PageRequest.FromString(body)
        object_id = next(key for key, each in self._objects.items() if each.digest == asked.manifest)
        page = self._objects[object_id].pages[asked.index]
        return object_id, pb.PageReply(page=page).SerializeToString()

    def _missing(self, body: bytes) -> tuple[None, bytes]:
        digests = requests.decode_missing(pb.MissingRequest.FromString(body))
        here = self._chunks()
        return None, replies.encode_missing([digest not in here for digest in digests]).SerializeToString()

    def _fetch(self, body: bytes) -> tuple[str, bytes]:
        asked = requests.decode_fetch(pb.FetchRequest.FromString(body))
        first = asked.pieces[0].chunks[0]
        object_id = next(key for key, each in self._objects.items() if first in each.chunks)
        here = self._chunks()
        return object_id, b"".join(_frames(piece, here) for piece in asked.pieces)

    def _prove(self, body: bytes) -> tuple[str, bytes]:
        asked = requests.decode_prove(pb.ProveRequest.FromString(body))
        proofs: list[Digest | ReplicatorError] = [self._objects[each.object_id].digest for each in asked]
        return asked[0].object_id, replies.encode_prove(self._node(), proofs).SerializeToString()

    def _remove(self, body: bytes) -> tuple[str, bytes]:
        asked = requests.decode_remove(pb.RemoveRequest.FromString(body))
        reply = replies.encode_remove(self._node(), [None for _ in asked])
        return asked[0].object_id, reply.SerializeToString()

    def _chunks(self) -> dict[Digest, bytes]:
        here: dict[Digest, bytes] = {}
        for each in self._objects.values():
            here |= each.older
            here |= each.chunks
        return here


def _frames(piece: PieceAsked, here: Mapping[Digest, bytes]) -> bytes:
    parts = [here[digest] for digest in piece.chunks]
    if piece.references and all(digest in here for digest in piece.references):
        delta = encode_delta(parts, b"".join(here[digest] for digest in piece.references))
        if delta is not None:
            return frame(piece.chunks[0], delta, FrameStatus.DELTA, Codec.ZSTD)
    return b"".join(frame(digest, part) for digest, part in zip(piece.chunks, parts, strict=True))
