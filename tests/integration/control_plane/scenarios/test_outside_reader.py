"""Somebody else reads, copies and backs up the SQLite file while the control plane works: no user notices."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from replicator.testing.control_plane import control_plane_in
from replicator.testing.scenarios import Fleet, fleet_in

pytestmark = pytest.mark.anyio

READER = """
import sqlite3, sys, os
path, folder = sys.argv[1:]
rounds = 0
print("reads", flush=True)
while not os.path.exists(os.path.join(folder, "stop")):
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM jobs").fetchone()
    copy = os.path.join(folder, f"copy-{rounds % 2}.sqlite")
    if os.path.exists(copy):
        os.remove(copy)
    if rounds % 2:
        reader.execute("COMMIT")
        reader.execute("VACUUM INTO ?", (copy,))
    else:
        target = sqlite3.connect(copy)
        reader.backup(target, pages=4)
        target.close()
    if rounds % 3 == 0:
        meddler = sqlite3.connect(path, timeout=10)
        meddler.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        meddler.close()
    reader.close()
    rounds += 1
print(rounds, flush=True)
"""


@asynccontextmanager
async def outside_reader(path: str, folder: str) -> AsyncIterator[None]:
    command = [sys.executable, "-c", READER, path, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert (await asyncio.to_thread(process.stdout.readline)).strip() == "reads"
            yield
        finally:
            with open(os.path.join(folder, "stop"), "w"):
                pass
        output = await asyncio.to_thread(process.stdout.read)
        assert process.wait(30) == 0, output
        assert int(output) > 0


async def load(fleet: Fleet, clients: int, rounds: int) -> list[int]:
    """Jobs submitted, listed, claimed and completed; every status that was answered."""
    node = await fleet.connect("node2")
    codes: list[int] = []

    async def client(number: int) -> None:
        for turn in range(rounds):
            request = {"src_node": "node1", "dst_node": "node2", "object_id": f"{number}-{turn}"}
            answer = await fleet.http.post("/jobs/migrate", json=request)
            codes.append(answer.status_code)
            codes.append((await fleet.http.get("/jobs?limit=5")).status_code)

    async def worker() -> None:
        while len(codes) < 2 * clients * rounds:
            reply = await node.poll(capacity=16)
            await node.poll(capacity=0, results=[node.result(task) for task in reply.tasks])

    await asyncio.gather(worker(), *(client(number) for number in range(clients)))
    return codes


async def test_no_error_reaches_a_user_while_others_read_the_file(data_dir: str) -> None:
    path = os.path.join(data_dir, "control-plane.sqlite")
    copies = os.path.join(data_dir, "copies")
    os.mkdir(copies)
    async with fleet_in(data_dir) as fleet:
        await fleet.register("node1", "node2")
        async with outside_reader(path, copies):
            codes = await load(fleet, clients=6, rounds=8)
        assert set(codes) <= {200, 201}
        assert len(await fleet.jobs()) == 6 * 8
    for copy in os.listdir(copies):
        if copy.endswith(".sqlite"):
            with sqlite3.connect(os.path.join(copies, copy)) as found:
                assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            found.close()


async def test_a_copy_made_under_load_is_a_database_to_go_on_with(data_dir: str) -> None:
    path, copy = os.path.join(data_dir, "control-plane.sqlite"), os.path.join(data_dir, "restored")
    os.mkdir(copy)
    async with fleet_in(data_dir) as fleet:
        await fleet.register("node1", "node2")
        loading = asyncio.create_task(load(fleet, clients=4, rounds=8))
        acknowledged = [job.id for job in await fleet.jobs()]
        reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        target = os.path.join(copy, "control-plane.sqlite")
        await asyncio.to_thread(lambda: None)
        reader.execute("VACUUM INTO ?", (target,))
        reader.close()
        assert set(await loading) <= {200, 201}
    async with control_plane_in(copy) as plane:
        listed = (await plane.http.get("/jobs?limit=1000")).json()["jobs"]
        assert set(acknowledged) <= {job["id"] for job in listed}
