"""`/replication/…` on bare ASGI: what a request is answered with, and what its answer waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from replicator.data_plane.api import fetches, replication
from replicator.data_plane.api.exchange import Exchange
from replicator.data_plane.api.replication import ReplicationRoutes, replication_routes
from replicator.data_plane.api.stall import Patience
from replicator.data_plane.objects.blocks import BlockBudget
from replicator.data_plane.objects.service import ObjectService
from replicator.data_plane.replication.messages import replies, requests
from replicator.data_plane.replication.ports import Piece, Stretch
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.settling import LoopSettler
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Cancelled, Corrupt, InvalidRequest, NotFound, TooLarge
from replicator.kernel.names import DEFAULT_BUCKET
from replicator.testing.clock import FrozenClock
from replicator.testing.objects import commit, named, new_version, noise, ref_of
from replicator.testing.peer_source import NODE, SourceStore, wanted
from replicator.testing.waiting import DEADLINE_S
from replicator.wire.frames import FRAME_BYTES, Frame, FrameStatus, decode_frame
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.replication import REQUEST_BYTES_MAX
from replicator.wire.sessions import RateLimits

pytestmark = pytest.mark.anyio

MEBIBYTE = 1024 * 1024
CHUNKS = [noise(seed, 1000) for seed in range(3000)]
TEXT = b"all work and no play " * 40


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class CountingPacer(Pacer):
    """Lets everything pass and says how much."""

    def __init__(self) -> None:
        super().__init__(FrozenClock())
        self.passed: list[int] = []

    async def take_egress(self, n_bytes: int) -> None:
        self.passed.append(n_bytes)
        await asyncio.sleep(0)


@dataclass
class Answered:
    """What went to the client."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    ended: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def frames(self) -> list[tuple[Frame, bytes]]:
        body, found, at = self.body, [], 0
        while at < len(body):
            frame = decode_frame(body[at : at + FRAME_BYTES], payload_bytes_max=8 * MEBIBYTE)
            at += FRAME_BYTES
            found.append((frame, body[at : at + frame.length]))
            at += frame.length
        return found


class Stage:
    """A source that is asked without a network between."""

    def __init__(self, store: SourceStore, routes: ReplicationRoutes, pacer: CountingPacer) -> None:
        self.store = store
        self.pacer = pacer
        self.answered = Answered()
        self.gone = asyncio.Event()
        self._routes = routes

    async def ask(self, path: str, body: bytes, method: str = "POST") -> Answered:
        """The answer to one request; raises what the handler raises, with what went out before in `answered`."""
        received: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if received:
                return received.pop()
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.answered.status = message["status"]
                self.answered.headers = dict(message["headers"])
            else:
                self.answered.parts.append(bytes(message.get("body", b"")))
                self.answered.ended = not message.get("more_body", False)

        scope = {
            "method": method,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"content-length", b"%d" % len(body))],
        }
        self.answered = Answered()
        patience = Patience(timeout_s=DEADLINE_S, body_bytes_per_s_min=0)
        exchange = Exchange(scope, receive, send, patience=patience)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._routes.handle(exchange)
        finally:
            await exchange.close()
        return self.answered

    async def fetch(self, *pieces: Piece, compress: bool = False) -> Answered:
        asked = requests.encode_fetch(pieces, compress=compress)
        return await self.ask("/replication/fetch", asked.SerializeToString())


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    store, pacer = SourceStore(), CountingPacer()
    serving = Serving(store, node=NODE, clock=FrozenClock())
    with ThreadPoolExecutor(2) as threads:
        settler = LoopSettler(asyncio.get_running_loop())
        service = ObjectService(store, settler, threads, BlockBudget(64 * MEBIBYTE, wait_s=DEADLINE_S))
        with replication_routes(serving, service, pacer=pacer) as routes:
            yield Stage(store, routes, pacer)


def piece(payloads: Sequence[bytes], references: Sequence[bytes] = ()) -> Piece:
    return Piece([ref_of(each) for each in payloads], [ref_of(each) for each in references])


async def test_plain_chunks_have_a_length_from_the_beginning() -> None:
    async with staged() as stage:
        stage.store.add(named(*CHUNKS))
        answered = await stage.fetch(piece(CHUNKS[:1500]), piece([b"absent"]), piece(CHUNKS[1500:]))
        assert answered.headers[b"content-length"] == b"%d" % len(answered.body)
        expected = [*CHUNKS[:1500], b"", *CHUNKS[1500:]]
        assert [payload for _, payload in answered.frames()] == expected
        assert answered.ended


async def test_what_may_get_shorter_has_none() -> None:
    async with staged() as stage:
        stage.store.add(named(*CHUNKS, TEXT))
        answered = await stage.fetch(piece([TEXT, *CHUNKS]), compress=True)
        assert b"content-length" not in answered.headers
        assert len(answered.body) < sum(FRAME_BYTES + len(each) for each in (TEXT, *CHUNKS))
        assert [payload for _, payload in answered.frames()[1:]] == CHUNKS
        assert answered.ended


@pytest.mark.parametrize("compress", [False, True])
async def test_every_byte_of_an_answer_waits_for_its_bandwidth(compress: bool) -> None:
    async with staged() as stage:
        stage.store.add(named(*CHUNKS))
        answered = await stage.fetch(piece(CHUNKS), compress=compress)
        assert sum(stage.pacer.passed) == len(answered.body)
        assert max(stage.pacer.passed) <= 2 * MEBIBYTE


async def test_an_answer_goes_out_in_parts_that_nobody_takes_for_silence() -> None:
    async with staged() as stage:
        stage.pacer.set_limits(RateLimits(egress_bytes_per_s=32 * 1024))
        for number in range(1000):
            commit(stage.store, new_version(f"{number}", b"%d" % number))
        asked = requests.encode_list(Stretch(bucket=DEFAULT_BUCKET), limit=1000, digest_only=False)
        answered = await stage.ask("/replication/list", asked.SerializeToString())
        assert len(pb.ListReply.FromString(answered.body).entries) == 1000
        assert answered.headers[b"content-length"] == b"%d" % len(answered.body)
        assert sum(stage.pacer.passed) == len(answered.body)
        assert max(len(part) for part in answered.parts) <= 16 * 1024
        assert answered.ended


async def test_a_client_that_leaves_gets_no_more_of_its_answer() -> None:
    async with staged() as stage:
        stage.pacer.set_limits(RateLimits(egress_bytes_per_s=100))
        for number in range(100):
            commit(stage.store, new_version(f"{number}", b"%d" % number))
        asked = requests.encode_list(Stretch(bucket=DEFAULT_BUCKET), limit=100, digest_only=False)
        stage.gone.set()
        with pytest.raises(Cancelled):
            await stage.ask("/replication/list", asked.SerializeToString())
        assert not stage.answered.ended


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("damaged", [0, 1, 1400, 2999])
async def test_an_answer_ends_at_a_damaged_chunk_and_is_not_whole(compress: bool, damaged: int) -> None:
    async with staged() as stage:
        stage.store.add(named(*CHUNKS))
        stage.store.damaged.add(Digest.of(CHUNKS[damaged]))
        with pytest.raises(Corrupt):
            await stage.fetch(piece(CHUNKS), compress=compress)
        frames = stage.answered.frames()
        assert [payload for _, payload in frames] == [*CHUNKS[:damaged], b""]
        assert frames[-1][0].status is FrameStatus.CORRUPT
        assert not stage.answered.ended


async def test_a_client_that_leaves_ends_its_fetch_and_lets_go_of_the_chunks() -> None:
    async with staged() as stage:
        stage.store.add(named(*CHUNKS))
        stage.gone.set()
        with pytest.raises(Cancelled):
            await stage.fetch(piece(CHUNKS))
        assert stage.store.holds == []


async def test_where_too_many_want_deltas_one_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetches, "_DELTA_FETCHES_MAX", 0)
    monkeypatch.setattr(fetches, "_DELTA_WAIT_S", 0.01)
    new = [chunk[:500] + b"!" + chunk[500:] for chunk in CHUNKS[:8]]
    async with staged() as stage:
        stage.store.add(named(*CHUNKS[:8], *new))
        answered = await stage.fetch(piece(new, CHUNKS[:8]))
        assert [payload for _, payload in answered.frames()] == new
        assert answered.ended


async def test_a_run_with_references_is_one_delta() -> None:
    new = [chunk[:500] + b"!" + chunk[500:] for chunk in CHUNKS[:8]]
    async with staged() as stage:
        stage.store.add(named(*CHUNKS[:8], *new))
        answered = await stage.fetch(piece(new, CHUNKS[:8]), piece([b"absent"]))
        statuses = [frame.status for frame, _ in answered.frames()]
        assert statuses == [FrameStatus.DELTA, FrameStatus.MISSING]
        assert len(answered.body) < 1000
        assert answered.ended


async def test_a_long_proof_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "_SIGN_OF_LIFE_S", 0.01)
    async with staged() as stage:
        manifests = [commit(stage.store, new_version(key, b"x")).version.manifest for key in "ab"]
        asked = requests.encode_prove([wanted("a"), wanted("absent"), wanted("b")]).SerializeToString()
        stage.store.open.clear()
        answering = asyncio.create_task(stage.ask("/replication/prove", asked))
        while len(stage.answered.parts) < 3:
            await asyncio.sleep(0.01)
        stage.store.open.set()
        answered = await answering
        first, absent, last = replies.decode_prove(pb.ProveReply.FromString(answered.body), 3)
        assert [first, last] == manifests
        assert isinstance(absent, NotFound)
        assert answered.ended


async def test_a_client_that_leaves_stops_its_proof() -> None:
    async with staged() as stage:
        commit(stage.store, new_version("a", *CHUNKS))
        asked = requests.encode_prove([wanted("a")] * 256).SerializeToString()
        stage.gone.set()
        with pytest.raises(Cancelled):
            await stage.ask("/replication/prove", asked)
        assert stage.store.holds == []


async def test_what_is_asked_wrongly_is_refused() -> None:
    async with staged() as stage:
        with pytest.raises(NotFound):
            await stage.ask("/replication/nothing", b"")
        assert (await stage.ask("/replication/fetch", b"", method="GET")).status == 405
        for method in ("list", "offers", "page", "missing", "fetch", "prove", "remove"):
            for body in (b"", b"\xff"):
                with pytest.raises(InvalidRequest):
                    await stage.ask(f"/replication/{method}", body)
            with pytest.raises(TooLarge):
                await stage.ask(f"/replication/{method}", bytes(REQUEST_BYTES_MAX + 1))
