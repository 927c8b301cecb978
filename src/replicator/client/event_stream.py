"""Server-sent events (HTML living standard, section 9.2) out of the bytes of their stream. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from replicator.kernel.errors import BrokenPeer

EVENT_BYTES_MAX = 4 * 1024 * 1024


class ServerSentEvent(NamedTuple):
    """One event; `data` is empty in a mere comment, which is a sign of life."""

    name: str
    data: str


class EventDecoder:
    """Bytes in, in blocks of any size; events out. Lines end with a line feed, as our servers send them."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._name = ""
        self._data: list[str] = []
        self._bytes = 0

    def feed(self, block: bytes) -> Iterator[ServerSentEvent]:
        """The events that `block` completes.

        Raises:
            BrokenPeer: an event is longer than `EVENT_BYTES_MAX`, or is not UTF-8.
        """
        self._rest += block
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        if self._bytes + len(rest) > EVENT_BYTES_MAX:
            raise BrokenPeer(f"an event of more than {EVENT_BYTES_MAX} bytes")
        for line in lines:
            if line:
                self._take(line)
            else:
                yield ServerSentEvent(self._name, "\n".join(self._data))
                self._name, self._data, self._bytes = "", [], 0

    def _take(self, line: bytearray) -> None:
        self._bytes += len(line)
        if self._bytes > EVENT_BYTES_MAX:
            raise BrokenPeer(f"an event of more than {EVENT_BYTES_MAX} bytes")
        try:
            field, _, value = line.decode().partition(":")
        except UnicodeDecodeError as error:
            raise BrokenPeer("an event that is not UTF-8") from error
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
