"""The stage of a chaos run is put together, and taken apart whatever happens on it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

from replicator.testing.chaos_cluster import SESSION_LEASE_SECONDS, Replica
from replicator.testing.chaos_database import ChaosDatabase, postgres_database, sqlite_database
from replicator.testing.chaos_fleet import Fleet
from replicator.testing.chaos_front import Front
from replicator.testing.chaos_ledger import Ledger
from replicator.testing.chaos_logs import Logs
from replicator.testing.chaos_reader import Reader
from replicator.testing.chaos_real_nodes import OBJECTS, real_nodes
from replicator.testing.chaos_stage import Plan, Stage
from replicator.testing.chaos_users import Users
from replicator.testing.chaos_watch import Watch
from replicator.testing.processes import ServerProcess

_START_SECONDS_MAX = 90.0


@asynccontextmanager
async def open_stage(
    plan: Plan, folder: Path, *, ledger: Ledger, tally: Counter[str], say: Callable[[str], None]
) -> AsyncIterator[Stage]:
    """Everything of `plan`, running, with its data and logs in `folder`; every node is connected."""
    random = Random(f"{plan.seed}/0")
    async with AsyncExitStack() as stack:
        database = await asyncio.to_thread(_database_of, plan, folder)
        stack.callback(database.close, folder)
        reader = Reader(database.reader_url)
        replicas = await _replicas(stack, folder, database)
        front = await stack.enter_async_context(Front([replica.process.port for replica in replicas]))
        fleet = await stack.enter_async_context(
            Fleet(plan.nodes, url=front.url, ledger=ledger, random=random, tally=tally)
        )
        nodes = await asyncio.to_thread(real_nodes, folder, plan.real_nodes, control_plane=front.url)
        for node in nodes:
            stack.callback(node.close)
        users = Users(
            [front.url, *(replica.process.url for replica in replicas)],
            node_groups=_groups(fleet, nodes),
            ledger=ledger,
            random=random,
            tally=tally,
            now_ms=reader.now_ms,
        )
        stage = Stage(
            random=random,
            tally=tally,
            say=say,
            database=database,
            reader=reader,
            replicas=replicas,
            logs=Logs([replica.process.log for replica in replicas]),
            front=front,
            fleet=fleet,
            users=await stack.enter_async_context(users),
            ledger=ledger,
            real_nodes=nodes,
            watch=Watch(exclusive=database.server is None),
        )
        count = plan.nodes + plan.real_nodes
        assert await until(lambda: _are_connected(reader, count), _START_SECONDS_MAX), (
            "not every node connects"
        )
        yield stage


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether it came to be within that time."""
    end_s = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > end_s:
            return False
        await asyncio.sleep(SESSION_LEASE_SECONDS / 10)
    return True


def _database_of(plan: Plan, folder: Path) -> ChaosDatabase:
    return postgres_database(plan.replicas) if plan.database == "postgres" else sqlite_database(folder)


async def _replicas(stack: AsyncExitStack, folder: Path, database: ChaosDatabase) -> Sequence[Replica]:
    replicas = [
        Replica(f"replica{number}", folder, database_url=url)
        for number, url in enumerate(database.urls, start=1)
    ]
    for replica in replicas:
        stack.callback(replica.close)
    await asyncio.gather(*(replica.start() for replica in replicas))
    return replicas


def _groups(fleet: Fleet, nodes: Sequence[ServerProcess]) -> Sequence[tuple[Sequence[str], Sequence[str]]]:
    """Nodes that jobs go between, and the objects that these may have; most jobs are of simulated nodes."""
    simulated = [(fleet.names, fleet.object_names)] * 2
    return [*simulated, ([node.name for node in nodes], OBJECTS)] if nodes else simulated


async def _are_connected(reader: Reader, count: int) -> bool:
    snapshot = await asyncio.to_thread(reader.snapshot)
    return sum(node["session_id"] is not None for node in snapshot.nodes) == count
