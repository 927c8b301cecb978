"""What two nodes compare to find out whether they hold the same: digests of listings.

An entry of a listing has one encoding, integers big-endian::

    entry    key bytes u16 | key, UTF-8 | version id, 16 bytes | SHA-256 of the manifest, 32 bytes
    bucket   0xffff u16 | name, ASCII

A stretch of a listing is named by the SHA-256 of its entries one after the other; every entry says where it
ends, so two different stretches never have the same encoding. A whole listing is named by the root of a
Merkle tree over its entries, with a bucket's name before the entries of each bucket (no key is so long that
the two could be mistaken for each other). The tree hash is that of RFC 6962, section 2.1: leaves and nodes
are hashed with a prefix of their own, and a tree of n leaves has the largest power of two below n on its
left. Its right edge is all that is needed to go on, so it is computed entry by entry and kept between tasks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Self

from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import InvalidRequest

FRONTIER_LEAVES_MAX = 2**63 - 1
_BUCKET_MARK = b"\xff\xff"
_LEAF, _NODE = b"\x00", b"\x01"
_FORMAT = b"\x01"
_COUNT_BYTES = 8


def encode_entry(object_id: str, version: bytes, manifest: bytes) -> bytes:
    """One version of an object, as stretches and trees hash it."""
    key = object_id.encode()
    return len(key).to_bytes(2) + key + version + manifest


def encode_bucket(bucket: str) -> bytes:
    """The head of a bucket's entries in a tree."""
    return _BUCKET_MARK + bucket.encode()


def stretch_digest(encoded: Iterable[bytes]) -> Digest:
    """The name of a stretch: SHA-256 of its encoded entries, one after the other."""
    return Digest.of(b"".join(encoded))


class Frontier:
    """The root of the tree over the leaves added so far, in memory that grows with the logarithm of their number.

    It holds the roots of the full subtrees along the right edge, the largest first: one for each bit that is
    set in the number of leaves.
    """

    def __init__(self) -> None:
        self.count = 0
        self._roots: list[bytes] = []

    def add(self, encoded: bytes) -> None:
        """Append a leaf."""
        sha256, roots = hashlib.sha256, self._roots
        node = sha256(_LEAF + encoded).digest()
        count = self.count
        while count & 1:
            node = sha256(_NODE + roots.pop() + node).digest()
            count >>= 1
        roots.append(node)
        self.count += 1

    def root(self) -> Digest:
        """The tree hash of all leaves; of no leaves, SHA-256 of nothing."""
        if not self._roots:
            return Digest.of(b"")
        *larger, node = self._roots
        for left in reversed(larger):
            node = hashlib.sha256(_NODE + left + node).digest()
        return Digest(node)

    def encode(self) -> bytes:
        """Bytes to go on from: format u8 = 1, leaves u64, the roots; at most 2,025 of them."""
        return _FORMAT + self.count.to_bytes(_COUNT_BYTES) + b"".join(self._roots)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The frontier that `encode` wrote; raises `InvalidRequest` for anything else."""
        head = len(_FORMAT) + _COUNT_BYTES
        count = int.from_bytes(data[len(_FORMAT) : head])
        whole = data[: len(_FORMAT)] == _FORMAT and len(data) == head + DIGEST_BYTES * count.bit_count()
        if not whole or count > FRONTIER_LEAVES_MAX:
            raise InvalidRequest("not the frontier of a Merkle tree of format 1")
        frontier = cls()
        frontier.count = count
        frontier._roots = [data[at : at + DIGEST_BYTES] for at in range(head, len(data), DIGEST_BYTES)]
        return frontier
