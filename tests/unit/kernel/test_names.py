from __future__ import annotations

import pytest

from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import DEFAULT_BUCKET, NodeName, ObjectId

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


def test_the_native_bucket_is_called_default() -> None:
    assert DEFAULT_BUCKET == "default"
