"""Notes that a process leaves for another and that outlive it, made without a system call.

They lie in memory that both share, so no injected fault can meet them, and what was noted before SIGKILL is
there after it.
"""

from __future__ import annotations

import json
import mmap
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BYTES_MAX = 1024 * 1024
_LENGTH = struct.Struct("<I")


class Journal:
    """Notes in the file `path`, which `create` has made. One process writes; any reads."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _BYTES_MAX)
        self._end = 0
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: Path) -> Journal:
        """A journal without notes."""
        with path.open("wb") as file:
            file.truncate(_BYTES_MAX)
        return cls(path)

    def note(self, kind: str, *details: Any) -> None:
        """Add a note; `details` are values that JSON knows."""
        data = json.dumps([kind, *details]).encode()
        with self._lock:
            start = self._end + _LENGTH.size
            self._memory[start : start + len(data)] = data
            # The length goes last: until then there is no note.
            _LENGTH.pack_into(self._memory, self._end, len(data))
            self._end = start + len(data)

    def notes(self) -> Iterator[list[Any]]:
        """Every note, oldest first."""
        at = 0
        while length := _LENGTH.unpack_from(self._memory, at)[0]:
            at += _LENGTH.size
            yield json.loads(self._memory[at : at + length])
            at += length

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
