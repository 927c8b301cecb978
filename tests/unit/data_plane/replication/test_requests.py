"""Requests between nodes: what one encodes the other decodes, and what breaks a bound is refused."""

from __future__ import annotations

import pytest

from replicator.data_plane.replication.messages import requests
from replicator.data_plane.replication.messages.fields import parse_message
from replicator.data_plane.replication.messages.requests import (
    FetchAsked,
    ListAsked,
    OffersAsked,
    PageAsked,
    PieceAsked,
)
from replicator.data_plane.replication.ports import Piece, Removal, Stretch, Wanted
from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.manifest import PAGES_MAX
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.kernel.version import VersionId
from replicator.testing.objects import manifest_of, ref_of
from replicator.wire.frames import FETCH_CHUNKS_MAX
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.replication import (
    HOLD_SECONDS_MAX,
    LIST_KEYS_MAX,
    MISSING_DIGESTS_MAX,
    REFERENCES_MAX,
    REQUEST_BYTES_MAX,
    WANTED_MAX,
)

VERSION = VersionId(bytes(range(16)))
ONE = Digest.of(b"one")
KEY = ObjectId("a/é")
WANTED = [
    Wanted(DEFAULT_BUCKET, KEY),
    Wanted(DEFAULT_BUCKET, KEY, VERSION),
    Wanted(DEFAULT_BUCKET, KEY, VERSION, Digest.of(b"offered")),
]


def test_a_stretch_arrives_as_it_was_sent() -> None:
    stretch = Stretch(bucket=DEFAULT_BUCKET, prefix="a/", after="a/1", until="a/é", all_versions=True)
    sent = requests.encode_list(stretch, limit=LIST_KEYS_MAX, digest_only=True)
    assert requests.decode_list(sent) == ListAsked(stretch, LIST_KEYS_MAX, True)


def test_what_is_wanted_arrives_as_it_was_sent() -> None:
    sent = requests.encode_offers(WANTED, hold_s=HOLD_SECONDS_MAX)
    assert requests.decode_offers(sent) == OffersAsked(WANTED, HOLD_SECONDS_MAX)
    assert requests.decode_prove(requests.encode_prove(WANTED)) == WANTED


def test_a_page_digests_and_removals_arrive_as_they_were_sent() -> None:
    manifest = manifest_of(b"one")
    asked = requests.decode_page(requests.encode_page(manifest, PAGES_MAX - 1))
    assert asked == PageAsked(manifest.digest, PAGES_MAX - 1)
    digests = [ONE, Digest.of(b"two")]
    assert requests.decode_missing(requests.encode_missing(digests)) == digests
    removals = [Removal(DEFAULT_BUCKET, KEY, VERSION, ONE)]
    assert requests.decode_remove(requests.encode_remove(removals)) == removals


def test_pieces_arrive_without_lengths() -> None:
    pieces = [Piece([ref_of(b"one"), ref_of(b"two")], [ref_of(b"old")]), Piece([ref_of(b"one")])]
    assert requests.decode_fetch(requests.encode_fetch(pieces, compress=True)) == FetchAsked(
        [PieceAsked([ONE, Digest.of(b"two")], [Digest.of(b"old")]), PieceAsked([ONE], [])], True
    )


def test_the_longest_requests_fit_the_bound() -> None:
    longest = Wanted(DEFAULT_BUCKET, ObjectId("x" * 1024), VERSION, Digest.of(b"offered"))
    assert requests.encode_offers([longest] * WANTED_MAX, hold_s=1).ByteSize() <= REQUEST_BYTES_MAX
    ref = ref_of(b"one")
    single = [Piece([ref], [ref] * (REFERENCES_MAX // FETCH_CHUNKS_MAX))] * FETCH_CHUNKS_MAX
    assert requests.encode_fetch(single, compress=True).ByteSize() <= REQUEST_BYTES_MAX


@pytest.mark.parametrize(
    "request_",
    [
        pb.ListRequest(bucket="default", limit=0),
        pb.ListRequest(bucket="default", limit=LIST_KEYS_MAX + 1),
        pb.ListRequest(bucket="No", limit=1),
        pb.ListRequest(bucket="default", limit=1, prefix="é" * 513),
        pb.ListRequest(bucket="default", limit=1, after="x" * 1025),
        pb.ListRequest(bucket="default", limit=1, until="x" * 1025),
        pb.ListRequest(bucket="default", limit=1, after="a\0b"),
    ],
)
def test_a_stretch_out_of_bounds_is_refused(request_: pb.ListRequest) -> None:
    with pytest.raises(InvalidRequest):
        requests.decode_list(request_)


@pytest.mark.parametrize(
    "wanted",
    [
        [],
        [pb.Wanted(bucket="default", key="a")] * (WANTED_MAX + 1),
        [pb.Wanted(bucket="", key="a")],
        [pb.Wanted(bucket="default", key="")],
        [pb.Wanted(bucket="default", key="a/../b")],
        [pb.Wanted(bucket="default", key="x" * 1025)],
        [pb.Wanted(bucket="default", key="a", version=bytes(15))],
        [pb.Wanted(bucket="default", key="a", manifest=bytes(31))],
    ],
)
def test_wanted_versions_out_of_bounds_are_refused(wanted: list[pb.Wanted]) -> None:
    with pytest.raises(InvalidRequest):
        requests.decode_offers(pb.OffersRequest(wanted=wanted))
    with pytest.raises(InvalidRequest):
        requests.decode_prove(pb.ProveRequest(wanted=wanted))


def test_an_offer_is_not_held_for_ever() -> None:
    wanted = [pb.Wanted(bucket="default", key="a")]
    with pytest.raises(InvalidRequest, match="600 s"):
        requests.decode_offers(pb.OffersRequest(wanted=wanted, hold_seconds=HOLD_SECONDS_MAX + 1))


@pytest.mark.parametrize("length", [0, 31, 33, 32 * (MISSING_DIGESTS_MAX + 1)])
def test_what_is_no_run_of_digests_is_refused(length: int) -> None:
    with pytest.raises(InvalidRequest):
        requests.decode_missing(pb.MissingRequest(digests=bytes(length)))


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [pb.Piece(chunks=ONE), pb.Piece()],
        [pb.Piece(references=ONE)],
        [pb.Piece(chunks=ONE[1:])],
        [pb.Piece(chunks=ONE, references=b"x")],
        [pb.Piece(chunks=ONE * 2048)] * 3,
        [pb.Piece(chunks=ONE, references=ONE * (REFERENCES_MAX // 2 + 1))] * 2,
    ],
)
def test_pieces_out_of_bounds_are_refused(pieces: list[pb.Piece]) -> None:
    with pytest.raises(InvalidRequest):
        requests.decode_fetch(pb.FetchRequest(pieces=pieces))


@pytest.mark.parametrize(
    "page", [pb.PageRequest(manifest=b"x", index=0), pb.PageRequest(manifest=ONE, index=PAGES_MAX)]
)
def test_a_page_out_of_bounds_is_refused(page: pb.PageRequest) -> None:
    with pytest.raises(InvalidRequest):
        requests.decode_page(page)


@pytest.mark.parametrize(
    "removals",
    [
        [],
        [pb.Removal(bucket="default", key="a", version=VERSION, manifest=ONE)] * (WANTED_MAX + 1),
        [pb.Removal(bucket="default", key="a", manifest=ONE)],
        [pb.Removal(bucket="default", key="a", version=VERSION)],
        [pb.Removal(bucket="default", key="\n", version=VERSION, manifest=ONE)],
    ],
)
def test_removals_out_of_bounds_are_refused(removals: list[pb.Removal]) -> None:
    with pytest.raises(InvalidRequest):
        requests.decode_remove(pb.RemoveRequest(removals=removals))


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05ab", b"\x0a\x01\xff"])
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="ListRequest"):
        parse_message(pb.ListRequest, body)
