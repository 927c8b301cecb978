"""Manifests and chunks of one node: what they name, and how they are fetched and kept one by one."""

import random

import httpx
import pytest

from replicator.kernel.chunker import DEFAULT_CHUNKING
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef, decode_manifest
from replicator.testing import raw_http
from replicator.testing.processes import ServerProcess
from replicator.wire import manifests

DATA = random.Random("chunks").randbytes(2_500_000)
ABSENT = Digest.of(b"nowhere")


@pytest.fixture(scope="module")
def refs(node: ServerProcess) -> list[ChunkRef]:
    """The chunks of the object `known`, as its manifest names them."""
    with httpx.Client(base_url=node.url, trust_env=False) as client:
        client.put("/objects/known", content=DATA, headers={"Content-Type": "text/known"})
        view = client.get("/manifests/known").json()
    return [ChunkRef(Digest.parse(entry["digest"]), entry["length"]) for entry in view["entries"]]


def pieces(refs: list[ChunkRef]) -> list[bytes]:
    at, found = 0, []
    for ref in refs:
        found.append(DATA[at : at + ref.length])
        at += ref.length
    return found


def test_a_manifest_names_the_bytes_of_the_object_in_order(refs: list[ChunkRef]) -> None:
    assert sum(ref.length for ref in refs) == len(DATA)
    assert [Digest.of(piece) for piece in pieces(refs)] == [ref.digest for ref in refs]
    low, high = DEFAULT_CHUNKING.chunk_bytes_min, DEFAULT_CHUNKING.chunk_bytes_max
    assert all(low <= ref.length <= high for ref in refs[:-1])


def test_a_manifest_is_the_same_as_json_and_in_its_encoding(
    client: httpx.Client, refs: list[ChunkRef]
) -> None:
    view = client.get("/manifests/known").json()
    answer = client.get("/manifests/known", headers={"Accept": manifests.MEDIA_TYPE})
    manifest = decode_manifest(answer.content, Digest.parse(view["manifest"]))
    assert list(manifest.entries) == refs
    assert (view["size"], view["chunk_count"], view["page_count"]) == (len(DATA), len(refs), 1)
    assert answer.headers["Content-Type"] == manifests.MEDIA_TYPE
    assert answer.headers["ETag"] == f'"{manifest.digest}"' == client.head("/objects/known").headers["ETag"]
    assert answer.headers[manifests.NODE_HEADER] == "node1"
    assert answer.headers[manifests.VERSION_HEADER] == view["version"]
    assert answer.headers[manifests.CONTENT_TYPE_HEADER] == "text/known"


def test_the_manifest_of_an_empty_object_is_empty(client: httpx.Client) -> None:
    client.put("/objects/empty", content=b"")
    view = client.get("/manifests/empty").json()
    assert (view["entries"], view["size"], view["chunk_count"], view["page_count"]) == ([], 0, 0, 1)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/manifests/absent", 404),
        ("/manifests/known?page=1", 404),
        ("/manifests/known?page=-1", 422),
        (f"/pages/{ABSENT}/0", 404),
        ("/pages/nonsense/0", 400),
        ("/pages/{known}/0", 404),
        ("/pages/{known}/-1", 404),
    ],
)
def test_what_is_not_there_is_a_problem(
    client: httpx.Client, refs: list[ChunkRef], path: str, status: int
) -> None:
    known = client.get("/manifests/known").json()["manifest"]
    answer = client.get(path.replace("{known}", known))
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_every_chunk_can_be_read_by_its_digest(client: httpx.Client, refs: list[ChunkRef]) -> None:
    for ref, piece in zip(refs, pieces(refs), strict=True):
        head, got = client.head(f"/chunks/{ref.digest}"), client.get(f"/chunks/{ref.digest}")
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(ref.length))
        assert got.content == piece
        assert got.headers["ETag"] == f'"{ref.digest}"'


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_unknown_chunk_is_404(client: httpx.Client, method: str) -> None:
    assert client.request(method, f"/chunks/{ABSENT}").status_code == 404


@pytest.mark.parametrize("name", ["", "abc", "A" * 64, "g" * 64, "0" * 65, f"{ABSENT}/x", "%30" + "0" * 63])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_is_no_digest_is_400(node: ServerProcess, method: str, name: str) -> None:
    body = b"x" if method == "PUT" else None
    assert raw_http.request(node.url, method, f"/chunks/{name}", body=body).status == 400


def test_a_chunk_that_is_put_is_there_and_is_new_once(client: httpx.Client) -> None:
    body = b"a chunk of its own"
    path = f"/chunks/{Digest.of(body)}"
    assert [client.put(path, content=body).status_code for _ in range(2)] == [201, 204]
    assert client.get(path).content == body


def test_a_chunk_that_was_put_need_not_be_sent_with_an_object(client: httpx.Client) -> None:
    body = b"known before the object"
    client.put(f"/chunks/{Digest.of(body)}", content=body)
    assert client.put("/objects/from-known-chunk", content=body).json()["bytes_new"] == 0
    assert client.get("/objects/from-known-chunk").content == body


def test_a_chunk_that_is_not_its_digest_is_400_and_not_kept(client: httpx.Client) -> None:
    answer = client.put(f"/chunks/{ABSENT}", content=b"something else")
    assert (answer.status_code, answer.json()["code"]) == (400, "digest-mismatch")
    assert client.head(f"/chunks/{ABSENT}").status_code == 404
    assert client.head(f"/chunks/{Digest.of(b'something else')}").status_code == 404


def test_an_empty_chunk_is_400(client: httpx.Client) -> None:
    assert client.put(f"/chunks/{Digest.of(b'')}", content=b"").status_code == 400


@pytest.mark.parametrize("chunked", [False, True])
def test_a_chunk_above_the_largest_is_413(client: httpx.Client, chunked: bool) -> None:
    largest = bytes([chunked]) * DEFAULT_CHUNKING.chunk_bytes_max
    too_large = largest + b"x"
    assert client.put(f"/chunks/{Digest.of(largest)}", content=largest).status_code == 201
    content = iter([too_large]) if chunked else too_large
    assert client.put(f"/chunks/{Digest.of(too_large)}", content=content).status_code == 413
    assert client.head(f"/chunks/{Digest.of(too_large)}").status_code == 404
