"""Versions, delete markers and copies over HTTP."""

import itertools
from collections.abc import Callable

import httpx
import pytest

from replicator.data_plane.api.objects import METHODS

_names = itertools.count(1)

VERSION, MARKER = "X-Replicator-Version", "X-Replicator-Delete-Marker"
REMOVED = "X-Replicator-Removed-Version"
UNKNOWN = "0" * 32


@pytest.fixture
def bucket(client: httpx.Client) -> str:
    """A bucket of the test's own, with versioning on."""
    name = f"bucket-{next(_names)}"
    assert client.put(f"/buckets/{name}", json={"versioning": "on"}).status_code == 201
    return name


Put = Callable[[bytes], str]


@pytest.fixture
def put(client: httpx.Client, bucket: str) -> Put:
    """Writes the object `doc` in the test's bucket; gives the version."""

    def write(content: bytes) -> str:
        answer = client.put("/objects/doc", params={"bucket": bucket}, content=content)
        assert answer.is_success
        assert answer.json()["bucket"] == bucket
        return str(answer.json()["version"])

    return write


def versions(client: httpx.Client, bucket: str, **query: str | int) -> list[dict[str, object]]:
    answer = client.get("/versions/doc", params={"bucket": bucket, **query})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["versions"])


def test_every_version_can_be_read(client: httpx.Client, bucket: str, put: Put) -> None:
    made = [put(content) for content in (b"first", b"second", b"third")]
    assert client.get("/objects/doc", params={"bucket": bucket}).content == b"third"
    for version, content in zip(made, (b"first", b"second", b"third"), strict=True):
        at = {"bucket": bucket, "version": version}
        got = client.get("/objects/doc", params=at)
        assert (got.content, got.headers[VERSION]) == (content, version)
        assert client.head("/objects/doc", params=at).headers["ETag"] == got.headers["ETag"]
        assert client.get("/objects/doc", params=at, headers={"Range": "bytes=1-2"}).content == content[1:3]
        manifest = client.get("/manifests/doc", params=at).json()
        assert (manifest["version"], manifest["size"], manifest["bucket"]) == (version, len(content), bucket)


def test_versions_are_listed_newest_first(client: httpx.Client, bucket: str, put: Put) -> None:
    first, second = put(b"first"), put(b"second")
    marker = client.delete("/objects/doc", params={"bucket": bucket}).headers[VERSION]
    listed = versions(client, bucket)
    assert [(each["version"], each["latest"], each["delete_marker"]) for each in listed] == [
        (marker, True, True),
        (second, False, False),
        (first, False, False),
    ]
    assert [each["size"] for each in listed] == [None, 6, 5]
    head = client.head("/objects/doc", params={"bucket": bucket, "version": first})
    assert listed[2]["etag"] == head.headers["ETag"]
    assert all(not each["null"] for each in listed)


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_versions_come_in_pages(client: httpx.Client, bucket: str, put: Put, limit: int) -> None:
    made = [put(bytes([number])) for number in range(3)]
    found: list[object] = []
    latest: list[object] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/versions/doc", params={"bucket": bucket, "limit": limit, **cursor}).json()
        found += [each["version"] for each in page["versions"]]
        latest += [each["version"] for each in page["versions"] if each["latest"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == made[::-1]
    assert latest == made[-1:]


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_everything_in_a_bucket_comes_in_pages(
    client: httpx.Client, bucket: str, put: Put, limit: int
) -> None:
    first, second = put(b"first"), put(b"second")
    marker = client.delete("/objects/doc", params={"bucket": bucket}).headers[VERSION]
    other = client.put("/objects/%C3%A9%3F", params={"bucket": bucket}, content=b"x").json()["version"]
    found: list[dict[str, object]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/versions", params={"bucket": bucket, "limit": limit, **cursor}).json()
        assert len(page["versions"]) <= limit
        found += page["versions"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [
        (each["object_id"], each["version"], each["latest"], each["delete_marker"]) for each in found
    ] == [
        ("doc", marker, True, True),
        ("doc", second, False, False),
        ("doc", first, False, False),
        ("é?", other, True, False),
    ]
    of_prefix = client.get("/versions", params={"bucket": bucket, "prefix": "é"}).json()
    assert of_prefix == {"bucket": bucket, "versions": found[3:], "next_cursor": None}


def test_a_bucket_that_is_not_empty_says_what_lists_the_rest(
    client: httpx.Client, bucket: str, put: Put
) -> None:
    put(b"x")
    client.delete("/objects/doc", params={"bucket": bucket})
    refused = client.delete(f"/buckets/{bucket}")
    assert (refused.status_code, f"GET /versions?bucket={bucket} " in refused.json()["detail"]) == (409, True)
    for each in client.get(f"/versions?bucket={bucket}").json()["versions"]:
        at = {"bucket": bucket, "version": each["version"]}
        assert client.delete(f"/objects/{each['object_id']}", params=at).status_code == 204
    assert client.delete(f"/buckets/{bucket}").status_code == 204


def test_what_is_deleted_says_which_request_lists_its_versions(
    client: httpx.Client, bucket: str, put: Put
) -> None:
    put(b"x")
    client.delete("/objects/doc", params={"bucket": bucket})
    gone = client.get("/objects/doc", params={"bucket": bucket}).json()["detail"]
    unknown = client.get("/objects/doc", params={"bucket": bucket, "version": UNKNOWN}).json()["detail"]
    for told in (gone, unknown):
        assert f"GET /versions/doc?bucket={bucket} lists" in told


def test_a_marker_that_replaces_the_null_version_says_so(client: httpx.Client, bucket: str, put: Put) -> None:
    client.put(f"/buckets/{bucket}", json={"versioning": "suspended"})
    version = put(b"x")
    deleted = client.delete("/objects/doc", params={"bucket": bucket}).headers
    assert (deleted[MARKER], deleted[REMOVED]) == ("true", version)
    client.put(f"/buckets/{bucket}", json={"versioning": "on"})
    put(b"kept")
    assert REMOVED not in client.delete("/objects/doc", params={"bucket": bucket}).headers


def test_a_deleted_object_is_gone_and_comes_back_without_its_marker(
    client: httpx.Client, bucket: str, put: Put
) -> None:
    first = put(b"kept")
    deleted = client.delete("/objects/doc", params={"bucket": bucket})
    marker = deleted.headers[VERSION]
    assert (deleted.status_code, deleted.headers[MARKER]) == (204, "true")
    for method in ("GET", "HEAD"):
        gone = client.request(method, "/objects/doc", params={"bucket": bucket})
        assert (gone.status_code, gone.headers[MARKER], gone.headers[VERSION]) == (404, "true", marker)
    assert client.get("/objects/doc", params={"bucket": bucket}).json()["code"] == "object-deleted"
    assert client.get("/manifests/doc", params={"bucket": bucket}).status_code == 404
    assert client.delete("/objects/doc", params={"bucket": bucket}).status_code == 404
    assert client.get("/objects", params={"bucket": bucket}).json()["objects"] == []
    assert client.get("/objects/doc", params={"bucket": bucket, "version": first}).content == b"kept"

    removed = client.delete("/objects/doc", params={"bucket": bucket, "version": marker})
    assert (removed.status_code, removed.headers[VERSION], removed.headers[MARKER]) == (204, marker, "true")
    assert client.get("/objects/doc", params={"bucket": bucket}).content == b"kept"


def test_a_delete_marker_has_no_content_to_read(client: httpx.Client, bucket: str, put: Put) -> None:
    put(b"x")
    marker = client.delete("/objects/doc", params={"bucket": bucket}).headers[VERSION]
    got = client.get("/objects/doc", params={"bucket": bucket, "version": marker})
    assert (got.status_code, got.json()["code"]) == (405, "is-delete-marker")
    assert (got.headers[MARKER], got.headers["Allow"]) == ("true", "DELETE")


def test_one_version_is_removed_for_good(client: httpx.Client, bucket: str, put: Put) -> None:
    first, second = put(b"first"), put(b"second")
    removed = client.delete("/objects/doc", params={"bucket": bucket, "version": second})
    assert (removed.status_code, removed.headers[VERSION]) == (204, second)
    assert MARKER not in removed.headers
    assert client.get("/objects/doc", params={"bucket": bucket}).content == b"first"
    assert [each["version"] for each in versions(client, bucket)] == [first]
    again = client.delete("/objects/doc", params={"bucket": bucket, "version": second})
    assert (again.status_code, again.json()["code"]) == (404, "not-found")


def test_the_condition_of_a_removal_is_about_the_version_named(
    client: httpx.Client, bucket: str, put: Put
) -> None:
    first = put(b"first")
    tag = client.head("/objects/doc", params={"bucket": bucket}).headers["ETag"]
    put(b"second")
    at = {"bucket": bucket, "version": first}
    assert client.delete("/objects/doc", params=at, headers={"If-None-Match": tag}).status_code == 412
    assert client.delete("/objects/doc", params=at, headers={"If-Match": tag}).status_code == 204


def test_without_versioning_a_deletion_says_what_it_removed(client: httpx.Client) -> None:
    version = client.put("/objects/plain", content=b"x").json()["version"]
    deleted = client.delete("/objects/plain")
    assert (deleted.status_code, deleted.headers[VERSION]) == (204, version)
    assert MARKER not in deleted.headers


def test_a_version_is_restored_by_copying_it(client: httpx.Client, bucket: str, put: Put) -> None:
    data = bytes(range(256)) * 20_000
    first = put(data)
    put(b"a mistake")
    asked = {
        "source": {"bucket": bucket, "object_id": "doc", "version": first},
        "target": {"bucket": bucket, "object_id": "doc"},
    }
    done = client.post("/copies", json=asked)
    assert done.status_code == 201
    assert (done.json()["size"], done.headers["ETag"]) == (len(data), done.json()["etag"])
    assert done.headers[VERSION] == done.json()["version"] > first
    assert client.get("/objects/doc", params={"bucket": bucket}).content == data
    assert len(versions(client, bucket)) == 3


def test_a_copy_is_of_the_same_content_and_type_in_another_bucket(client: httpx.Client, bucket: str) -> None:
    client.put("/objects/original", content=b"content", headers={"Content-Type": "text/x"})
    asked = {"source": {"object_id": "original"}, "target": {"bucket": bucket, "object_id": "a/copy"}}
    assert client.post("/copies", json=asked).status_code == 201
    client.delete("/objects/original")
    got = client.get("/objects/a/copy", params={"bucket": bucket})
    assert (got.content, got.headers["Content-Type"]) == (b"content", "text/x")


def test_a_copy_keeps_to_the_conditions_on_its_target(client: httpx.Client) -> None:
    client.put("/objects/source", content=b"source")
    tag = client.put("/objects/target", content=b"target").headers["ETag"]
    asked = {"source": {"object_id": "source"}, "target": {"object_id": "target"}}
    assert client.post("/copies", json=asked, headers={"If-None-Match": "*"}).status_code == 412
    assert client.post("/copies", json=asked, headers={"If-Match": '"other"'}).status_code == 412
    two_lines = [("If-Match", '"other"'), ("If-Match", tag)]
    assert client.post("/copies", json=asked, headers=two_lines).status_code == 200
    assert client.get("/objects/target").content == b"source"


@pytest.mark.parametrize(
    ("source", "target", "status"),
    [
        ({"object_id": "absent"}, {"object_id": "x"}, 404),
        ({"object_id": "there", "version": UNKNOWN}, {"object_id": "x"}, 404),
        ({"object_id": "there", "bucket": "no-such"}, {"object_id": "x"}, 404),
        ({"object_id": "there"}, {"object_id": "x", "bucket": "no-such"}, 404),
        ({"object_id": "there"}, {"object_id": ".."}, 422),
        ({"object_id": "there", "version": "latest"}, {"object_id": "x"}, 422),
        ({"object_id": "there"}, {"object_id": "x", "version": UNKNOWN}, 422),
        ({"object_id": "there"}, {}, 422),
    ],
)
def test_a_copy_that_cannot_be_is_a_problem(
    client: httpx.Client, source: dict[str, str], target: dict[str, str], status: int
) -> None:
    client.put("/objects/there", content=b"x")
    answer = client.post("/copies", json={"source": source, "target": target})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert client.head("/objects/x").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/objects/doc?bucket={{}}&version={UNKNOWN}", 404),
        ("/objects/doc?bucket=no-such", 404),
        ("/versions/doc?bucket=no-such", 404),
        ("/versions/never?bucket={}", 404),
        ("/versions/doc?bucket={}&cursor=x", 400),
        ("/versions?bucket=no-such", 404),
        ("/versions?bucket={}&cursor=x", 400),
        (f"/versions?bucket={{}}&cursor={UNKNOWN}-", 400),
        ("/objects?bucket=no-such", 404),
        ("/objects?bucket=NO", 400),
        ("/objects/doc?bucket=NO", 400),
        ("/objects/doc?bucket={}&version=latest", 400),
        ("/objects/doc?bucket={}&versionId=x", 400),
        ("/objects/doc?bucket={0}&bucket={0}", 400),
        ("/objects/doc?version", 400),
        ("/objects/doc?bucket=", 400),
        ("/manifests/doc?bucket=..&version=1", 400),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_a_problem(
    client: httpx.Client, bucket: str, put: Put, path: str, status: int
) -> None:
    put(b"x")
    answer = client.get(path.format(bucket))
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_an_upload_names_no_version_and_no_unknown_bucket(client: httpx.Client, bucket: str) -> None:
    at = {"bucket": bucket, "version": UNKNOWN}
    assert client.put("/objects/doc", params=at, content=b"x").status_code == 400
    assert client.put("/objects/doc", params={"bucket": "no-such"}, content=b"x").status_code == 404
    assert METHODS == "GET, HEAD, PUT, DELETE"
