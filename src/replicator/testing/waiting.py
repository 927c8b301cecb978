"""Waiting for what a test expects: a condition and a deadline, never a guess at how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 60.0
_POLL_S = 0.02


def wait_until(condition: Callable[[], T | None], what: str, *, timeout_s: float = DEADLINE_S) -> T:
    """The first true value of `condition`; raises `TimeoutError` naming `what` if none comes in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"this did not happen within {timeout_s:g} s: {what}")
        time.sleep(_POLL_S)
    return value
