"""Manifests of any shape: they come back as they were, and nothing that is accepted has a second encoding."""

from __future__ import annotations

import struct
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.kernel import manifest as manifests
from replicator.kernel.chunker import Chunking
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.manifest import ChunkRef, Manifest, ManifestBuilder, decode_manifest, decode_page

CHUNKING = Chunking(chunk_bytes_min=64, chunk_bytes_avg=256, chunk_bytes_max=1024)
PAGE_ENTRIES = 4

refs = st.builds(
    ChunkRef,
    st.binary(min_size=32, max_size=32).map(Digest),
    st.integers(1, CHUNKING.chunk_bytes_max),
)
small_pages = mock.patch.object(manifests, "PAGE_ENTRIES", PAGE_ENTRIES)


def build(chunks: list[ChunkRef]) -> tuple[Manifest, list[bytes]]:
    builder = ManifestBuilder(CHUNKING)
    pages = [page for ref in chunks if (page := builder.add(ref))]
    manifest, last = builder.finish()
    return manifest, [encoded for _, encoded, _ in [*pages, *([last] if last else [])]]


@settings(deadline=None, max_examples=150)
@given(chunks=st.lists(refs, max_size=5 * PAGE_ENTRIES))
@small_pages
def test_what_was_added_comes_back(chunks: list[ChunkRef]) -> None:
    manifest, pages = build(chunks)
    again = decode_manifest(manifest.encoded, manifest.digest)
    found = [ref for index, page in enumerate(pages) for ref in decode_page(page, again, index)]
    assert (found or list(again.entries)) == chunks
    assert (again.size, again.chunk_count) == (sum(ref.length for ref in chunks), len(chunks))
    assert bool(again.pages) == (len(chunks) > PAGE_ENTRIES)
    assert not (again.pages and again.entries)


@settings(deadline=None, max_examples=150)
@given(one=st.lists(refs, max_size=3 * PAGE_ENTRIES), other=st.lists(refs, max_size=3 * PAGE_ENTRIES))
@small_pages
def test_two_manifests_have_one_name_only_if_their_chunks_are_the_same(
    one: list[ChunkRef], other: list[ChunkRef]
) -> None:
    assert (build(one)[0].digest == build(other)[0].digest) == (one == other)


def header(depth: int, sizes: tuple[int, int, int], size: int, count: int, body: bytes) -> bytes:
    return struct.pack(">4sBBHIIIQQ", b"RPLM", 1, depth, 0, *sizes, size, count) + body


rows = st.binary(min_size=32, max_size=32)
entry_rows = st.lists(st.tuples(rows, st.integers(0, 1030)).map(lambda row: row[0] + row[1].to_bytes(4)))
page_rows = st.lists(st.tuples(rows, st.integers(0, 5000)).map(lambda row: row[0] + row[1].to_bytes(8)))
nearly = st.builds(
    header,
    st.integers(0, 2),
    st.sampled_from([(64, 256, 1024), (64, 256, 1023), (66, 1000, 2000)]),
    st.integers(0, 6000),
    st.integers(0, 12),
    st.one_of(entry_rows.map(b"".join), page_rows.map(b"".join), st.binary(max_size=100)),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good root with a few bytes changed, cut off or added."""
    data = bytearray(build(draw(st.lists(refs, max_size=3 * PAGE_ENTRIES)))[0].encoded)
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: len(data) - draw(st.integers(0, 40))]) + draw(st.binary(max_size=40))


@settings(deadline=None, max_examples=500)
@given(data=st.one_of(mutated(), nearly, st.binary(max_size=200)))
@small_pages
def test_what_is_accepted_without_a_digest_has_this_encoding_alone(data: bytes) -> None:
    try:
        manifest = decode_manifest(data)
    except Corrupt:
        return
    assert manifest.encoded == data
