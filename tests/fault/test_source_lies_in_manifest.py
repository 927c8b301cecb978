"""A source that lies in what it says of an object: nothing is asked for, or nothing is kept under its name."""

import random
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from replicator.kernel.chunker import DEFAULT_CHUNKING
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import PAGE_ENTRIES, ROOT_BYTES_MAX, ChunkRef, Manifest, PageRef, encode_page
from replicator.testing.forgery import Forgery, new_version
from replicator.testing.lies import Lie, altered, respond, steps
from replicator.testing.pull_stage import PIECE_BYTES, PullStage, honest, paged
from replicator.wire.pb import replication_pb2 as pb

MEBIBYTE = 1024 * 1024


def forged_root(alter: dict[int, object], *, body: bytes | None = None) -> Forgery:
    """An object whose root, properly named by its digest, contradicts itself in the given fields."""
    forgery = honest("root")
    root = struct.Struct(">4sBBHIIIQQ")
    fields = list(root.unpack_from(forgery.manifest))
    for position, value in alter.items():
        fields[position] = value
    encoded = root.pack(*fields) + (forgery.manifest[root.size :] if body is None else body)
    return replace(forgery, manifest=encoded, digest=Digest.of(encoded))


def entries_of(*lengths: int) -> bytes:
    return b"".join(bytes([index]) * 32 + struct.pack(">I", length) for index, length in enumerate(lengths))


WRONG_OFFERS: dict[str, Forgery] = {
    "bytes cut off": replace(honest("root"), manifest=honest("root").manifest[:-1]),
    "no bytes": replace(honest("root"), manifest=b""),
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
    "no version": replace(honest("root"), version=b""),
    "a version that is none": replace(honest("root"), version=bytes(17)),
    "a version of the far future": replace(honest("root"), version=new_version(2**47)),
    "a bucket that keeps versions sometimes": replace(honest("root"), versioning="sometimes"),
    "an endless content type": replace(honest("root"), content_type="x" * 60_000),
    "a content type that is not ASCII": replace(honest("root"), content_type="text/\xff"),
}


@pytest.mark.parametrize("forgery", WRONG_OFFERS.values(), ids=WRONG_OFFERS.keys())
def test_a_manifest_that_cannot_be_right_fails(
    stage: PullStage, request: pytest.FixtureRequest, forgery: Forgery
) -> None:
    asked_before = stage.source.steps.count("fetch")
    result = stage.pull(f"offer {request.node.callspec.id}", forgery)
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "broken-peer")
    assert stage.source.steps.count("fetch") == asked_before, "no chunk was asked for"


def test_a_node_of_another_name_is_not_the_source(stage: PullStage) -> None:
    lie = altered(pb.OffersReply, lambda reply: setattr(reply, "node", "elsewhere"))
    result = stage.pull("another node", honest("another node"), {"offers": lie})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", "conflict")
    assert "elsewhere" in result.error.message


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_offers_than_wanted_fails(stage: PullStage, count: int) -> None:
    def alter(reply: pb.OffersReply) -> None:
        offers = [reply.offers[0]] * count
        reply.ClearField("offers")
        reply.offers.extend(offers)

    name = f"{count} offers"
    result = stage.pull(name, honest(name), {"offers": altered(pb.OffersReply, alter)})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "broken-peer")


@pytest.mark.parametrize("code", ["endless", "announced"])
def test_a_manifest_without_end_is_not_read_to_it(stage: PullStage, code: str) -> None:
    length = None if code == "endless" else 2**50
    lie = steps(lambda line: line.send(respond(b"", length=length)), lambda line: line.repeat(bytes(65_536)))
    result = stage.pull(f"manifest {code}", honest(code), {"offers": lie})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "broken-peer")


def other_page(count: int, length: int) -> bytes:
    return encode_page([ChunkRef(Digest.of(b"other"), length)] * count)


def sending(change: Callable[[bytes], bytes]) -> Lie:
    """Another page than the honest one."""

    def alter(reply: pb.PageReply) -> None:
        reply.page = change(reply.page)

    return altered(pb.PageReply, alter)


WRONG_PAGES: dict[str, Lie] = {
    "another page": sending(lambda _: other_page(PAGE_ENTRIES, PIECE_BYTES)),
    "a page cut off": sending(lambda page: page[:-1]),
    "an empty page": sending(lambda _: b""),
    "garbage": sending(lambda page: random.Random(3).randbytes(len(page))),
    "no message": lambda line: line.send(respond(random.Random(3).randbytes(len(line.body)))),
    "too long a page": sending(lambda _: bytes(MEBIBYTE)),
    "an endless page": steps(
        lambda line: line.send(respond(b"", length=None)), lambda line: line.repeat(bytes(65_536))
    ),
}


@pytest.mark.parametrize("lie", WRONG_PAGES.values(), ids=WRONG_PAGES.keys())
def test_a_page_that_is_not_the_one_named_fails(
    stage: PullStage, request: pytest.FixtureRequest, lie: Lie
) -> None:
    name = f"page {request.node.callspec.id}"
    result = stage.pull(name, paged(name), {"page": lie})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "broken-peer")


def test_a_page_that_is_named_but_contradicts_its_root_fails(stage: PullStage) -> None:
    honest_object = paged("contradicting")
    pages = [honest_object.pages[0], other_page(10, DEFAULT_CHUNKING.chunk_bytes_max)]
    root = Manifest(
        DEFAULT_CHUNKING,
        PIECE_BYTES * (PAGE_ENTRIES + 10),
        PAGE_ENTRIES + 10,
        pages=tuple(
            PageRef(Digest.of(page), length)
            for page, length in zip(pages, (PIECE_BYTES * PAGE_ENTRIES, PIECE_BYTES * 10), strict=True)
        ),
    )
    forgery = replace(honest_object, manifest=root.encoded, digest=root.digest, pages=pages)
    result = stage.pull("contradicting page", forgery)
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "broken-peer")


def test_a_chunk_listed_with_two_lengths_fails(stage: PullStage) -> None:
    piece = random.Random("two lengths").randbytes(20_000)
    digest = Digest.of(piece)
    refs = (ChunkRef(digest, 20_000), ChunkRef(digest, 19_999))
    manifest = Manifest(DEFAULT_CHUNKING, 39_999, 2, entries=refs)
    forgery = Forgery(
        manifest=manifest.encoded,
        digest=manifest.digest,
        chunks={digest: piece},
        version=new_version(),
    )
    result = stage.pull("two lengths", forgery)
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "broken-peer")
