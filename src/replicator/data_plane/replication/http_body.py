"""The body of an HTTP response, read into buffers that the caller has: by its length or in chunked coding.

`http.client` reads chunked coding too, but takes a negative size for one, and what came before a break is lost.
"""

from __future__ import annotations

import http.client
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

from replicator.data_plane.replication.timed_socket import TimedSocket
from replicator.kernel.clock import Clock
from replicator.kernel.errors import BrokenPeer, ReplicatorError, Unavailable

RATE_MIN_BYTES_PER_S = 16 * 1024
BLOCK_BYTES = 1024 * 1024
_LINE_BYTES_MAX = 1024
_TRAILER_LINES_MAX = 16
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class Body:
    """What follows the head of `response`.

    Args:
        url: of the node, for errors.
        bytes_max: a longer body breaks the protocol.
        timeout_s: for a block, beside what its bytes need at the least rate.
        more_s: as well, where making the answer takes longer than sending it. Silence is bounded all the same.
    """

    def __init__(
        self,
        response: http.client.HTTPResponse,
        connected: TimedSocket,
        *,
        url: str,
        bytes_max: int,
        timeout_s: float,
        more_s: float,
        clock: Clock,
    ) -> None:
        self._response = response
        self._connected = connected
        self._url = url
        self._timeout_s = timeout_s
        self._more_s = more_s
        self._clock = clock
        self._chunked = bool(response.chunked)
        # Of the body where its length is known, else of the chunk that is being read.
        self._left = 0 if self._chunked else _length(response, url, bytes_max)
        self._bytes_left_max = bytes_max
        self._between_chunks = False
        self.ended = not self._chunked and self._left == 0

    def fill(self, view: memoryview, start: int) -> tuple[int, ReplicatorError | None]:
        """Fill `view` from `start` on; (where what came ends, why it is not the end of the view or the body).

        What came before a break counts: it may hold whole frames, or say why nothing more follows.
        """
        self._allow(min(len(view) - start, self._bytes_left_max))
        end = start
        try:
            with translated(self._url, self._timeout_s):
                while end < len(view) and not self.ended:
                    end += self._read_some(view[end:])
        except ReplicatorError as error:
            return end, error
        return end, None

    def read(self) -> bytes:
        """The whole body."""
        data = bytearray(self._left)
        end = 0
        while not self.ended:
            if end == len(data):
                data.extend(bytes(min(BLOCK_BYTES, self._bytes_left_max + 1)))
            with memoryview(data) as view:
                end, broken = self.fill(view[: end + BLOCK_BYTES], end)
            if broken is not None:
                raise broken
        del data[end:]
        return bytes(data)

    def _allow(self, length: int) -> None:
        """Give the next `length` bytes the time they need at the least rate."""
        seconds = self._timeout_s + self._more_s + length / RATE_MIN_BYTES_PER_S
        self._connected.deadline_s = self._clock.monotonic_s() + seconds

    def _read_some(self, view: memoryview) -> int:
        if self._left == 0:
            self._begin_chunk()
            if self.ended:
                return 0
        count = self._reader.readinto1(view[: self._left])
        if count == 0:
            raise cut_short(self._url)
        self._left -= count
        self._bytes_left_max -= count
        self.ended = self._left == 0 and not self._chunked
        return count

    def _begin_chunk(self) -> None:
        """Read what stands between two chunks, or behind the last (RFC 9112, section 7.1)."""
        if self._between_chunks and self._line() != b"\r\n":
            raise BrokenPeer(f"{self._url} sends chunks that are not of the size announced")
        self._between_chunks = True
        size = _SIZE.fullmatch(self._line())
        if size is None:
            raise BrokenPeer(f"{self._url} sends a chunk without a proper size")
        self._left = int(size[1], 16)
        if self._left > self._bytes_left_max:
            raise BrokenPeer(f"{self._url} sends more than it was asked for")
        if self._left == 0:
            self._pass_trailers()
            self.ended = True

    def _pass_trailers(self) -> None:
        for _ in range(_TRAILER_LINES_MAX):
            if self._line() == b"\r\n":
                return
        raise BrokenPeer(f"{self._url} sends trailers without end")

    def _line(self) -> bytes:
        line = self._reader.readline(_LINE_BYTES_MAX)
        if not line.endswith(b"\n"):
            if len(line) == _LINE_BYTES_MAX:
                raise BrokenPeer(f"{self._url} sends a line without end")
            raise cut_short(self._url)
        return line

    @property
    def _reader(self) -> io.BufferedReader:
        reader = self._response.fp
        if not isinstance(reader, io.BufferedReader):
            # The consumer has dropped the connection.
            raise cut_short(self._url)
        return reader


@contextmanager
def translated(url: str, timeout_s: float) -> Iterator[None]:
    """Errors of sockets and of `http.client` inside become those of a peer at `url`."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable(
            f"{url} was silent for {timeout_s:g} s, or sent less than {RATE_MIN_BYTES_PER_S} bytes a second"
        ) from error
    except (OSError, http.client.RemoteDisconnected, http.client.IncompleteRead) as error:
        raise Unavailable(f"the connection to {url} broke: {error}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise BrokenPeer(f"{url} does not speak HTTP as expected: {error!r}") from error


def _length(response: http.client.HTTPResponse, url: str, bytes_max: int) -> int:
    length = response.length
    if length is None or length > bytes_max:
        raise BrokenPeer(f"{url} announces {length} bytes where at most {bytes_max} can be right")
    return length


def cut_short(url: str) -> Unavailable:
    """The node closed the connection before its answer was whole."""
    return Unavailable(f"{url} closed the connection in the middle of its answer")
