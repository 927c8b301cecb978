"""What request headers mean: tables of cases after RFC 9110 and RFC 9530."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

import pytest

from replicator.data_plane.api import headers
from replicator.data_plane.api.headers import ByteRange
from replicator.data_plane.ports import UNCONDITIONAL, Condition
from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest, RangeNotSatisfiable

MINE, OTHER = Digest.of(b"mine"), Digest.of(b"other")
MY_TAG, OTHER_TAG = f'"{MINE}"'.encode(), f'"{OTHER}"'.encode()
SIZE = 1000


@pytest.mark.parametrize(
    ("raw", "object_id"),
    [
        (b"demo.bin", "demo.bin"),
        (b"a/b", "a/b"),
        (b"a%2Fb", "a/b"),
        (b"a%2fb", "a/b"),
        (b"a//b", "a//b"),
        (b"/a", "/a"),
        (b"a/", "a/"),
        (b"a+b", "a+b"),
        (b"a%20b", "a b"),
        (b"a%2520b", "a%20b"),
        (b"%25", "%"),
        (b"a?b".replace(b"?", b"%3F"), "a?b"),
        (b"%E6%97%A5", "日"),
        ("日".encode(), "日"),
        (b"%F0%9D%92%B3", "\U0001d4b3"),
        (b"...", "..."),
        (b"a..b", "a..b"),
        (b".hidden", ".hidden"),
        (b"a" * 1024, "a" * 1024),
        (b"%61" * 1024, "a" * 1024),
        (b"%C2%A0", "\xa0"),
    ],
)
def test_an_object_id_is_decoded_once_and_exactly(raw: bytes, object_id: str) -> None:
    assert headers.parse_object_id(raw) == object_id
    assert headers.parse_object_id(quote(object_id, safe="").encode()) == object_id


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"%",
        b"%2",
        b"%zz",
        b"a%2",
        b"%%41",
        b"%FF",
        b"\xff",
        b"%C0%AF",
        b"%ED%A0%80",
        b"%00",
        b"a%00b",
        b"%0A",
        b"%7F",
        b"%C2%85",
        b".",
        b"..",
        b"../a",
        b"a/../b",
        b"a/..",
        b"a/./b",
        b"%2e%2e/a",
        b"a/%2E%2E",
        b"..%2Fetc",
        b"a" * 1025,
        "é".encode() * 513,
    ],
)
def test_an_object_id_that_cannot_be_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        headers.parse_object_id(raw)


def test_an_entity_tag_is_strong_and_quoted() -> None:
    assert headers.etag_of(MINE) == f'"{MINE.hex()}"'


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ({}, UNCONDITIONAL),
        ({b"if-none-match": b"*"}, Condition(must_be_absent=True)),
        ({b"if-none-match": b" * "}, Condition(must_be_absent=True)),
        ({b"if-none-match": MY_TAG + b", W/" + OTHER_TAG}, Condition(refused=frozenset([MINE, OTHER]))),
        ({b"if-match": b"*"}, Condition(must_exist=True)),
        ({b"if-match": MY_TAG}, Condition(manifests=frozenset([MINE]))),
        ({b"if-match": MY_TAG + b" , " + OTHER_TAG}, Condition(manifests=frozenset([MINE, OTHER]))),
        ({b"if-match": b"W/" + MY_TAG}, Condition(manifests=frozenset())),
        ({b"if-match": b"W/" + MY_TAG + b"," + OTHER_TAG}, Condition(manifests=frozenset([OTHER]))),
        ({b"if-match": b'"not a digest"'}, Condition(manifests=frozenset())),
        ({b"if-match": b'""'}, Condition(manifests=frozenset())),
        ({b"if-match": b'"a,b", ' + MY_TAG}, Condition(manifests=frozenset([MINE]))),
        (
            {b"if-match": MY_TAG, b"if-none-match": b"*"},
            Condition(manifests=frozenset([MINE]), must_be_absent=True),
        ),
        ({b"if-match": b"*", b"if-none-match": b"*"}, Condition(must_exist=True, must_be_absent=True)),
    ],
)
def test_conditions_of_a_write(given: dict[bytes, bytes], condition: Condition) -> None:
    assert headers.put_condition(given) == condition


@pytest.mark.parametrize(
    "given",
    [
        {b"if-none-match": b""},
        {b"if-none-match": MY_TAG + OTHER_TAG},
        {b"if-match": b""},
        {b"if-match": str(MINE).encode()},
        {b"if-match": MY_TAG[:-1]},
        {b"if-match": MY_TAG + OTHER_TAG},
        {b"if-match": MY_TAG + b";" + OTHER_TAG},
        {b"if-match": b"w/" + MY_TAG},
        {b"if-match": b"*, " + MY_TAG},
    ],
)
def test_conditions_that_cannot_be_understood_are_refused(given: dict[bytes, bytes]) -> None:
    """Taking them for no condition would overwrite what the client wanted kept."""
    with pytest.raises(InvalidRequest):
        headers.put_condition(given)


@pytest.mark.parametrize(
    ("header", "strongly", "weakly"),
    [
        (b"*", True, True),
        (MY_TAG, True, True),
        (OTHER_TAG, False, False),
        (b"W/" + MY_TAG, False, True),
        (OTHER_TAG + b", " + MY_TAG, True, True),
        (OTHER_TAG + b", W/" + MY_TAG, False, True),
        (MY_TAG.upper(), False, False),
        (b'""', False, False),
    ],
)
def test_comparison_of_entity_tags(header: bytes, strongly: bool, weakly: bool) -> None:
    assert headers.matches(header, MINE, weak=False) is strongly
    assert headers.matches(header, MINE, weak=True) is weakly


def test_a_condition_of_a_read_that_cannot_be_understood_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        headers.matches(b"nonsense", MINE, weak=True)


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        (b"bytes=0-0", 0, 1),
        (b"bytes=0-499", 0, 500),
        (b"bytes=500-999", 500, 1000),
        (b"bytes=500-", 500, 1000),
        (b"bytes=999-", 999, 1000),
        (b"bytes=-1", 999, 1000),
        (b"bytes=-1000", 0, 1000),
        (b"bytes=-5000", 0, 1000),
        (b"bytes=0-9999999999999999999", 0, 1000),
        (b" bytes=1-2 ", 1, 3),
        (b"bytes=007-010", 7, 11),
    ],
)
def test_a_single_range(header: bytes, start: int, stop: int) -> None:
    found = headers.parse_range({b"range": header}, MINE, SIZE)
    assert found == ByteRange(start, stop, SIZE)
    assert found.content_range == f"bytes {start}-{stop - 1}/1000".encode()


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"bytes",
        b"bytes=",
        b"bytes=-",
        b"bytes=2-1",
        b"bytes=a-b",
        b"bytes=1-2-3",
        b"bytes=0-0,2-2",
        b"bytes= 0-1",
        b"bytes=+1-2",
        b"items=0-1",
        b"bytes=\xd9\xa1-",
    ],
)
def test_a_range_that_may_be_ignored_gives_the_whole_object(header: bytes) -> None:
    assert headers.parse_range({b"range": header}, MINE, SIZE) is None
    assert headers.parse_range({}, MINE, SIZE) is None


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"bytes=1000-", SIZE),
        (b"bytes=1000-1000", SIZE),
        (b"bytes=-0", SIZE),
        (b"bytes=0-", 0),
        (b"bytes=-5", 0),
    ],
)
def test_a_range_outside_the_object(header: bytes, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        headers.parse_range({b"range": header}, MINE, size)
    assert caught.value.data["size"] == size


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (MY_TAG, True),
        (b" " + MY_TAG + b" ", True),
        (OTHER_TAG, False),
        (b"W/" + MY_TAG, False),
        (b"Wed, 21 Oct 2015 07:28:00 GMT", False),
        (b"", False),
    ],
)
def test_if_range(condition: bytes, holds: bool) -> None:
    given = {b"range": b"bytes=0-0", b"if-range": condition}
    assert headers.parse_range(given, MINE, SIZE) == (ByteRange(0, 1, SIZE) if holds else None)


def test_a_range_about_another_representation_is_never_out_of_bounds() -> None:
    given = {b"range": b"bytes=5000-", b"if-range": OTHER_TAG}
    assert headers.parse_range(given, MINE, SIZE) is None


def sha_256(digest: bytes) -> bytes:
    return b"sha-256=:" + base64.b64encode(digest) + b":"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({b"content-digest": sha_256(MINE)}, MINE),
        ({b"repr-digest": sha_256(MINE)}, MINE),
        ({b"content-digest": sha_256(MINE), b"repr-digest": sha_256(MINE)}, MINE),
        ({b"content-digest": b"sha-512=:YQ==:, " + sha_256(MINE)}, MINE),
        ({b"content-digest": sha_256(MINE) + b", sha-512=:YQ==:"}, MINE),
        ({b"content-digest": b"  " + sha_256(MINE) + b"  "}, MINE),
        ({b"content-digest": b"sha-512=:YQ==:"}, None),
        ({b"content-digest": b"md5=:YQ==:", b"repr-digest": sha_256(MINE)}, MINE),
    ],
)
def test_digests_sent_with_a_body(given: dict[bytes, bytes], expected: Digest | None) -> None:
    assert headers.expected_digest(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        {b"content-digest": b"sha-256=" + base64.b64encode(MINE)},
        {b"content-digest": b"sha-256=:" + str(MINE).encode() + b":"},
        {b"content-digest": b"sha-256=::"},
        {b"content-digest": b"sha-256=:YQ=:"},
        {b"content-digest": sha_256(MINE[:31])},
        {b"content-digest": sha_256(MINE + b"\0")},
        {b"content-digest": sha_256(MINE).replace(b"sha", b"SHA")},
        {b"content-digest": sha_256(MINE), b"repr-digest": sha_256(OTHER)},
    ],
)
def test_a_digest_that_cannot_be_checked_is_refused(given: dict[bytes, bytes]) -> None:
    """Ignoring it would store bytes that the client asked to have checked."""
    with pytest.raises(InvalidRequest):
        headers.expected_digest(given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, "application/octet-stream"),
        ({b"content-type": b"text/plain; charset=utf-8"}, "text/plain; charset=utf-8"),
        ({b"content-type": b"x" * 1024}, "x" * 1024),
    ],
)
def test_the_media_type_that_is_kept(given: dict[bytes, bytes], kept: str) -> None:
    assert headers.content_type(given) == kept


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({b"content-type": "text/é".encode()}, "Content-Type"),
        ({b"content-type": b"x" * 1025}, "Content-Type"),
        ({b"content-encoding": b"gzip"}, "Content-Encoding"),
        ({b"content-range": b"bytes 0-1/2"}, "Content-Range"),
    ],
)
def test_what_could_not_be_sent_back_is_refused(given: dict[bytes, bytes], named: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(named)):
        headers.content_type(given)
