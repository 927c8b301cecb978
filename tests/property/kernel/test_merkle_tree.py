"""A frontier gives the root that RFC 6962 defines, wherever it was put away on the way."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from replicator.kernel.errors import InvalidRequest
from replicator.kernel.merkle import Frontier


def defined_root(leaves: list[bytes]) -> bytes:
    """Section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + defined_root(leaves[:left]) + defined_root(leaves[left:])).digest()


@given(leaves=st.lists(st.binary(max_size=8), max_size=70), put_away=st.sets(st.integers(0, 70)))
def test_root_is_as_defined(leaves: list[bytes], put_away: set[int]) -> None:
    tree = Frontier()
    for number, leaf in enumerate(leaves):
        if number in put_away:
            tree = Frontier.decode(tree.encode())
        tree.add(leaf)
    assert tree.root() == defined_root(leaves)
    assert Frontier.decode(tree.encode()).root() == tree.root()
    assert tree.count == len(leaves)
    assert len(tree.encode()) <= 9 + 32 * len(leaves).bit_length()


@given(data=st.binary(max_size=80))
def test_what_decodes_is_what_was_encoded(data: bytes) -> None:
    try:
        tree = Frontier.decode(data)
    except InvalidRequest:
        return
    assert tree.encode() == data
