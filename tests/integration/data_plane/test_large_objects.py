"""An object larger than the memory a node may use, and manifests of more than one page."""

import hashlib
import random
from collections.abc import Iterator

import httpx
import pytest

from replicator.kernel.chunker import Chunker
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import PAGE_ENTRIES, ChunkRef, decode_manifest, decode_page
from replicator.testing.processes import ServerProcess
from replicator.wire import manifests

MEBIBYTE = 1024 * 1024
LARGE_BYTES = 5 * 1024 * MEBIBYTE + 12_345
MEMORY_BYTES_MAX = 300 * 1000 * 1000
PAGED_CHUNKS = 4400
_POOL = random.Random("large").randbytes(24 * MEBIBYTE)
# Repeated, a chunk is cut at its ends again, so the smallest makes long manifests of the fewest bytes.
_SMALL_CHUNK = min((bytes(piece) for piece in Chunker().feed(_POOL[: 4 * MEBIBYTE])), key=len)


def large_blocks() -> Iterator[bytes]:
    """`LARGE_BYTES` that repeat, but neither evenly nor wholly: most chunks are known, some are new."""
    rng = random.Random("order")
    left = LARGE_BYTES
    while left:
        start = rng.randrange(len(_POOL) - 3 * MEBIBYTE)
        block = _POOL[start : start + min(left, 3 * MEBIBYTE)]
        left -= len(block)
        yield block


def paged_blocks() -> Iterator[bytes]:
    """`PAGED_CHUNKS` chunks."""
    for _ in range(PAGED_CHUNKS // 20):
        yield _SMALL_CHUNK * 20


@pytest.fixture(scope="module")
def paged(node: ServerProcess) -> None:
    """The object `paged`."""
    put = httpx.put(f"{node.url}/objects/paged", content=paged_blocks(), trust_env=False, timeout=60)
    assert put.json()["chunks"] == PAGED_CHUNKS > PAGE_ENTRIES


@pytest.mark.timeout(600)
def test_a_large_object_streams_in_and_out_whole_in_bounded_memory(
    node: ServerProcess, client: httpx.Client
) -> None:
    sent, got = hashlib.sha256(), hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for block in large_blocks():
            sent.update(block)
            yield block

    put = client.put("/objects/large", content=hashed(), timeout=120)
    assert (put.status_code, put.json()["size"]) == (201, LARGE_BYTES)
    with client.stream("GET", "/objects/large") as answer:
        for block in answer.iter_raw():
            got.update(block)
    assert got.digest() == sent.digest()
    assert node.peak_memory_bytes() < MEMORY_BYTES_MAX


def test_a_range_beyond_the_first_page_is_exact(client: httpx.Client, paged: None) -> None:
    size = PAGED_CHUNKS * len(_SMALL_CHUNK)
    start, stop = size - 5_000_000, size - 1_000_000
    skipped, rest = divmod(start, len(_SMALL_CHUNK))
    expected = (_SMALL_CHUNK * (PAGED_CHUNKS - skipped))[rest : rest + stop - start]
    got = client.get("/objects/paged", headers={"Range": f"bytes={start}-{stop - 1}"})
    assert (got.status_code, got.content == expected) == (206, True)


def test_a_manifest_comes_in_pages_that_add_up(client: httpx.Client, paged: None) -> None:
    root = client.get("/manifests/paged", headers={"Accept": manifests.MEDIA_TYPE})
    manifest = decode_manifest(root.content, Digest.parse(root.headers["ETag"].strip('"')))
    assert manifest.page_count == 2
    entries: list[ChunkRef] = []
    for index in range(manifest.page_count):
        page = decode_page(client.get(f"/pages/{manifest.digest}/{index}").content, manifest, index)
        view = client.get("/manifests/paged", params={"page": index}).json()
        assert (view["page"], view["page_count"]) == (index, manifest.page_count)
        assert [(entry["digest"], entry["length"]) for entry in view["entries"]] == [
            (str(ref.digest), ref.length) for ref in page
        ]
        entries += page
    assert entries == [ChunkRef(Digest.of(_SMALL_CHUNK), len(_SMALL_CHUNK))] * PAGED_CHUNKS
    assert client.get("/manifests/paged", params={"page": manifest.page_count}).status_code == 404


def test_the_same_bytes_again_bring_nothing_new(client: httpx.Client, paged: None) -> None:
    again = client.put("/objects/paged-again", content=paged_blocks())
    assert (again.json()["chunks_new"], again.json()["bytes_new"]) == (0, 0)
    assert again.headers["ETag"] == client.head("/objects/paged").headers["ETag"]


def test_a_paged_body_that_is_refused_leaves_nothing_and_harms_nothing(
    client: httpx.Client, paged: None
) -> None:
    wrong = {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}
    refused = client.put("/objects/refused", content=paged_blocks(), headers=wrong)
    assert (refused.status_code, refused.json()["code"]) == (400, "digest-mismatch")
    assert client.head("/objects/refused").status_code == 404
    with client.stream("GET", "/objects/paged") as answer:
        got = hashlib.sha256()
        for block in answer.iter_raw():
            got.update(block)
    assert got.digest() == hashlib.sha256(_SMALL_CHUNK * PAGED_CHUNKS).digest()
