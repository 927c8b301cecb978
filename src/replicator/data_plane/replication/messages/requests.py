"""Requests between nodes. A client encodes; a server decodes, and trusts nothing: `InvalidRequest`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from replicator.data_plane.replication.messages.fields import (
    check_bound,
    check_count,
    join_digests,
    split_digests,
)
from replicator.data_plane.replication.ports import Piece, Removal, Stretch, Wanted
from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.manifest import PAGES_MAX, Manifest
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.frames import FETCH_CHUNKS_MAX
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.replication import (
    BUCKETS_MAX,
    HOLD_SECONDS_MAX,
    LIST_KEYS_MAX,
    MISSING_DIGESTS_MAX,
    REFERENCES_MAX,
    WANTED_MAX,
)


class BucketsAsked(NamedTuple):
    """A `BucketsRequest`; see `Peer.buckets`."""

    after: BucketName | None
    limit: int


class ListAsked(NamedTuple):
    """A `ListRequest`; see `Peer.listing`."""

    stretch: Stretch
    limit: int
    digest_only: bool


class OffersAsked(NamedTuple):
    """An `OffersRequest`; see `Peer.offers`."""

    wanted: list[Wanted]
    hold_s: int


@dataclass(frozen=True, slots=True)
class PageAsked:
    """A `PageRequest`: page `index` of the manifest with that digest."""

    manifest: Digest
    index: int


class PieceAsked(NamedTuple):
    """A `Piece` as its source is told of it: without lengths."""

    chunks: list[Digest]
    references: list[Digest]


class FetchAsked(NamedTuple):
    """A `FetchRequest`; see `Peer.fetch`."""

    pieces: list[PieceAsked]
    compress: bool


def encode_buckets(after: str, limit: int) -> pb.BucketsRequest:
    """See `Peer.buckets`."""
    return pb.BucketsRequest(after=after, limit=limit)


def decode_buckets(request: pb.BucketsRequest) -> BucketsAsked:
    """From `encode_buckets`; raises `InvalidRequest`."""
    check_count(request.limit, BUCKETS_MAX, "buckets")
    return BucketsAsked(BucketName.parse(request.after) if request.after else None, request.limit)


def encode_list(stretch: Stretch, *, limit: int, digest_only: bool) -> pb.ListRequest:
    """See `Peer.listing`."""
    return pb.ListRequest(
        bucket=stretch.bucket,
        prefix=stretch.prefix,
        after=stretch.after,
        until=stretch.until,
        limit=limit,
        all_versions=stretch.all_versions,
        digest_only=digest_only,
    )


def decode_list(request: pb.ListRequest) -> ListAsked:
    """From `encode_list`; raises `InvalidRequest`."""
    check_count(request.limit, LIST_KEYS_MAX, "keys")
    stretch = Stretch(
        bucket=BucketName.parse(request.bucket),
        prefix=check_bound(request.prefix, "prefix"),
        after=check_bound(request.after, "after"),
        until=check_bound(request.until, "until"),
        all_versions=request.all_versions,
    )
    return ListAsked(stretch, request.limit, request.digest_only)


def encode_offers(wanted: Sequence[Wanted], *, hold_s: int) -> pb.OffersRequest:
    """See `Peer.offers`."""
    return pb.OffersRequest(wanted=map(_encode_wanted, wanted), hold_seconds=hold_s)


def decode_offers(request: pb.OffersRequest) -> OffersAsked:
    """From `encode_offers`; raises `InvalidRequest`."""
    if request.hold_seconds > HOLD_SECONDS_MAX:
        raise InvalidRequest(f"an offer is held for at most {HOLD_SECONDS_MAX} s, not {request.hold_seconds}")
    return OffersAsked(_decode_wanted(request.wanted), request.hold_seconds)


def encode_page(manifest: Manifest, index: int) -> pb.PageRequest:
    """See `Peer.page`."""
    return pb.PageRequest(manifest=manifest.digest, index=index)


def decode_page(request: pb.PageRequest) -> PageAsked:
    """From `encode_page`; raises `InvalidRequest`."""
    if request.index >= PAGES_MAX:
        raise InvalidRequest(f"a manifest has at most {PAGES_MAX} pages; there is no page {request.index}")
    return PageAsked(Digest(request.manifest), request.index)


def encode_missing(digests: Sequence[Digest]) -> pb.MissingRequest:
    """See `Peer.missing`."""
    return pb.MissingRequest(digests=join_digests(digests))


def decode_missing(request: pb.MissingRequest) -> list[Digest]:
    """From `encode_missing`; raises `InvalidRequest`."""
    digests = split_digests(request.digests, "digests")
    check_count(len(digests), MISSING_DIGESTS_MAX, "digests")
    return digests


def encode_fetch(pieces: Iterable[Piece], *, compress: bool) -> pb.FetchRequest:
    """See `Peer.fetch`."""
    return pb.FetchRequest(pieces=map(_encode_piece, pieces), compress=compress)


def decode_fetch(request: pb.FetchRequest) -> FetchAsked:
    """From `encode_fetch`; raises `InvalidRequest`."""
    pieces = [
        PieceAsked(split_digests(piece.chunks, "chunks"), split_digests(piece.references, "references"))
        for piece in request.pieces
    ]
    if not all(piece.chunks for piece in pieces):
        raise InvalidRequest("a piece has at least one chunk")
    check_count(sum(len(piece.chunks) for piece in pieces), FETCH_CHUNKS_MAX, "chunks")
    references = sum(len(piece.references) for piece in pieces)
    if references > REFERENCES_MAX:
        raise InvalidRequest(f"at most {REFERENCES_MAX} references go into one request, not {references}")
    return FetchAsked(pieces, request.compress)


def encode_prove(wanted: Sequence[Wanted]) -> pb.ProveRequest:
    """See `Peer.prove`."""
    return pb.ProveRequest(wanted=map(_encode_wanted, wanted))


def decode_prove(request: pb.ProveRequest) -> list[Wanted]:
    """From `encode_prove`; raises `InvalidRequest`."""
    return _decode_wanted(request.wanted)


def encode_remove(removals: Sequence[Removal]) -> pb.RemoveRequest:
    """See `Peer.remove`."""
    return pb.RemoveRequest(removals=map(_encode_removal, removals))


def decode_remove(request: pb.RemoveRequest) -> list[Removal]:
    """From `encode_remove`; raises `InvalidRequest`."""
    check_count(len(request.removals), WANTED_MAX, "versions")
    return [
        Removal(
            BucketName.parse(each.bucket),
            ObjectId.parse(each.key),
            VersionId(each.version),
            Digest(each.manifest),
        )
        for each in request.removals
    ]


def _encode_wanted(wanted: Wanted) -> pb.Wanted:
    return pb.Wanted(
        bucket=wanted.bucket,
        key=wanted.object_id,
        version=wanted.version or b"",
        manifest=wanted.manifest or b"",
    )


def _decode_wanted(wanted: Sequence[pb.Wanted]) -> list[Wanted]:
    check_count(len(wanted), WANTED_MAX, "versions")
    return [
        Wanted(
            BucketName.parse(each.bucket),
            ObjectId.parse(each.key),
            VersionId(each.version) if each.version else None,
            Digest(each.manifest) if each.manifest else None,
        )
        for each in wanted
    ]


def _encode_piece(piece: Piece) -> pb.Piece:
    return pb.Piece(
        chunks=join_digests(ref.digest for ref in piece.chunks),
        references=join_digests(ref.digest for ref in piece.references),
    )


def _encode_removal(removal: Removal) -> pb.Removal:
    return pb.Removal(
        bucket=removal.bucket, key=removal.object_id, version=removal.version, manifest=removal.manifest
    )
