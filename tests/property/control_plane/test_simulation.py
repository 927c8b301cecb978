"""Each task ends exactly once, and only by the word of the process that holds its epoch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import structlog

from replicator.testing.control_plane import control_plane_in
from replicator.testing.control_simulation import Simulation, ends

pytestmark = pytest.mark.anyio

STEPS = 400
MEMORY = Path("/dev/shm")


@pytest.mark.parametrize("seed", range(8))
async def test_every_task_ends_once_whatever_the_network_does(tmp_path: Path, seed: int) -> None:
    folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path)
    with folder as data_dir, structlog.testing.capture_logs() as log:
        async with control_plane_in(data_dir, attempts_max=4) as plane:
            simulation = Simulation(plane, seed)
            await simulation.begin()
            for _ in range(STEPS):
                await simulation.step()
            await simulation.heal()
            for job in await simulation.shown():
                total = job.progress
                done = total.objects_verified + total.objects_skipped + total.objects_failed
                assert total.objects_planned == done
                assert total.bytes_logical == total.bytes_transferred + total.bytes_deduplicated
                assert job.status != "succeeded" or total.objects_verified == 1
                assert job.finished_at is not None
    planned = {event["task"] for event in log if event["event"] == "task.ready"}
    assert ends(log) == dict.fromkeys(planned, 1)
    assert simulation.jobs
    refused = sum(event["event"] == "result.refused" for event in log)
    assert refused > 0, "the network was too kind to prove anything"
