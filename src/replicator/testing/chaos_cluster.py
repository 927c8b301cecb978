"""Replicas of the control plane over one database: real processes for a chaos run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from replicator.testing.processes import HOST, ServerProcess, free_port

SESSION_LEASE_SECONDS = 4.0
POLL_SECONDS = 2.0
DUTY_LEASE_SECONDS = 2.0
_PREFIX = "REPLICATOR_CONTROL_PLANE_"
SETTINGS: Mapping[str, str] = {
    f"{_PREFIX}{name}": value
    for name, value in {
        "SESSION_LEASE_SECONDS": f"{SESSION_LEASE_SECONDS:g}",
        "POLL_SECONDS": f"{POLL_SECONDS:g}",
        "DUTY_LEASE_SECONDS": f"{DUTY_LEASE_SECONDS:g}",
        "ATTEMPTS_MAX": "6",
        "LOSSES_MAX": "8",
        "BACKOFF_FLOOR_SECONDS": "0.05",
        "BACKOFF_STEP_SECONDS": "0.1",
        "BACKOFF_MAX_SECONDS": "1",
        "PARK_LIMIT_SECONDS": "60",
        "HISTORY_AFTER_SECONDS": "20",
        "HISTORY_KEEP_SECONDS": "0",
    }.items()
}
"""So that all that takes its time in earnest happens often."""


class Replica:
    """One replica over all its lives."""

    def __init__(self, name: str, folder: Path, *, database_url: str | None) -> None:
        arguments = ["--data-dir", str(folder / "control-plane"), "--host", HOST]
        if database_url is not None:
            arguments += ["--database-url", database_url]
        self.name = name
        self.should_run = False
        self.is_suspended = False
        self.lives = 0
        self.process = ServerProcess(
            name,
            folder,
            module="replicator.control_plane.main",
            ready_event="control-plane.started",
            arguments=arguments,
            settings=SETTINGS,
            port=free_port(),
        )

    async def start(self) -> None:
        """Begin a life, as often as it takes: whoever supervises it would."""
        while True:
            self.lives += 1
            if await asyncio.to_thread(self.process.try_start):
                break
            await asyncio.sleep(0.2)
        self.should_run = True

    async def kill(self) -> None:
        """kill -9."""
        self.should_run = False
        await asyncio.to_thread(self.process.kill)

    async def stop(self) -> int:
        """SIGTERM, and its end; returns the exit code."""
        self.should_run = False
        return await asyncio.to_thread(self.process.stop)

    def suspend(self) -> None:
        """SIGSTOP."""
        self.is_suspended = True
        self.process.suspend()

    def resume(self) -> None:
        """SIGCONT."""
        self.process.resume()
        self.is_suspended = False

    def close(self) -> None:
        """End it whatever it does; blocks."""
        self.should_run = False
        self.process.close()


def ended_of_themselves(replicas: Sequence[Replica]) -> list[str]:
    """Those that ended though nobody ended them."""
    return [
        f"{each.name} ended of itself\n{each.process.log_tail()}"
        for each in replicas
        if each.should_run and not each.process.is_running
    ]


def miscounted(replicas: Sequence[Replica]) -> list[str]:
    """Replicas whose metrics know of other refusals than their logs; blocks. To be asked while nothing goes on."""
    found = []
    for replica in replicas:
        text = httpx.get(f"{replica.process.url}/metrics", trust_env=False, timeout=30).text
        counted = re.search(r"^replicator_results_refused_total (\S+)$", text, re.MULTILINE)
        logged = len(replica.process.events("result.refused"))
        if counted is None or float(counted[1]) != logged:
            found.append(f"{replica.name} logged {logged} refusals and counts {counted and counted[1]}")
    return found
