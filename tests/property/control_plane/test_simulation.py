"""Every task ends exactly once, only by the word of the process that holds its epoch, and the numbers add up."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import structlog

from replicator.testing.control_plane import control_plane_in
from replicator.testing.control_simulation import ends, run_schedule, run_schedules
from replicator.testing.simulated_plane import ATTEMPTS_MAX, plane_in_memory, plane_on_disk

pytestmark = pytest.mark.anyio

SCHEDULES = 200
MEMORY = Path("/dev/shm")


def test_whatever_the_network_and_the_users_do_every_number_is_exact() -> None:
    happened = run_schedules(range(SCHEDULES))
    for trouble in (
        "result.refused",
        "result.strangers",
        "task.held",
        "session.expired",
        "crash",
        "retry",
        "restart",
        "ghost",
        "late result",
    ):
        assert happened[trouble] > 0, f"no schedule had {trouble}"
    for end in ("job.succeeded", "job.partial", "job.failed", "job.cancelled", "source.corrupt"):
        assert happened[end] > 0, f"no schedule had {end}"


@pytest.mark.parametrize("seed", range(4))
async def test_sql_and_memory_tell_the_same_story(tmp_path: Path, seed: int) -> None:
    folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path)
    with folder as data_dir, structlog.testing.capture_logs() as log:
        async with control_plane_in(data_dir, attempts_max=ATTEMPTS_MAX) as plane:
            on_disk = await run_schedule(plane_on_disk(plane), seed)
            told = [job.model_dump() for job in await on_disk.shown()]
        ready = {event["task"] for event in log if event["event"] == "task.ready"}
        assert ends(log) == dict.fromkeys(ready, 1)
        in_memory = await run_schedule(plane_in_memory(lambda low, high: (low + high) / 2), seed)
        assert [job.model_dump() for job in await in_memory.shown()] == told
