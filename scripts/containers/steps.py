"""What the run tells whoever watches: each step as it begins, with the seconds since the first."""

from __future__ import annotations

import time

_STARTED = time.monotonic()


def step(title: str) -> None:
    """A step begins."""
    print(f"{time.monotonic() - _STARTED:5.0f} s  {title}", flush=True)


def say(text: str) -> None:
    """Something worth knowing about the step."""
    print(f"         {text}", flush=True)
