"""What a running node answers to other nodes over HTTP."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import httpx
import pytest

from replicator.data_plane.replication.http_peer import HttpPeer
from replicator.data_plane.replication.ports import Offer, Piece, Stretch, Wanted
from replicator.data_plane.replication.unpack import Unpacker
from replicator.kernel.digest import Digest
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.runtime.clock import SystemClock
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.processes import ServerProcess
from replicator.testing.waiting import DEADLINE_S
from replicator.wire.frames import FrameStatus

StartNode = Callable[..., ServerProcess]
OLD = random.Random("old").randbytes(3_000_000)
NEW = b"".join(OLD[at : at + 60_000] + b"changed" for at in range(0, len(OLD), 60_000))


@pytest.fixture
def peer(node: ServerProcess) -> Iterator[HttpPeer]:
    peer = HttpPeer(node.url, timeout_s=DEADLINE_S, clock=SystemClock())
    yield peer
    peer.close()


def offer_of(peer: HttpPeer, object_id: str) -> Offer:
    (offer,) = peer.offers([Wanted(DEFAULT_BUCKET, ObjectId(object_id))], hold_s=60)
    assert isinstance(offer, Offer)
    return offer


def test_chunks_arrive_plain_and_in_order(client: httpx.Client, peer: HttpPeer) -> None:
    client.put("/objects/plain", content=OLD)
    refs = offer_of(peer, "plain").manifest.entries
    received = b""
    for delivery in peer.fetch([Piece(refs[:7]), Piece(refs[7:])], compress=False):
        received += b"".join(frame.payload for frame in delivery.frames)
    assert received == OLD


def test_a_changed_object_travels_as_deltas(client: httpx.Client, peer: HttpPeer) -> None:
    client.put("/objects/old", content=OLD)
    client.put("/objects/new", content=NEW)
    old, new = (offer_of(peer, name).manifest.entries for name in ("old", "new"))
    here = MemoryStore(clock=FrozenClock())
    at = 0
    for ref in old:
        here.add([(ref.digest, OLD[at : at + ref.length])])
        at += ref.length
    pieces = [Piece(new, old)]
    before = peer.traffic.received
    received = b""
    for delivery in peer.fetch(pieces, compress=False):
        assert [frame.status for frame in delivery.frames] == [FrameStatus.DELTA]
        received += b"".join(chunk for _, chunk in Unpacker(here).unpack(pieces, delivery).chunks)
    assert received == NEW
    assert peer.traffic.received - before < len(NEW) // 50


def test_an_object_that_is_overwritten_and_collected_is_still_served(
    client: httpx.Client, peer: HttpPeer
) -> None:
    client.put("/objects/pulled", content=b"the planned one" * 1000)
    refs = offer_of(peer, "pulled").manifest.entries
    client.put("/objects/pulled", content=b"another")
    assert client.post("/store/gc", json={"grace_s": 0}).status_code == 200
    assert peer.missing([ref.digest for ref in refs]) == [False] * len(refs)
    (delivery,) = peer.fetch([Piece(refs)], compress=True)
    assert {frame.status for frame in delivery.frames} == {FrameStatus.CHUNK}


def test_the_digest_of_a_stretch_tells_that_nothing_changed(client: httpx.Client, peer: HttpPeer) -> None:
    for number in range(10):
        client.put(f"/objects/walk/{number}", content=b"%d" % number)
    stretch = Stretch(bucket=DEFAULT_BUCKET, prefix="walk/")
    listed = peer.listing(stretch, limit=100)
    told = peer.listing(stretch, limit=100, digest_only=True)
    assert (told.digest, told.total) == (listed.digest, 10)
    client.put("/objects/walk/3", content=b"changed")
    assert peer.listing(stretch, limit=100, digest_only=True).digest != told.digest


def test_what_is_wrong_is_a_problem(client: httpx.Client) -> None:
    refused = client.post("/replication/list", content=b"\xff")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid-request")
    assert client.post("/replication/other", content=b"").status_code == 404
    asked = client.get("/replication/list")
    assert (asked.status_code, asked.headers["Allow"]) == (405, "POST")
    assert client.post("/replication/missing", content=bytes(2_000_000)).status_code == 413
    assert client.post("/chunks/fetch", content=Digest.of(b"x")).status_code == 400


def test_a_node_that_serves_grpc_alone_answers_other_nodes_by_that_alone(start_node: StartNode) -> None:
    node = start_node(arguments=["--serve", "grpc"])
    assert httpx.post(f"{node.url}/replication/hello", content=b"", trust_env=False).status_code == 404
    assert httpx.get(f"{node.url}/health", trust_env=False).status_code == 200
