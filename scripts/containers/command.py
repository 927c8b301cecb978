"""Running programs and waiting for conditions, always with a deadline."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from containers.outcome import Hopeless, StepFailed

OUTPUT_CHARS_MAX = 6000
_POLL_S = 0.2

T = TypeVar("T")


def run(
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Path | None = None,
) -> str:
    """Run `argv` and return its standard output.

    Raises:
        StepFailed: it ended with another code than 0, or did not end within `timeout_s`.
    """
    command = " ".join(str(part) for part in argv)
    with (stdin or Path("/dev/null")).open("rb") as source:
        try:
            done = subprocess.run(
                list(argv), env=env, cwd=cwd, stdin=source, capture_output=True, text=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as error:
            raise StepFailed(f"no end within {timeout_s:g} s: {command}") from error
    if done.returncode != 0:
        output = (done.stdout + done.stderr)[-OUTPUT_CHARS_MAX:]
        raise StepFailed(f"exit code {done.returncode}: {command}\n{output}")
    return done.stdout


def wait_until(what: str, probe: Callable[[], T | None], *, timeout_s: float) -> T:
    """The first answer of `probe` that is neither None nor False.

    `probe` may raise `StepFailed` or `OSError` meanwhile; the last one becomes the reason.

    Raises:
        StepFailed: there was none within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    reason: Exception | None = None
    while time.monotonic() < deadline:
        try:
            answer = probe()
        except Hopeless:
            raise
        except (StepFailed, OSError) as error:
            reason = error
        else:
            if answer is not None and answer is not False:
                return answer
        time.sleep(_POLL_S)
    raise StepFailed(f"{what}: not within {timeout_s:g} s" + (f" ({reason})" if reason else "")) from reason
