"""A command ends with the code of what happened, and at once when it is told to."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
import typer

from replicator.cli.running import run
from replicator.kernel.errors import NotFound


def ended(work: Coroutine[Any, Any, int | None]) -> int:
    with pytest.raises(typer.Exit) as exited:
        run(work, json_output=False)
    return exited.value.exit_code


async def returns(code: int | None) -> int | None:
    return code


async def fails(error: BaseException) -> None:
    raise error


async def signalled(number: int, cleaned: list[bool]) -> None:
    os.kill(os.getpid(), number)
    try:
        await asyncio.Event().wait()
    finally:
        cleaned.append(True)


def test_a_command_ends_with_its_code() -> None:
    assert ended(returns(None)) == 0
    assert ended(returns(6)) == 6


def test_a_failed_command_ends_with_the_code_of_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(fails(NotFound("no such node"))) == 3
    assert ended(fails(PermissionError(13, "Permission denied", "x"))) == 1
    assert capsys.readouterr().err == "replicator: no such node\nreplicator: x: Permission denied\n"


def test_a_reader_that_went_away_is_no_error_to_talk_about(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(fails(BrokenPipeError())) == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_through_its_clean_up(number: int, code: int) -> None:
    cleaned: list[bool] = []
    assert ended(signalled(number, cleaned)) == code
    assert cleaned == [True]


def test_a_blocked_thread_does_not_hold_the_command_back() -> None:
    let_go = threading.Event()

    async def blocked() -> None:
        asyncio.get_running_loop().run_in_executor(None, let_go.wait)
        raise NotFound("gone")

    try:
        assert ended(blocked()) == 3
        assert not let_go.is_set()
    finally:
        let_go.set()


def test_help_needs_neither_the_clients_nor_the_messages() -> None:
    program = (
        "import sys, replicator.cli.main; "
        "print({'httpx', 'pydantic', 'rich', 'fastapi', 'asyncpg', 'rocksdict'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout == "set()\n"
