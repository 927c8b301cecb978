"""Listing: every object once, in byte order, in pages, by prefix."""

from collections.abc import Iterator

import httpx
import pytest

from replicator.testing.processes import ServerProcess

IDS = sorted(
    ["a", "a!", "a/", "a/1", "a/1/x", "a/10", "a/2", "ab", "b%2F", "b&c", "é", "日本", "z" * 1000],
    key=str.encode,
)


@pytest.fixture(scope="module", autouse=True)
def filled(node: ServerProcess) -> None:
    with httpx.Client(base_url=node.url, trust_env=False) as client:
        for object_id in IDS:
            path = httpx.URL(node.url).copy_with(raw_path=b"/objects/" + escaped(object_id))
            assert client.put(path, content=object_id.encode()).status_code == 201


def escaped(object_id: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in object_id.encode()).encode()


def pages(client: httpx.Client, **query: str | int) -> Iterator[list[str]]:
    cursor = None
    for _ in range(100):
        page = client.get("/objects", params=query | ({"cursor": cursor} if cursor else {})).json()
        yield [found["object_id"] for found in page["objects"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return
    pytest.fail("the list does not end")


@pytest.mark.parametrize("limit", [1, 2, 5, len(IDS), 1000])
def test_pages_hold_every_object_once_in_order(client: httpx.Client, limit: int) -> None:
    found = list(pages(client, limit=limit))
    assert [object_id for page in found for object_id in page] == IDS
    assert all(len(page) == limit for page in found[:-1])


@pytest.mark.parametrize("prefix", ["a", "a/", "a/1", "b", "é", "z", "none", ""])
@pytest.mark.parametrize("limit", [1, 100])
def test_a_prefix_is_a_prefix_of_the_id(client: httpx.Client, prefix: str, limit: int) -> None:
    found = [object_id for page in pages(client, prefix=prefix, limit=limit) for object_id in page]
    assert found == [object_id for object_id in IDS if object_id.startswith(prefix)]


def test_an_entry_is_what_the_object_says_of_itself(client: httpx.Client) -> None:
    entry = client.get("/objects", params={"prefix": "ab"}).json()["objects"][0]
    head = client.head("/objects/ab")
    assert entry["etag"] == head.headers["ETag"]
    assert entry["version"] == head.headers["X-Replicator-Version"]
    assert (entry["size"], entry["content_type"]) == (2, head.headers["Content-Type"])
    assert entry["created_at"].endswith("Z")


def test_a_prefix_that_no_id_can_have_finds_nothing_of_another_object(client: httpx.Client) -> None:
    answer = client.get("/objects", params={"prefix": "a\0"})
    assert answer.status_code == 400 or answer.json()["objects"] == []


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"cursor": "%FF"}, {"cursor": ".."}, {"cursor": ""}],
)
def test_a_bad_query_is_a_problem(client: httpx.Client, query: dict[str, str]) -> None:
    answer = client.get("/objects", params=query)
    assert answer.status_code in (400, 422)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_listing_goes_on_behind_an_object_that_was_deleted_meanwhile(client: httpx.Client) -> None:
    client.put("/objects/gone/1", content=b"1")
    client.put("/objects/gone/2", content=b"2")
    cursor = client.get("/objects", params={"prefix": "gone/", "limit": 1}).json()["next_cursor"]
    client.delete("/objects/gone/1")
    rest = client.get("/objects", params={"prefix": "gone/", "cursor": cursor}).json()["objects"]
    assert [found["object_id"] for found in rest] == ["gone/2"]
    client.delete("/objects/gone/2")
