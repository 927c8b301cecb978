"""Buckets over HTTP, and listings of what is in them."""

from collections.abc import Iterator

import httpx
import pytest


def test_the_bucket_default_is_there(client: httpx.Client) -> None:
    shown = client.get("/buckets/default").json()
    assert (shown["name"], shown["versioning"]) == ("default", "off")
    assert shown["created_at"].endswith("Z")
    assert client.delete("/buckets/default").status_code == 409


def test_a_bucket_is_made_changed_and_removed(client: httpx.Client) -> None:
    made = client.put("/buckets/my.bucket-1")
    assert (made.status_code, made.json()["versioning"]) == (201, "off")
    on = client.put("/buckets/my.bucket-1", json={"versioning": "on"})
    assert (on.status_code, on.json()["versioning"]) == (200, "on")
    unchanged = client.put("/buckets/my.bucket-1")
    assert (unchanged.status_code, unchanged.json()) == (200, on.json())
    refused = client.put("/buckets/my.bucket-1", json={"versioning": "off"})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert client.put("/buckets/my.bucket-1", json={"versioning": "suspended"}).status_code == 200
    assert client.delete("/buckets/my.bucket-1").status_code == 204
    assert client.get("/buckets/my.bucket-1").status_code == 404


def test_buckets_come_in_pages_in_byte_order(client: httpx.Client) -> None:
    names = [f"page-{letter}" for letter in "abcde"]
    for name in reversed(names):
        client.put(f"/buckets/{name}")
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/buckets", params={"limit": 2, **cursor}).json()
        found += [each["name"] for each in page["buckets"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == sorted(found)
    assert set(names) < set(found)


def test_a_bucket_that_is_not_empty_stays(client: httpx.Client) -> None:
    client.put("/buckets/filled")
    client.put("/objects/a", params={"bucket": "filled"}, content=b"x")
    assert client.delete("/buckets/filled").status_code == 409
    client.delete("/objects/a", params={"bucket": "filled"})
    assert client.delete("/buckets/filled").status_code == 204


def test_the_same_id_in_two_buckets_is_two_objects(client: httpx.Client) -> None:
    client.put("/buckets/twin")
    client.put("/objects/same", content=b"in default")
    client.put("/objects/same", params={"bucket": "twin"}, content=b"in twin")
    assert client.get("/objects/same").content == b"in default"
    assert client.get("/objects/same?bucket=default").content == b"in default"
    assert client.get("/objects/same", params={"bucket": "twin"}).content == b"in twin"


@pytest.mark.parametrize("name", ["No", "a", "192.168.0.1", "a..b", "xn--a", "x" * 64])
def test_a_name_that_s3_forbids_is_refused(client: httpx.Client, name: str) -> None:
    answer = client.put(f"/buckets/{name}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


@pytest.mark.parametrize("body", [{"versioning": "maybe"}, {}, {"versioning": "on", "more": 1}, []])
def test_settings_that_make_no_sense_are_refused(client: httpx.Client, body: object) -> None:
    assert client.put("/buckets/odd", json=body).status_code == 422
    assert client.get("/buckets/odd").status_code == 404


IDS = ["a", "a/1", "a/2/x", "a/2/y", "b/", "b/1", "c", "d./x", "é/ü", "é/ö"]


@pytest.fixture(scope="module")
def tree(node: object) -> str:
    """A bucket that holds `IDS`."""
    with httpx.Client(base_url=node.url, trust_env=False) as client:  # type: ignore[attr-defined]
        client.put("/buckets/tree")
        for object_id in IDS:
            client.put(f"/objects/{object_id}", params={"bucket": "tree"}, content=b"x")
    return "tree"


def pages(client: httpx.Client, **query: str | int) -> Iterator[tuple[list[str], list[str]]]:
    cursor: dict[str, str] = {}
    for _ in range(100):
        answer = client.get("/objects", params={**query, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield [each["object_id"] for each in page["objects"]], page["prefixes"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}
    pytest.fail("the list does not end")


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("prefix", "delimiter", "objects", "prefixes"),
    [
        ("", "/", ["a", "c"], ["a/", "b/", "d./", "é/"]),
        ("a/", "/", ["a/1"], ["a/2/"]),
        ("b/", "/", ["b/", "b/1"], []),
        ("", "./", ["a", "a/1", "a/2/x", "a/2/y", "b/", "b/1", "c", "é/ü", "é/ö"], ["d./"]),
        ("", "2/", ["a", "a/1", "b/", "b/1", "c", "d./x", "é/ü", "é/ö"], ["a/2/"]),
        ("zz", "/", [], []),
    ],
)
def test_a_delimiter_groups_ids(
    client: httpx.Client,
    tree: str,
    limit: int,
    prefix: str,
    delimiter: str,
    objects: list[str],
    prefixes: list[str],
) -> None:
    found = list(pages(client, bucket=tree, prefix=prefix, delimiter=delimiter, limit=limit))
    assert all(len(ids) + len(groups) <= limit for ids, groups in found)
    assert [each for ids, _ in found for each in ids] == sorted(objects, key=str.encode)
    assert [each for _, groups in found for each in groups] == sorted(prefixes, key=str.encode)
