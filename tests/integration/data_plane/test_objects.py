"""Objects in and out of one node: what was put comes back, whole or in part, until it is deleted."""

import hashlib
import random
from collections.abc import Iterator

import httpx
import pytest

SIZES = {
    "empty": 0,
    "one byte": 1,
    "below one chunk": 15_000,
    "one block exactly": 1024 * 1024,
    "many chunks": 5_000_003,
}


def content(size: int, seed: str) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_an_object_of_any_size_comes_back(client: httpx.Client, size: int) -> None:
    data = content(size, f"size {size}")
    put = client.put(f"/objects/sizes/{size}", content=data, headers={"Content-Type": "image/png"})
    got = client.get(f"/objects/sizes/{size}")
    assert put.status_code == 201
    assert put.json()["size"] == size
    assert (got.status_code, got.content) == (200, data)
    assert got.headers["Content-Type"] == "image/png"
    assert got.headers["Content-Length"] == str(size)
    assert got.headers["ETag"] == put.headers["ETag"] == put.json()["etag"]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_a_body_in_chunked_transfer_coding_is_the_same_object(client: httpx.Client, size: int) -> None:
    data = content(size, f"chunked {size}")

    def pieces() -> Iterator[bytes]:
        rng = random.Random(size)
        at = 0
        while at < len(data):
            step = rng.choice([1, 7, 4096, 70_000, 1_500_000])
            yield data[at : at + step]
            at += step

    whole = client.put(f"/objects/plain/{size}", content=data)
    chunked = client.put(f"/objects/chunked/{size}", content=pieces())
    assert chunked.json()["etag"] == whole.json()["etag"]
    assert chunked.json()["bytes_new"] == 0
    assert client.get(f"/objects/chunked/{size}").content == data


def test_the_answer_to_an_upload_says_what_was_new(client: httpx.Client) -> None:
    data = content(3_000_000, "counted")
    first = client.put("/objects/first", content=data).json()
    again = client.put("/objects/second", content=data + b"and a little more").json()
    assert first["chunks_new"] == first["chunks"] > 10
    assert first["bytes_new"] == first["size"] == len(data)
    assert 0 < again["bytes_new"] < 600_000
    assert again["chunks_new"] < again["chunks"]


def test_a_second_put_replaces_and_keeps_only_the_latest(client: httpx.Client) -> None:
    first = client.put("/objects/replaced", content=b"one")
    second = client.put("/objects/replaced", content=b"two", headers={"Content-Type": "text/plain"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["version"] > first.json()["version"]
    got = client.get("/objects/replaced")
    assert (got.content, got.headers["Content-Type"]) == (b"two", "text/plain")
    assert got.headers["X-Replicator-Version"] == second.json()["version"]


def test_head_says_what_get_would(client: httpx.Client) -> None:
    client.put("/objects/described", content=b"12345", headers={"Content-Type": "text/x"})
    head, got = client.head("/objects/described"), client.get("/objects/described")
    same = ("etag", "content-length", "content-type", "x-replicator-version", "last-modified")
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers[name] for name in same} == {name: got.headers[name] for name in same}


def test_a_deleted_object_is_gone_until_it_is_put_again(client: httpx.Client) -> None:
    client.put("/objects/doomed", content=b"x")
    assert client.delete("/objects/doomed").status_code == 204
    assert client.get("/objects/doomed").status_code == 404
    assert client.head("/objects/doomed").status_code == 404
    assert client.delete("/objects/doomed").status_code == 404
    assert client.put("/objects/doomed", content=b"back").status_code == 201
    assert client.get("/objects/doomed").content == b"back"


def test_an_absent_object_is_a_problem_that_names_it(client: httpx.Client) -> None:
    got = client.get("/objects/never/was")
    assert got.status_code == 404
    assert got.headers["Content-Type"] == "application/problem+json"
    assert got.json()["code"] == "not-found"
    assert got.json()["object_id"] == "never/was"


def test_another_method_is_405_and_says_which_there_are(client: httpx.Client) -> None:
    answer = client.post("/objects/x", content=b"x")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD, PUT, DELETE"


RANGED = content(700_000, "ranged")
LAST = len(RANGED) - 1


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, len(RANGED)),
        ("bytes=65530-200001", 65_530, 200_002),
        (f"bytes={LAST}-", LAST, len(RANGED)),
        (f"bytes={LAST}-{LAST + 1000}", LAST, len(RANGED)),
        ("bytes=-1", LAST, len(RANGED)),
        ("bytes=-150000", len(RANGED) - 150_000, len(RANGED)),
        (f"bytes=-{len(RANGED) + 5}", 0, len(RANGED)),
    ],
)
def test_a_single_range_is_206_and_exact(client: httpx.Client, asked: str, start: int, stop: int) -> None:
    client.put("/objects/ranged", content=RANGED)
    got = client.get("/objects/ranged", headers={"Range": asked})
    assert got.status_code == 206
    assert got.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(RANGED)}"
    assert got.content == RANGED[start:stop]


@pytest.mark.parametrize("asked", [f"bytes={len(RANGED)}-", "bytes=99999999999-", "bytes=-0"])
def test_a_range_outside_the_object_is_416_with_its_size(client: httpx.Client, asked: str) -> None:
    client.put("/objects/ranged", content=RANGED)
    got = client.get("/objects/ranged", headers={"Range": asked})
    assert got.status_code == 416
    assert got.headers["Content-Range"] == f"bytes */{len(RANGED)}"
    assert got.json()["code"] == "range-not-satisfiable"


def test_any_range_of_an_empty_object_is_416(client: httpx.Client) -> None:
    client.put("/objects/nothing", content=b"")
    for asked in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        assert client.get("/objects/nothing", headers={"Range": asked}).status_code == 416


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=5-1", "bytes=-", "bytes=a-b"])
def test_what_a_server_may_ignore_gives_the_whole_object(client: httpx.Client, asked: str) -> None:
    client.put("/objects/ranged", content=RANGED)
    got = client.get("/objects/ranged", headers={"Range": asked})
    assert (got.status_code, got.content) == (200, RANGED)
    assert "Content-Range" not in got.headers


def test_many_ranges_at_random_are_exact(client: httpx.Client) -> None:
    data = content(4_000_000, "ranges at random")
    client.put("/objects/random-ranges", content=data)
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for _ in range(60):
        start = rng.randrange(len(data))
        stop = min(len(data), start + rng.choice([1, 100, 70_000, 2_000_000]))
        got = client.get("/objects/random-ranges", headers={"Range": f"bytes={start}-{stop - 1}"})
        assert got.content == data[start:stop], f"seed {seed}: {start} to {stop}"


def test_equal_content_has_an_equal_etag_and_other_content_another(client: httpx.Client) -> None:
    tags = [
        client.put("/objects/tag", content=hashlib.sha256(name).digest()).headers["ETag"]
        for name in (b"a", b"b", b"a")
    ]
    assert tags[0] == tags[2] != tags[1]
