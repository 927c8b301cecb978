"""The streaming client, in a process of its own so that it competes for nothing but its own core."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from benchmarks import http_stream
from benchmarks.payload import Body, Payload
from benchmarks.places import Address
from replicator.kernel.errors import Unavailable

_DEADLINE_SECONDS = 600.0
_STOP_SECONDS = 10.0
_FORK = multiprocessing.get_context("fork")


class Streamer:
    """Sends bodies of one payload and receives them; every method answers with seconds."""

    def __init__(self, payload: Payload) -> None:
        self._pipe, theirs = _FORK.Pipe()
        self._process = _FORK.Process(
            target=_serve, args=(self._pipe, theirs, payload), name="streamer", daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(_STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()

    def put(self, address: Address, path: str, body: Body) -> float:
        """Upload `body` to `path`."""
        return float(self._call(_put, address, path, body))

    def get(self, address: Address, path: str, size: int) -> float:
        """Download the `size` bytes at `path`."""
        return float(self._call(_get, address, path, size))

    def sha256(self, address: Address, path: str, size: int) -> str:
        """SHA-256 of what `path` holds."""
        return str(self._call(_sha256, address, path, size))

    def start_draining(self, address: Address, size: int) -> None:
        """Connect to `address` and receive `size` bytes; `drained` tells how long that took."""
        self._pipe.send((_drain, (address, size)))

    def drained(self) -> float:
        """Seconds between the first and the last of those bytes."""
        return float(self._answer())

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._pipe.send((function, arguments))
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(_DEADLINE_SECONDS):
            raise Unavailable(f"the client was not done within {_DEADLINE_SECONDS:g} s")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(far_end: Connection, pipe: Connection, payload: Payload) -> None:
    far_end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    payload.touch()
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(function(payload, *arguments))
        except Exception as error:  # noqa: BLE001 - carried to the process that asked
            pipe.send(Unavailable(f"{type(error).__name__}: {error}"))


def _put(payload: Payload, address: Address, path: str, body: Body) -> float:
    return http_stream.put(address, path, payload.blocks(body), body.size)


def _get(_: Payload, address: Address, path: str, size: int) -> float:
    return http_stream.get(address, path, size)[0]


def _sha256(_: Payload, address: Address, path: str, size: int) -> str:
    return http_stream.get(address, path, size, hashed=True)[1]


def _drain(_: Payload, address: Address, size: int) -> float:
    return http_stream.drain(address, size)
