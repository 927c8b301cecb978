"""Blocking work of an event loop, in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


class Threads:
    """The threads of `executor`, for the event loop that is running."""

    def __init__(self, executor: concurrent.futures.Executor) -> None:
        self._executor = executor
        self._loop = asyncio.get_running_loop()

    def start(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Begin `work` in a thread."""
        return self._loop.run_in_executor(self._executor, work, *args)

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """`work`, done in a thread; see `finished`."""
        return await result(self.start(work, *args))

    async def ahead(self, steps: Iterator[S], work: Callable[[S], T]) -> AsyncGenerator[T, None]:
        """`work` on each of `steps`, in order; the next is worked on while what the last came to is used."""
        running: asyncio.Future[T] | None = None
        try:
            for step in steps:
                done, running = running, None
                if done is not None:
                    await finished(done)
                running = self.start(work, step)
                if done is not None:
                    yield done.result()
            if running is not None:
                yield await result(running)
        finally:
            if running is not None:
                await abandoned(running)


async def result(running: asyncio.Future[T]) -> T:
    """What `running` comes to; see `finished`."""
    await finished(running)
    return running.result()


async def abandoned(running: asyncio.Future[T]) -> None:
    """Wait until a thread is done that nobody asks any more what it comes to."""
    await finished(running)
    if not running.cancelled():
        running.exception()


async def finished(running: asyncio.Future[T]) -> None:
    """Wait until a thread is done, even when cancelled: nobody else may touch what it works on before."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not running.cancelled():
            running.exception()
        raise cancelled
