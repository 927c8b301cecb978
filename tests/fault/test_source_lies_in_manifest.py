"""A source that lies in what it says of an object: nothing is asked for, or nothing is kept under its name."""

import random
import struct
from dataclasses import replace

import pytest

from replicator.kernel.chunker import DEFAULT_CHUNKING
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import PAGE_ENTRIES, ROOT_BYTES_MAX, ChunkRef, Manifest, PageRef, encode_page
from replicator.testing.lying_source import (
    Forgery,
    Lie,
    new_version,
    respond,
    steps,
)
from replicator.testing.pull_stage import PIECE_BYTES, PullStage, honest, paged

MEBIBYTE = 1024 * 1024


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
    stage: PullStage, request: pytest.FixtureRequest, forgery: Forgery
) -> None:
    asked_before = stage.source.paths.count("/chunks/fetch")
    result = stage.pull(f"offer {request.node.callspec.id}", forgery)
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", "broken-peer")
    assert stage.source.paths.count("/chunks/fetch") == asked_before, "no chunk was asked for"


@pytest.mark.parametrize("code", ["endless", "announced"])
def test_a_manifest_without_end_is_not_read_to_it(stage: PullStage, code: str) -> None:
    length = None if code == "endless" else 2**50
    lie = steps(lambda line: line.send(respond(b"", length=length)), lambda line: line.repeat(bytes(65_536)))
    result = stage.pull(f"manifest {code}", honest(code), {"offer": lie})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", "broken-peer")


def other_page(count: int, length: int) -> bytes:
    return encode_page([ChunkRef(Digest.of(b"other"), length)] * count)


WRONG_PAGES: dict[str, Lie] = {
    "another page": lambda line: line.send(respond(other_page(PAGE_ENTRIES, PIECE_BYTES))),
    "a page cut off": lambda line: line.send(respond(line.body[:-1])),
    "an empty page": lambda line: line.send(respond(b"")),
    "garbage": lambda line: line.send(respond(random.Random(3).randbytes(len(line.body)))),
    "too long a page": lambda line: line.send(respond(bytes(MEBIBYTE))),
    "an endless page": steps(
        lambda line: line.send(respond(b"", length=None)), lambda line: line.repeat(bytes(65_536))
    ),
}


@pytest.mark.parametrize("lie", WRONG_PAGES.values(), ids=WRONG_PAGES.keys())
def test_a_page_that_is_not_the_one_named_fails_for_good(
    stage: PullStage, request: pytest.FixtureRequest, lie: Lie
) -> None:
    name = f"page {request.node.callspec.id}"
    result = stage.pull(name, paged(name), {"page": lie})
    assert result.error is not None
    assert result.error.error_class == "permanent"
    assert result.error.code in ("corrupt", "broken-peer")


def test_a_page_that_is_named_but_contradicts_its_root_fails_for_good(stage: PullStage) -> None:
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
    forgery = replace(honest_object, manifest=root.encoded, etag=f'"{root.digest}"', pages=pages)
    result = stage.pull("contradicting page", forgery)
    assert result.error is not None
    assert result.error.error_class == "permanent"


def test_a_chunk_listed_with_two_lengths_fails_for_good(stage: PullStage) -> None:
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
