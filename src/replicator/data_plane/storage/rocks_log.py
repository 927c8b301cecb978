"""What RocksDB would read for ever: a look at the headers of its logs before it opens them.

Its logs (`MANIFEST-*`, `*.log`) are blocks of 32 KiB with records of a header (4 bytes checksum, 2 length, 1 type) and a
body; no record crosses a block, and what is too short for a header is padding. A type of those that only recycled
logs have, behind a first record of another, is neither refused nor stepped over by its reader (10.x,
`log::Reader::ReadPhysicalRecord`): it asks for that record again and again, and holds the interpreter meanwhile. We
recycle no logs, so such a type is damage; one bit of a usual type is enough for it.
"""

from __future__ import annotations

import itertools
import struct
from contextlib import suppress
from pathlib import Path

_BLOCK_BYTES = 32_768
_HEADER = struct.Struct("<IHB")
_RECYCLED = frozenset({5, 6, 7, 8, 11})
_PADDING = 0


def endless_record(folder: Path) -> str | None:
    """Where one of the logs that RocksDB reads as it opens `folder` would keep it for ever; None if none does."""
    for log in (*_manifest(folder), *sorted(folder.glob("*.log"))):
        offset = _first_endless(log)
        if offset is not None:
            return f"byte {offset} of {log.name} is damaged"
    return None


def _manifest(folder: Path) -> list[Path]:
    """The one that `CURRENT` names, if it names one that is there; RocksDB itself complains otherwise."""
    try:
        name = (folder / "CURRENT").read_bytes()[:64].strip()
    except OSError:
        return []
    return [each for each in folder.glob("MANIFEST-*") if each.name.encode() == name]


def _first_endless(log: Path) -> int | None:
    """The offset of the type that is read for ever. What is behind a damaged length is not looked at: neither does
    RocksDB. Nor does it go on where the disk does not read, and it says so itself."""
    with suppress(OSError), log.open("rb") as opened:
        for start in itertools.count(0, _BLOCK_BYTES):
            block = opened.read(_BLOCK_BYTES)
            at = 0
            while at + _HEADER.size <= len(block):
                _, length, kind = _HEADER.unpack_from(block, at)
                if kind in _RECYCLED:
                    return start + at + _HEADER.size - 1 if start or at else None
                if at + _HEADER.size + length > len(block) or (kind == _PADDING and length == 0):
                    return None
                at += _HEADER.size + length
            if len(block) < _BLOCK_BYTES:
                return None
    return None
