"""Carrying out one command: a coroutine from start to exit code, through errors and signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import typer

from replicator.cli.exits import ExitCode, report
from replicator.kernel.errors import ReplicatorError


def run(work: Coroutine[Any, Any, int | None], *, json_output: bool) -> None:
    """Run `work` and exit with the code it returns, or with the one that reports its error.

    Ctrl-C and SIGTERM cancel `work`, which cleans up as after any failure.
    """
    raise typer.Exit(_exit_code(work, json_output=json_output))


def _exit_code(work: Coroutine[Any, Any, int | None], *, json_output: bool) -> int:
    terminated = asyncio.Event()
    try:
        with asyncio.Runner() as runner:
            return runner.run(_until_terminated(work, terminated)) or ExitCode.OK
    except asyncio.CancelledError:
        return ExitCode.TERMINATED if terminated.is_set() else ExitCode.INTERRUPTED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return ExitCode.READER_GONE
    except (ReplicatorError, OSError) as error:
        return report(error, json_output=json_output)


async def _until_terminated(work: Coroutine[Any, Any, int | None], terminated: asyncio.Event) -> int | None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_Threads())
    task = asyncio.current_task()
    assert task is not None

    def terminate() -> None:
        terminated.set()
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    return await work


class _Threads(ThreadPoolExecutor):
    """The loop's threads; not waited for at its end, see `replicator.cli.exits.leave`."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        super().shutdown(wait=False, cancel_futures=True)
