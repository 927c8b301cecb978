"""Conditional requests (RFC 9110, section 13) and digests of bodies (RFC 9530)."""

import base64
import hashlib

import httpx
import pytest

from replicator.testing import raw_http
from replicator.testing.processes import ServerProcess

OTHER_TAG = '"' + "0" * 64 + '"'


@pytest.fixture
def etag(client: httpx.Client) -> str:
    return str(client.put("/objects/doc", content=b"the first text").headers["ETag"])


def test_if_none_match_saves_sending_what_the_client_has(client: httpx.Client, etag: str) -> None:
    for header in (etag, f"W/{etag}", f"{OTHER_TAG}, {etag}", "*"):
        got = client.get("/objects/doc", headers={"If-None-Match": header})
        assert (got.status_code, got.content) == (304, b""), header
        assert got.headers["ETag"] == etag
    assert client.get("/objects/doc", headers={"If-None-Match": OTHER_TAG}).status_code == 200


def test_if_match_reads_only_the_version_it_names(client: httpx.Client, etag: str) -> None:
    assert client.get("/objects/doc", headers={"If-Match": f"{OTHER_TAG},{etag}"}).status_code == 200
    for header in (OTHER_TAG, f"W/{etag}"):
        assert client.get("/objects/doc", headers={"If-Match": header}).status_code == 412, header


def test_if_range_gives_the_range_of_that_version_or_the_whole(client: httpx.Client, etag: str) -> None:
    asked = {"Range": "bytes=4-8"}
    assert client.get("/objects/doc", headers=asked | {"If-Range": etag}).content == b"first"
    for other in (OTHER_TAG, f"W/{etag}", "Tue, 01 Jan 2030 00:00:00 GMT"):
        got = client.get("/objects/doc", headers=asked | {"If-Range": other})
        assert (got.status_code, got.content) == (200, b"the first text"), other


def test_if_none_match_star_never_overwrites(client: httpx.Client, etag: str) -> None:
    put = client.put("/objects/doc", content=b"late", headers={"If-None-Match": "*"})
    assert put.status_code == 412
    assert put.json()["code"] == "precondition-failed"
    assert client.get("/objects/doc").content == b"the first text"
    client.delete("/objects/doc")
    assert client.put("/objects/doc", content=b"new", headers={"If-None-Match": "*"}).status_code == 201


def test_if_match_overwrites_only_what_was_seen(client: httpx.Client, etag: str) -> None:
    assert client.put("/objects/doc", content=b"2", headers={"If-Match": OTHER_TAG}).status_code == 412
    assert client.put("/objects/doc", content=b"2", headers={"If-Match": etag}).status_code == 200
    assert client.put("/objects/doc", content=b"3", headers={"If-Match": etag}).status_code == 412
    assert client.get("/objects/doc").content == b"2"
    assert client.put("/objects/none", content=b"x", headers={"If-Match": "*"}).status_code == 412
    assert client.head("/objects/none").status_code == 404


def test_delete_honours_if_match(client: httpx.Client, etag: str) -> None:
    assert client.delete("/objects/doc", headers={"If-Match": OTHER_TAG}).status_code == 412
    assert client.delete("/objects/doc", headers={"If-Match": etag}).status_code == 204


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_a_condition_that_is_no_entity_tag_is_400(client: httpx.Client, etag: str, header: str) -> None:
    answer = client.put("/objects/doc", content=b"x", headers={header: "unquoted"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert client.get("/objects/doc").content == b"the first text"


def digest_of(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


BODIES = {"short": b"short", "long": bytes(range(256)) * 12_000}


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_matching_digest_is_accepted(client: httpx.Client, header: str, body: bytes) -> None:
    sent = {header: f"md5=:AAAA:, {digest_of(body)}"}
    assert client.put("/objects/proven", content=body, headers=sent).is_success
    assert client.get("/objects/proven").content == body


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_another_digest_is_400_and_nothing_is_kept(client: httpx.Client, header: str, body: bytes) -> None:
    name = f"/objects/refused-{header}-{len(body)}"
    answer = client.put(name, content=body, headers={header: digest_of(body + b"!")})
    assert (answer.status_code, answer.json()["code"]) == (400, "digest-mismatch")
    assert client.head(name).status_code == 404


def test_a_refused_body_leaves_the_version_that_was_there(client: httpx.Client, etag: str) -> None:
    client.put("/objects/doc", content=b"other", headers={"Repr-Digest": digest_of(b"not it")})
    assert client.get("/objects/doc").headers["ETag"] == etag


@pytest.mark.parametrize("value", ["sha-256=abc", "sha-256=:AAAA:", "sha-256=:!!!!:", "sha-256=:" + "A" * 44])
def test_a_malformed_digest_is_400(client: httpx.Client, value: str) -> None:
    assert client.put("/objects/x", content=b"x", headers={"Repr-Digest": value}).status_code == 400


def test_digests_that_contradict_each_other_are_400(client: httpx.Client) -> None:
    sent = {"Content-Digest": digest_of(b"x"), "Repr-Digest": digest_of(b"y")}
    assert client.put("/objects/x", content=b"x", headers=sent).status_code == 400


def test_a_digest_in_the_first_of_two_header_lines_is_not_overlooked(node: ServerProcess) -> None:
    with raw_http.RawConnection(node.url) as connection:
        connection.send(
            b"PUT /objects/two-lines HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
            b"Repr-Digest: " + digest_of(b"else").encode() + b"\r\nRepr-Digest: md5=:AAAA:\r\n\r\nbody"
        )
        assert connection.answer("PUT").status == 400
    assert raw_http.request(node.url, "HEAD", "/objects/two-lines").status == 404


def test_what_cannot_be_kept_is_refused(client: httpx.Client) -> None:
    for header in ({"Content-Encoding": "gzip"}, {"Content-Range": "bytes 0-1/5"}):
        assert client.put("/objects/x", content=b"ab", headers=header).status_code == 400
