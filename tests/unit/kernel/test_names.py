from __future__ import annotations

import pytest

from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, NodeName, ObjectId

GOOD_OBJECT_IDS = [
    "demo.bin",
    "a",
    "/",
    "/a",
    "a/",
    "a//b",
    "a/b/c.txt",
    "...",
    "a/.../b",
    ".hidden",
    "a/.b",
    "trailing.",
    "..a",
    " ",
    "with space",
    "per%2Fcent?query#fragment",
    "back\\slash",
    "naïve/日本語/🙂",
    "e\u0301",
    "x" * 1024,
    "é" * 512,
]

BAD_OBJECT_IDS = [
    ("", "1 to 1024 bytes"),
    ("x" * 1025, "1 to 1024 bytes in UTF-8, this one has 1025"),
    ("é" * 513, "1 to 1024 bytes"),
    ("a\x00b", "control"),
    ("a\nb", "control"),
    ("a\r\nb", "control"),
    ("\t", "control"),
    ("\x1b[31m", "control"),
    ("\x7f", "control"),
    ("\x85", "control"),
    ("\x9f", "control"),
    (".", "segment"),
    ("..", "segment"),
    ("../etc/passwd", "segment"),
    ("a/../b", "segment"),
    ("a/./b", "segment"),
    ("a/..", "segment"),
    ("/..", "segment"),
    ("\ud800", "valid UTF-8"),
    ("a\udcffb", "valid UTF-8"),
]

GOOD_NODE_NAMES = ["node1", "n", "7", "a.b-c_d", "Node-1.example.org", "x" * 63]
BAD_NODE_NAMES = [
    "",
    "x" * 64,
    "-a",
    "a-",
    ".a",
    "a.",
    "a b",
    "a/b",
    "a\n",
    "a:1",
    "é",
    "\ud800",
    "..",
]


@pytest.mark.parametrize("text", GOOD_OBJECT_IDS)
def test_an_object_id_stands_for_itself(text: str) -> None:
    assert ObjectId.parse(text) == text


@pytest.mark.parametrize(("text", "rule"), BAD_OBJECT_IDS)
def test_a_bad_object_id_is_refused_by_the_rule_it_breaks(text: str, rule: str) -> None:
    with pytest.raises(InvalidRequest, match=rule):
        ObjectId.parse(text)


@pytest.mark.parametrize("text", GOOD_NODE_NAMES)
def test_a_node_name_stands_for_itself(text: str) -> None:
    assert NodeName.parse(text) == text


@pytest.mark.parametrize("text", BAD_NODE_NAMES)
def test_a_bad_node_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="a node name has 1 to 63"):
        NodeName.parse(text)


def test_an_endless_node_name_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidRequest) as caught:
        NodeName.parse("x" * 1_000_000)
    assert len(caught.value.data["name"]) <= 80


GOOD_BUCKET_NAMES = [
    "abc",
    "a1b",
    "my-bucket",
    "my.bucket.2024",
    "1.2.3",
    "a-.b",
    "x" * 63,
    "s3alias",
    "xn-a",
]
BAD_BUCKET_NAMES = [
    ("", "3 to 63"),
    ("ab", "3 to 63"),
    ("x" * 64, "3 to 63"),
    ("x" * 1_000_000, "3 to 63"),
    ("Bucket", "lowercase"),
    ("under_score", "lowercase"),
    ("-abc", "begins and ends"),
    ("abc-", "begins and ends"),
    (".abc", "begins and ends"),
    ("abc.", "begins and ends"),
    ("a b", "lowercase"),
    ("a/b", "lowercase"),
    ("abc\n", "lowercase"),
    ("grüße", "lowercase"),
    ("a٣b", "lowercase"),
    ("a..b", "two dots"),
    ("192.168.5.4", "IP address"),
    ("999.1.1.1", "IP address"),
    ("xn--abc", "S3 reserves"),
    ("sthree-abc", "S3 reserves"),
    ("sthree-configurator", "S3 reserves"),
    ("amzn-s3-demo-bucket", "S3 reserves"),
    ("abc-s3alias", "S3 reserves"),
    ("abc--ol-s3", "S3 reserves"),
    ("abc.mrap", "S3 reserves"),
    ("abc--x-s3", "S3 reserves"),
    ("abc--table-s3", "S3 reserves"),
]


@pytest.mark.parametrize("text", GOOD_BUCKET_NAMES)
def test_a_bucket_name_stands_for_itself(text: str) -> None:
    assert BucketName.parse(text) == text


@pytest.mark.parametrize(("text", "rule"), BAD_BUCKET_NAMES)
def test_a_bad_bucket_name_is_refused_by_the_rule_it_breaks(text: str, rule: str) -> None:
    with pytest.raises(InvalidRequest, match=rule) as caught:
        BucketName.parse(text)
    assert len(caught.value.data["bucket"]) <= 80


def test_the_bucket_that_always_exists_is_called_default() -> None:
    assert BucketName.parse("default") == DEFAULT_BUCKET
