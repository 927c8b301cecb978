"""A store that compresses: less disk for what shrinks, the same promises for all of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Batch
from replicator.data_plane.storage.check import check_store
from replicator.data_plane.storage.codec import ChunkCompressor
from replicator.data_plane.storage.findings import Finding
from replicator.data_plane.storage.memory_catalog import MemoryCatalog
from replicator.data_plane.storage.rebuild import rebuild_catalog
from replicator.data_plane.storage.record import (
    CODEC_NONE,
    CODEC_ZSTD,
    DECODED_BYTES_MAX,
    KIND_CHUNK,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    RecordHeader,
    decode_record_header,
    encode_record_header,
)
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.chunker import DEFAULT_CHUNKING
from replicator.kernel.errors import Corrupt
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import (
    commit,
    delete,
    listed,
    named,
    new_version,
    noise,
    read_all,
    ref_of,
    upload,
)
from replicator.testing.reclaiming import check_accounts, collect, compact_all

CHUNK_BYTES = 1000
TEXTS = [b"".join(b"%d, %d and so on; " % (seed, n) for n in range(99))[:CHUNK_BYTES] for seed in range(80)]
NOISES = [noise(seed, CHUNK_BYTES) for seed in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path, compressor=ChunkCompressor())


@pytest.fixture
def store(folder: StoreFolder) -> Iterator[NodeStore]:
    with folder.opened() as store:
        yield store


def stored(folder: StoreFolder) -> list[RecordHeader]:
    """The headers of all chunk records on the disk, in their order."""
    headers = []
    for name in folder.segments():
        data, at = (folder.path / "segments" / name).read_bytes(), SEGMENT_HEADER_BYTES
        while at < len(data):
            headers.append(decode_record_header(data[at:]))
            at += RECORD_HEADER_BYTES + headers[-1].stored_length
    return [header for header in headers if header.kind == KIND_CHUNK]


def disk_bytes(folder: StoreFolder) -> int:
    return sum((folder.path / "segments" / name).stat().st_size for name in folder.segments())


def test_an_object_that_shrinks_takes_less_disk(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, compressor=ChunkCompressor(), chunking=DEFAULT_CHUNKING)
    data = b"".join(b"line %d of a log that goes on and on\n" % number for number in range(80_000))
    with folder.opened() as store:
        done = upload(store, "log", data)
        assert read_all(store, store.manifest(done.version.manifest)) == data
    assert (done.version.size, done.added.bytes) == (len(data), len(data))
    assert disk_bytes(folder) < len(data) // 3


@pytest.mark.parametrize("inline", [True, False])
def test_chunks_that_do_not_shrink_are_stored_as_they_are(
    folder: StoreFolder, store: NodeStore, inline: bool
) -> None:
    if not inline:
        store.add(named(*NOISES))
    commit(store, new_version("photo", *NOISES))
    assert [(each.codec, each.stored_length) for each in stored(folder)] == [(CODEC_NONE, CHUNK_BYTES)] * 4


@pytest.mark.parametrize("inline", [True, False])
def test_a_chunk_is_known_by_its_own_bytes_and_length(
    folder: StoreFolder, store: NodeStore, inline: bool
) -> None:
    if not inline:
        added = store.add(named(*TEXTS))
        assert added == (80, 80 * CHUNK_BYTES)
    commit(store, new_version("log", *TEXTS))
    assert {each.codec for each in stored(folder)} == {CODEC_ZSTD}
    assert store.locate([ref_of(text).digest for text in TEXTS]) == [CHUNK_BYTES] * 80
    assert store.add(named(*TEXTS)) == (0, 0)
    assert len(stored(folder)) == 80


def test_a_read_takes_raw_and_compressed_chunks_in_any_order(store: NodeStore) -> None:
    chunks = [TEXTS[0], NOISES[0], TEXTS[1], NOISES[1]]
    for chunk in chunks:
        store.add(named(chunk))
    wanted = [*chunks, chunks[3], chunks[0], chunks[2]]
    block = store.read([ref_of(chunk) for chunk in wanted], gap=5)
    assert bytes(block) == b"".join(bytes(5) + chunk for chunk in wanted)


def test_a_read_that_may_not_wait_does_not_decode_for_long(store: NodeStore) -> None:
    store.add(named(*TEXTS))
    assert bytes(store.read([ref_of(TEXTS[0])], wait=False)) == TEXTS[0]
    with pytest.raises(BlockingIOError):
        store.read([ref_of(text) for text in TEXTS], wait=False)


def test_everything_is_there_after_a_restart(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("both", *TEXTS, *NOISES))
    with folder.opened() as store:
        assert bytes(store.read([ref_of(each) for each in TEXTS + NOISES])) == b"".join(TEXTS + NOISES)


def test_chunks_that_were_not_committed_are_found_again(folder: StoreFolder) -> None:
    with folder.opened() as store:
        store.add(named(*TEXTS))
    with folder.opened() as store:
        assert store.add(named(*TEXTS)) == (0, 0)
        assert bytes(store.read([ref_of(text) for text in TEXTS])) == b"".join(TEXTS)


def test_compression_can_be_turned_on_and_off(folder: StoreFolder) -> None:
    for compressor, text in zip([None, ChunkCompressor(), None], TEXTS, strict=False):
        folder.compressor = compressor
        with folder.opened() as store:
            commit(store, new_version(f"log {text[:1]!r}", text))
    with folder.opened() as store:
        assert bytes(store.read([ref_of(text) for text in TEXTS[:3]])) == b"".join(TEXTS[:3])
        assert store.add(named(*TEXTS[:3])) == (0, 0)
    assert [each.codec for each in stored(folder)] == [CODEC_NONE, CODEC_ZSTD, CODEC_NONE]


def test_a_flipped_bit_anywhere_in_a_compressed_record(folder: StoreFolder, store: NodeStore) -> None:
    text = TEXTS[0][:500]
    commit(store, new_version("log", text))
    (header,) = stored(folder)
    assert header.codec == CODEC_ZSTD
    intact = folder.segment().read_bytes()
    for offset in range(
        SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + header.stored_length
    ):
        damaged = bytearray(intact)
        damaged[offset] ^= 1 << offset % 8
        folder.segment().write_bytes(damaged)
        with pytest.raises(Corrupt) as caught:
            store.read([ref_of(text)])
        assert caught.value.data["digest"] == str(ref_of(text).digest)
    assert commit(store, new_version("again", text)).added.chunks == 1
    assert bytes(store.read([ref_of(text)])) == text


@pytest.mark.parametrize(
    "wrong",
    [{"codec": CODEC_NONE}, {"raw_length": CHUNK_BYTES + 1}, {"raw_length": 1}, {"stored_length": 100}],
)
def test_a_catalog_that_is_wrong_about_a_record_serves_nothing(tmp_path: Path, wrong: dict[str, int]) -> None:
    catalog = MemoryCatalog()
    folder = StoreFolder(tmp_path, compressor=ChunkCompressor(), open_catalog=lambda _: catalog)
    digest = ref_of(TEXTS[0]).digest
    with folder.opened() as store:
        commit(store, new_version("log", TEXTS[0]))
        row = catalog.get("chunks", digest)
        assert row is not None
        location = rows.decode_location(row)._replace(**wrong)
        if "codec" in wrong:
            location = location._replace(raw_length=location.stored_length)
        batch = Batch()
        batch.put("chunks", digest, rows.encode_location(location))
        catalog.write(batch)
        with pytest.raises(Corrupt) as caught:
            store.read([ref_of(TEXTS[0])])
        assert caught.value.data["digest"] == str(digest)


def test_a_whole_record_that_does_not_decode(folder: StoreFolder, store: NodeStore) -> None:
    digest = ref_of(TEXTS[0]).digest
    commit(store, new_version("log", TEXTS[0]))
    length = stored(folder)[0].stored_length
    record = encode_record_header(digest, bytes(length), codec=CODEC_ZSTD, raw_length=CHUNK_BYTES)
    with folder.segment().open("r+b") as file:
        file.seek(SEGMENT_HEADER_BYTES)
        file.write(record + bytes(length))
    with pytest.raises(Corrupt) as caught:
        store.read([ref_of(TEXTS[0])])
    assert caught.value.data["digest"] == str(digest)
    assert store.has_damage


def test_compaction_a_check_and_a_rebuilt_catalog_keep_all_of_it(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, compressor=ChunkCompressor(), open_catalog=rocks, segment_bytes_max=8000)
    with folder.opened() as store:
        for number, text in enumerate(TEXTS):
            commit(store, new_version(f"{number}", text, NOISES[number % 4]))
        for number in range(len(TEXTS)):
            if number % 8:
                delete(store, f"{number}")
        collect(store)
        assert sum(done.bytes_reclaimed for done in compact_all(store)) > 0
        check_accounts(store)
    findings: list[Finding] = []
    check_store(str(tmp_path), open_catalog=rocks, on_finding=findings.append, read_data=True)
    assert findings == []
    shutil.rmtree(tmp_path / "catalog")
    rebuild_catalog(str(tmp_path), open_catalog=rocks, on_finding=findings.append)
    assert findings == []
    with folder.opened() as store:
        contents = {each.object_id: read_all(store, store.manifest(each.manifest)) for each in listed(store)}
    assert contents == {f"{number}": TEXTS[number] + NOISES[number % 4] for number in range(0, len(TEXTS), 8)}
    assert sum(header.codec == CODEC_ZSTD for header in stored(folder)) == len(contents)


def test_a_record_that_claims_to_decode_to_more_than_a_chunk_is_none() -> None:
    digest = ref_of(TEXTS[0]).digest
    header = encode_record_header(digest, b"small", codec=CODEC_ZSTD, raw_length=DECODED_BYTES_MAX + 1)
    with pytest.raises(Corrupt):
        decode_record_header(header)
