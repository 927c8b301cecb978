"""The manifest encoding: its golden bytes, and that it accepts nothing but canonical bytes."""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterable
from dataclasses import replace

import pytest

from replicator.kernel import manifest as manifests
from replicator.kernel.chunker import Chunking
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, TooLarge
from replicator.kernel.manifest import (
    PAGE_BYTES_MAX,
    PAGE_ENTRIES,
    ROOT_BYTES_MAX,
    ChunkRef,
    Manifest,
    ManifestBuilder,
    PageRef,
    decode_detached_page,
    decode_manifest,
    decode_page,
    encode_page,
    page_entry_count,
)

CHUNKING = Chunking(chunk_bytes_min=64, chunk_bytes_avg=256, chunk_bytes_max=1024)


def synthetic(count: int) -> list[ChunkRef]:
    """Chunk references that need no chunks."""
    return [ChunkRef(Digest(number.to_bytes(32)), 1 + number % 1000) for number in range(count)]


def build(refs: Iterable[ChunkRef]) -> tuple[Manifest, list[bytes]]:
    builder = ManifestBuilder(CHUNKING)
    pages = [page for ref in refs if (page := builder.add(ref))]
    manifest, last = builder.finish()
    if last:
        pages.append(last)
    assert [index for index, _, _ in pages] == list(range(len(pages)))
    return manifest, [encoded for _, encoded, _ in pages]


def entries_of(manifest: Manifest, pages: list[bytes]) -> list[ChunkRef]:
    if not pages:
        return list(manifest.entries)
    return [ref for index, page in enumerate(pages) for ref in decode_page(page, manifest, index)]


def accepts_only_its_own_encoding(data: bytes) -> None:
    try:
        manifest = decode_manifest(data)
    except Corrupt:
        return
    assert manifest.encoded == data


THREE = [ChunkRef(Digest.of(b"abc"), 64), ChunkRef(Digest.of(b""), 1024), ChunkRef(Digest.of(b"abc"), 1)]
THREE_ENCODED = bytes.fromhex("""
    52504c4d 01 00 0000 00000040 00000100 00000400 0000000000000441 0000000000000003
    ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 00000040
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 00000400
    ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 00000001
""")


def test_golden_bytes_of_a_root_with_entries() -> None:
    manifest, pages = build(THREE)
    assert pages == []
    assert manifest.encoded == THREE_ENCODED
    assert manifest.digest == Digest(hashlib.sha256(THREE_ENCODED).digest())
    assert decode_manifest(THREE_ENCODED, manifest.digest) == manifest


def test_golden_bytes_of_a_root_with_pages() -> None:
    manifest, pages = build(synthetic(PAGE_ENTRIES + 1))
    assert pages[0].startswith(
        bytes.fromhex("52504c50 01 000000" + "00" * 32 + "00000001" + "00" * 31 + "01 00000002")
    )
    assert pages[1] == bytes.fromhex("52504c50 01 000000" + "00" * 30 + "1000 00000061")
    assert manifest.encoded == bytes.fromhex("""
        52504c4d 01 01 0000 00000040 00000100 00000400 00000000001e9ee1 0000000000001001
        8fad5874cfcda2913d26142fda01ebd11db1d52d2e36e6038aa3db519f8507c5 00000000001e9e80
        8855b67123dec81d6c52800775abcc0491f6e6244ef6dc226a215e540a84c531 0000000000000061
    """)
    assert str(manifest.digest) == "58b28ae34d3e18513c735c4122d66a53943a4a0a9c46ae5e7b35f9fe8a1c7555"


@pytest.mark.parametrize(
    ("count", "page_count"),
    [(0, 0), (1, 0), (4095, 0), (4096, 0), (4097, 2), (8191, 2), (8192, 2), (8193, 3)],
)
def test_round_trips_at_the_boundaries_of_pages(count: int, page_count: int) -> None:
    refs = synthetic(count)
    manifest, pages = build(refs)
    again = decode_manifest(manifest.encoded, manifest.digest)
    assert again == manifest
    assert (again.chunk_count, again.size) == (count, sum(ref.length for ref in refs))
    assert again.page_count == len(pages) == page_count
    assert entries_of(again, pages) == refs
    assert [page_entry_count(again, index) for index in range(page_count)] == [
        len(decode_page(page, again, index)) for index, page in enumerate(pages)
    ]


def test_stated_bounds_hold() -> None:
    manifest, _ = build(synthetic(PAGE_ENTRIES))
    assert len(manifest.encoded) <= ROOT_BYTES_MAX
    assert len(encode_page(synthetic(PAGE_ENTRIES))) == PAGE_BYTES_MAX


def test_the_same_chunks_in_another_order_or_cut_have_another_name() -> None:
    names = {build(THREE)[0].digest, build(THREE[::-1])[0].digest, build(THREE[:2])[0].digest}
    names.add(replace(build(THREE)[0], chunking=Chunking()).digest)
    assert len(names) == 4


def test_an_object_of_too_many_chunks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "PAGE_ENTRIES", 2)
    monkeypatch.setattr(manifests, "PAGES_MAX", 3)
    assert build(synthetic(6))[0].page_count == 3
    with pytest.raises(TooLarge, match="at most 6 chunks"):
        build(synthetic(7))
    with pytest.raises(TooLarge, match="at most 6 chunks"):
        build(synthetic(9))


def test_every_flipped_byte_of_a_root_is_noticed() -> None:
    for data in (THREE_ENCODED, build(synthetic(PAGE_ENTRIES + 1))[0].encoded):
        for at in range(len(data)):
            for flip in range(1, 256):
                changed = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
                accepts_only_its_own_encoding(changed)
            with pytest.raises(Corrupt, match="does not match its digest"):
                decode_manifest(changed, Digest.of(data))


def test_every_truncation_and_extension_of_a_root_is_noticed() -> None:
    for data in (THREE_ENCODED, build(synthetic(PAGE_ENTRIES + 1))[0].encoded):
        wrong = [data[:at] for at in range(len(data))]
        wrong += [data + data[-extra:] for extra in range(1, len(data))]
        for changed in wrong:
            with pytest.raises(Corrupt):
                decode_manifest(changed, Digest.of(data))
            with pytest.raises(Corrupt):
                decode_manifest(changed)


def test_a_root_longer_than_any_is_refused() -> None:
    with pytest.raises(Corrupt, match=f"a manifest of {ROOT_BYTES_MAX + 1} bytes"):
        decode_manifest(THREE_ENCODED.ljust(ROOT_BYTES_MAX + 1, b"\0"))


def root(body: bytes, *, depth: int, size: int, count: int) -> bytes:
    return struct.pack(">4sBBHIIIQQ", b"RPLM", 1, depth, 0, 64, 256, 1024, size, count) + body


def short(value: bytes | str) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else value


ENTRY = Digest.of(b"abc") + (64).to_bytes(4)
PAGE = Digest.of(b"page") + (4096).to_bytes(8)
TAIL = Digest.of(b"tail") + (1).to_bytes(8)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "a manifest of 0 bytes"),
        (b"RPLX" + THREE_ENCODED[4:], "not a manifest of format 1"),
        (THREE_ENCODED[:4] + b"\x02" + THREE_ENCODED[5:], "not a manifest of format 1"),
        (THREE_ENCODED[:7] + b"\x01" + THREE_ENCODED[8:], "not a manifest of format 1"),
        (root(b"", depth=2, size=0, count=0), "not a manifest of format 1"),
        (THREE_ENCODED[:8] + bytes(4) + THREE_ENCODED[12:], "impossible chunking parameters"),
        (root(ENTRY, depth=0, size=64, count=2), "chunk count"),
        (root(ENTRY, depth=0, size=65, count=1), "object size"),
        (root(ENTRY[:-1], depth=0, size=64, count=1), "length of the entries"),
        (root(Digest.of(b"") + bytes(4), depth=0, size=0, count=1), "chunk lengths"),
        (root(ENTRY[:32] + (1025).to_bytes(4), depth=0, size=1025, count=1), "chunk lengths"),
        (root(ENTRY * 4097, depth=0, size=64 * 4097, count=4097), "number of entries"),
        (root(PAGE[:-1], depth=1, size=4096, count=4096), "length of the page table"),
        (root(b"", depth=1, size=0, count=0), "number of pages"),
        (root(PAGE, depth=1, size=4096, count=4096), "number of pages"),
        (root(PAGE * 2, depth=1, size=8192, count=4096), "number of pages"),
        (root(PAGE * 2, depth=1, size=8192, count=8193), "number of pages"),
        (root(PAGE + TAIL, depth=1, size=4098, count=4097), "object size"),
        (root(PAGE + PAGE[:32] + bytes(8), depth=1, size=4096, count=4097), "bytes of a page"),
        (root(TAIL + PAGE, depth=1, size=4097, count=8192), "bytes of a page"),
        (root(PAGE + TAIL[:32] + (1025).to_bytes(8), depth=1, size=5121, count=4097), "bytes of a page"),
    ],
    ids=short,
)
def test_a_root_that_no_builder_makes_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Corrupt, match=why):
        decode_manifest(data)


def test_the_largest_page_a_root_may_promise() -> None:
    full = PAGE[:32] + (4096 * 1024).to_bytes(8)
    data = root(full + TAIL, depth=1, size=4096 * 1024 + 1, count=4097)
    assert decode_manifest(data).encoded == data


def test_a_changed_page_does_not_match_its_digest() -> None:
    manifest, pages = build(synthetic(PAGE_ENTRIES + 1))
    dice = random.Random(1)
    page = pages[0]
    for at in [*range(80), *dice.sample(range(len(page)), 200), len(page) - 1]:
        changed = page[:at] + bytes([page[at] ^ dice.randrange(1, 256)]) + page[at + 1 :]
        with pytest.raises(Corrupt, match="does not match its digest"):
            decode_page(changed, manifest, 0)
    for changed in (b"", page[:-1], page + b"\0", page[:-36], page + page[-36:], pages[1]):
        with pytest.raises(Corrupt, match="does not match its digest"):
            decode_page(changed, manifest, 0)


def promise(manifest: Manifest, index: int, page: bytes) -> Manifest:
    """`manifest` as a liar would write it: naming `page` as its page `index`."""
    pages = list(manifest.pages)
    pages[index] = PageRef(Digest.of(page), pages[index].length)
    return replace(manifest, pages=tuple(pages))


def test_a_page_that_was_promised_is_still_held_to_its_form() -> None:
    manifest, pages = build(synthetic(PAGE_ENTRIES + 1))
    page = pages[1]
    wrong = [page[:at] for at in range(len(page))]
    wrong += [page + page[-extra:] for extra in range(1, 41)]
    for at in range(len(page)):
        wrong += [page[:at] + bytes([page[at] ^ flip]) + page[at + 1 :] for flip in range(1, 256)]
    for changed in wrong:
        try:
            entries = decode_page(changed, promise(manifest, 1, changed), 1)
        except Corrupt:
            continue
        assert encode_page(entries) == changed
        assert len(entries) == 1
        assert entries[0].length == manifest.pages[1].length


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (b"RPLP\x01", "length of a page"),
        (b"RPLX\x01\0\0\0" + ENTRY, "page header"),
        (b"RPLP\x02\0\0\0" + ENTRY, "page header"),
        (b"RPLP\x01\0\0\1" + ENTRY, "page header"),
        (b"RPLP\x01\0\0\0" + ENTRY[:-1], "length of the entries"),
        (b"RPLP\x01\0\0\0", "entries in a page"),
        (b"RPLP\x01\0\0\0" + ENTRY * 2, "entries in a page"),
        (b"RPLP\x01\0\0\0" + ENTRY, "bytes of a page"),
        (b"RPLP\x01\0\0\0" + ENTRY[:32] + bytes(4), "chunk lengths"),
        (b"RPLP\x01\0\0\0" + ENTRY[:32] + (1025).to_bytes(4), "chunk lengths"),
        (b"RPLP\x01\0\0\0" + ENTRY * 4097, "number of entries"),
    ],
    ids=short,
)
def test_a_promised_page_of_another_form_is_refused(page: bytes, why: str) -> None:
    manifest = promise(build(synthetic(PAGE_ENTRIES + 1))[0], 1, page)
    with pytest.raises(Corrupt, match=why):
        decode_page(page, manifest, 1)


def test_a_page_can_be_read_without_its_root() -> None:
    manifest, pages = build(synthetic(PAGE_ENTRIES + 1))
    assert [decode_detached_page(page) for page in pages] == [
        decode_page(page, manifest, index) for index, page in enumerate(pages)
    ]
    with pytest.raises(Corrupt, match="page header"):
        decode_detached_page(THREE_ENCODED)
