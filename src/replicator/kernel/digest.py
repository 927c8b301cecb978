"""The name of every piece of content: SHA-256 of its bytes (FIPS 180-4)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Self

from replicator.kernel.errors import InvalidRequest

if TYPE_CHECKING:
    from typing_extensions import Buffer

DIGEST_BYTES = 32
_HEX_LENGTH = 2 * DIGEST_BYTES


class Digest(bytes):
    """32 bytes of SHA-256. Compares, hashes and stores as those bytes; `str()` is lowercase hex."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """From 32 raw bytes; any other length raises `InvalidRequest`."""
        if len(raw) != DIGEST_BYTES:
            raise InvalidRequest(f"a digest has {DIGEST_BYTES} bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def of(cls, data: Buffer) -> Self:
        """The digest of `data`. Releases the GIL for more than 2 KiB."""
        return bytes.__new__(cls, hashlib.sha256(data).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """From 64 lowercase hexadecimal digits; anything else raises `InvalidRequest`."""
        if len(text) != _HEX_LENGTH or text.strip("0123456789abcdef"):
            raise InvalidRequest("a digest is written as 64 lowercase hexadecimal digits", digest=text[:80])
        return bytes.__new__(cls, bytes.fromhex(text))

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"Digest({self.hex()})"
