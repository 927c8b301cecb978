"""The tree hash against the vectors that RFC 6962 implementations share, and what a frontier refuses."""

import pytest

from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.merkle import Frontier, encode_bucket, encode_entry, stretch_digest

# From the tests of Google's certificate-transparency: the leaves, and the root over the first n of them.
LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("count", range(len(ROOTS)))
def test_roots_are_those_of_rfc_6962(count: int) -> None:
    tree = Frontier()
    for leaf in LEAVES[:count]:
        tree.add(bytes.fromhex(leaf))
    assert str(tree.root()) == ROOTS[count]


def test_an_entry_is_its_key_version_and_manifest() -> None:
    assert encode_entry("é", b"v" * 16, b"m" * 32) == b"\x00\x02\xc3\xa9" + b"v" * 16 + b"m" * 32


def test_stretches_that_differ_only_in_where_keys_end_have_other_digests() -> None:
    one = [encode_entry("ab", b"v" * 16, b"m" * 32), encode_entry("c", b"v" * 16, b"m" * 32)]
    other = [encode_entry("a", b"v" * 16, b"m" * 32), encode_entry("bc", b"v" * 16, b"m" * 32)]
    assert stretch_digest(one) != stretch_digest(other)
    assert stretch_digest(one) == Digest.of(b"".join(one))


def test_no_entry_reads_like_the_head_of_a_bucket() -> None:
    longest = encode_entry("k" * 1024, bytes(16), bytes(32))
    assert encode_bucket("default")[:2] > longest[:2]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x02" + bytes(8),
        b"\x01" + (1).to_bytes(8),
        b"\x01" + (1).to_bytes(8) + bytes(31),
        b"\x01" + (2).to_bytes(8) + bytes(64),
        b"\x01" + (2**64 - 1).to_bytes(8) + bytes(64 * 32),
    ],
)
def test_what_is_no_frontier_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        Frontier.decode(data)
