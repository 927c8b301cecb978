"""Object ids: every valid one names exactly one object, and every invalid one is refused alike."""

import json
from urllib.parse import quote

import pytest

from replicator.testing import raw_http
from replicator.testing.processes import ServerProcess

DISTINCT = [
    "a",
    "a/b",
    "a//b",
    "/a",
    "a/",
    "a%2Fb",
    "a%252Fb",
    "a b",
    "a+b",
    "a?b",
    "a#b",
    "a&b=c;d",
    "grüße/日本語/🎉",
    "gru\u0308ße",
    "...",
    "a/...b",
    ".hidden",
    "x" * 1024,
    "é" * 512,
    "\\..\\",
    "C:\\x",
    "%",
    "fetch",
    "'\"<>",
]


def test_ids_that_look_alike_are_different_objects(node: ServerProcess) -> None:
    for object_id in DISTINCT:
        target = "/objects/" + quote(object_id, safe="")
        assert raw_http.request(node.url, "PUT", target, body=object_id.encode()).status == 201, object_id
    for object_id in DISTINCT:
        target = "/objects/" + quote(object_id, safe="")
        assert raw_http.request(node.url, "GET", target).body.decode() == object_id
    listed = json.loads(raw_http.request(node.url, "GET", "/objects?limit=1000").body)["objects"]
    assert [found["object_id"] for found in listed] == sorted(DISTINCT, key=str.encode)


@pytest.mark.parametrize(
    ("one", "same"),
    [("a/b", "a%2Fb"), ("a/b", "%61/b"), ("%7E", "~"), ("%c3%a9", "%C3%A9"), ("(!)", "%28!%29")],
)
def test_a_path_is_decoded_once_and_exactly(node: ServerProcess, one: str, same: str) -> None:
    assert raw_http.request(node.url, "PUT", f"/objects/{one}", body=one.encode()).status in (200, 201)
    assert raw_http.request(node.url, "GET", f"/objects/{same}").body == one.encode()
    manifest = raw_http.request(node.url, "GET", f"/manifests/{same}")
    assert manifest.status == 200


BAD = {
    "empty": "",
    "NUL": "a%00b",
    "newline": "a%0Ab",
    "carriage return": "%0D",
    "escape": "%1B",
    "delete": "%7F",
    "a C1 control": "%C2%85",
    "one dot": ".",
    "two dots": "..",
    "dots inside": "a/../b",
    "a dot at the end": "a/.",
    "escaped dots": "a/%2E%2E/b",
    "escaped dots and slashes": "..%2F..%2Fetc%2Fpasswd",
    "1,025 bytes": "x" * 1025,
    "513 letters of 2 bytes": "%C3%A9" * 513,
    "a percent sign alone": "100%",
    "an escape cut short": "a%2",
    "an escape that is not hexadecimal": "a%zz",
    "not UTF-8": "%FF%FE",
    "a surrogate": "%ED%A0%80",
    "an overlong slash": "..%C0%AF..",
}


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
@pytest.mark.parametrize("path", BAD.values(), ids=BAD.keys())
def test_a_bad_id_is_400_for_every_method(node: ServerProcess, method: str, path: str) -> None:
    body = b"some bytes" if method == "PUT" else None
    answer = raw_http.request(node.url, method, f"/objects/{path}", body=body)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["code"] == "invalid-request"
    assert len(problem["detail"]) > 10


@pytest.mark.parametrize(
    "path", [path for path in BAD.values() if path], ids=[name for name in BAD if BAD[name]]
)
def test_a_bad_id_has_no_manifest_either(node: ServerProcess, path: str) -> None:
    answer = raw_http.request(node.url, "GET", f"/manifests/{path}")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "invalid-request")
    assert answer.headers["content-type"] == "application/problem+json"
