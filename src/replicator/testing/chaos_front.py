"""A proxy in front of several replicas, as simple as one can be: it passes connections on to one that answers.

Every replica is asked whether it is ready; the connections of one that does not answer are broken, so that their clients
come again and reach another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from replicator.testing.processes import HOST

_BLOCK_BYTES = 64 * 1024
_LOOK_SECONDS = 0.5
_ANSWER_SECONDS_MAX = 2.0
_MISSES_MAX = 2
_QUESTION = b"GET /ready HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n"


@dataclass
class _Behind:
    port: int
    misses: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def is_up(self) -> bool:
        return self.misses < _MISSES_MAX


class Front:
    """Listens on a free port of this machine. An async context manager.

    `delay_s` holds every block back for so long, each way; `moved` counts connections that were taken elsewhere.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self.delay_s = 0.0
        self.moved = 0
        self._behind = [_Behind(port) for port in ports]
        self._turn = 0
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients find the replicas."""
        return f"http://{HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self._port = int(self._server.sockets[0].getsockname()[1])
        for behind in self._behind:
            self._tasks.add(asyncio.create_task(self._watch(behind)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for behind in self._behind:
            _break_off(behind)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, behind: _Behind) -> None:
        while True:
            if await _is_well(behind.port):
                behind.misses = 0
            else:
                behind.misses += 1
                if behind.misses == _MISSES_MAX:
                    self.moved += len(behind.writers) // 2
                    _break_off(behind)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._pass_on(reader, writer)
        except asyncio.CancelledError:
            # The proxy ends: nobody waits for this connection.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = await self._connect()
        if found is None:
            writer.transport.abort()
            return
        behind, upstream_reader, upstream_writer = found
        behind.writers |= {writer, upstream_writer}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, upstream_writer))
                group.create_task(self._pump(upstream_reader, writer))
        except* OSError:
            pass
        finally:
            behind.writers -= {writer, upstream_writer}
            for each in (writer, upstream_writer):
                each.transport.abort()

    async def _connect(self) -> tuple[_Behind, asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._behind:
            self._turn += 1
            behind = self._behind[self._turn % len(self._behind)]
            if not behind.is_up:
                continue
            try:
                return behind, *await asyncio.open_connection(HOST, behind.port)
            except OSError:
                self.moved += 1
        return None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(_BLOCK_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            writer.write(block)
            await writer.drain()
        # Neither side of an HTTP connection goes on alone.
        raise ConnectionResetError("the other side has ended the connection")


def _break_off(behind: _Behind) -> None:
    for writer in list(behind.writers):
        writer.transport.abort()


async def _is_well(port: int) -> bool:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            reader, writer = await asyncio.open_connection(HOST, port)
            with contextlib.closing(writer):
                writer.write(_QUESTION)
                return (await reader.readline()).split(b" ")[1:2] == [b"200"]
    except (OSError, TimeoutError):
        return False
