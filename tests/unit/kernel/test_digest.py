from __future__ import annotations

import pickle

import pytest

from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(("data", "expected"), [(b"abc", ABC), (b"", EMPTY), (bytearray(b"abc"), ABC)])
def test_is_the_published_sha256(data: bytes, expected: str) -> None:
    assert str(Digest.of(data)) == expected
    assert Digest.of(memoryview(data)) == Digest.parse(expected) == Digest(bytes.fromhex(expected))


def test_stands_for_its_bytes_and_reads_as_hex() -> None:
    digest = Digest.parse(ABC)
    assert digest == bytes.fromhex(ABC)
    assert {digest: 1}[Digest.of(b"abc")] == 1
    assert f"{digest}" == ABC
    assert repr(digest) == f"Digest({ABC})"
    assert pickle.loads(pickle.dumps(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        ABC[:-1],
        ABC + "0",
        ABC.upper(),
        ABC[:-1] + "g",
        "g" + ABC[1:],
        ABC[:30] + "_" + ABC[31:],
        ABC[:30] + " " + ABC[31:],
        ABC[:-1] + "\n",
        ABC[:-1] + "٣",
        "0x" + ABC[2:],
    ],
)
def test_refuses_anything_but_64_lowercase_hex_digits(text: str) -> None:
    with pytest.raises(InvalidRequest, match="64 lowercase hexadecimal digits"):
        Digest.parse(text)


def test_an_endless_text_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Digest.parse("0" * 1_000_000)
    assert len(caught.value.data["digest"]) <= 80


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_refuses_other_lengths(length: int) -> None:
    with pytest.raises(InvalidRequest, match=f"32 bytes, not {length}"):
        Digest(bytes(length))
