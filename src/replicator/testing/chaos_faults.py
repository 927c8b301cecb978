"""The faults of a chaos run. A new one is a function and a line in `FAULTS`.

Each takes what it harms, does its harm while everything goes on, and leaves it running again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from replicator.testing.chaos_cluster import DUTY_LEASE_SECONDS, SESSION_LEASE_SECONDS, Replica
from replicator.testing.chaos_stage import Stage
from replicator.testing.postgres_proxy import When

Said = Callable[[str], None]
DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens while jobs run.

    Attributes:
        weight: how often it is chosen, against the others.
        strike: tells with its second argument what it does to whom; returns once that is over.
        postgres: whether it needs a server for a database.
        real: whether it needs nodes that are processes.
    """

    name: str
    weight: int
    strike: Callable[[Stage, Said], Awaitable[None]]
    postgres: bool = False
    real: bool = False

    def can(self, stage: Stage) -> bool:
        """Whether there is what it harms."""
        return (stage.database.server is not None or not self.postgres) and (
            bool(stage.real_nodes) or not self.real
        )


async def kill_replica(stage: Stage, say: Said) -> None:
    """kill -9, and after a while another life."""
    replica = stage.choose_replica()
    async with stage.taking(replica.name) as free:
        if free:
            say(replica.name)
            await _die_and_live(stage, replica)


async def kill_all_replicas(stage: Stage, say: Said) -> None:
    """kill -9 of every one at the same time."""
    async with stage.taking(*(each.name for each in stage.replicas)) as free:
        if free:
            say("all of them")
            await asyncio.gather(*(_die_and_live(stage, each) for each in stage.replicas))


async def stop_replica(stage: Stage, say: Said) -> None:
    """SIGTERM: it hands over and ends in good order."""
    replica = stage.choose_replica()
    async with stage.taking(replica.name) as free:
        if not free:
            return
        say(replica.name)
        stage.watch.stopped_pids.add(replica.process.pid)
        code = await replica.stop()
        assert code == 0, f"{replica.name} ended with {code} when asked to end\n{replica.process.log_tail()}"
        await stage.last(0, 1)
        await replica.start()


async def suspend_replica(stage: Stage, say: Said) -> None:
    """SIGSTOP, for longer than its duties' lease and at times than the nodes' sessions."""
    replica = stage.choose_replica()
    async with stage.taking(replica.name) as free:
        if free:
            seconds = stage.random.choice([0.5, 1.5 * DUTY_LEASE_SECONDS, 1.5 * SESSION_LEASE_SECONDS])
            say(f"{replica.name} for {seconds:g} s")
            await _stand_still(replica, seconds)


async def suspend_all_replicas(stage: Stage, say: Said) -> None:
    """SIGSTOP of every one, so that nobody renews anything."""
    async with stage.taking(*(each.name for each in stage.replicas)) as free:
        if free:
            seconds = stage.random.choice([0.5, 1.5 * SESSION_LEASE_SECONDS])
            say(f"all of them for {seconds:g} s")
            await asyncio.gather(*(_stand_still(each, seconds) for each in stage.replicas))


async def restart_database(stage: Stage, say: Said) -> None:
    """The server ends, in any of the ways in which servers end, and comes back."""
    server = stage.database.server
    assert server is not None
    async with stage.taking(DATABASE) as free:
        if not free:
            return
        how = stage.random.choice(["fast", "immediate", "kill -9"])
        say(how)
        if how == "kill -9":
            await asyncio.to_thread(server.kill)
            await stage.last(0, 2)
            await asyncio.to_thread(server.start)
        else:
            await asyncio.to_thread(server.restart, how)


async def suspend_database(stage: Stage, say: Said) -> None:
    """The server stands still."""
    server = stage.database.server
    assert server is not None
    async with stage.taking(DATABASE) as free:
        if free:
            seconds = stage.random.uniform(0.5, 4)
            say(f"for {seconds:.1f} s")
            await asyncio.to_thread(server.pause)
            try:
                await asyncio.sleep(seconds)
            finally:
                await asyncio.to_thread(server.resume)


async def terminate_backends(stage: Stage, say: Said) -> None:
    """Every connection is ended by the server."""
    server = stage.database.server
    assert server is not None
    async with stage.taking(DATABASE) as free:
        if free:
            say("all connections")
            await asyncio.to_thread(server.terminate_backends, stage.database.name)


async def cut_after_commit(stage: Stage, say: Said) -> None:
    """COMMIT arrives, and its answer does not."""
    await _cut_commit(stage, say, "after")


async def cut_before_commit(stage: Stage, say: Said) -> None:
    """COMMIT does not arrive."""
    await _cut_commit(stage, say, "before")


async def cut_connections(stage: Stage, say: Said) -> None:
    """All connections of a replica to the database break."""
    index = stage.random.randrange(len(stage.database.proxies))
    async with stage.taking(f"proxy{index}") as free:
        if free:
            say(stage.replicas[index].name)
            await asyncio.to_thread(stage.database.proxies[index].cut)


async def hang_connections(stage: Stage, say: Said) -> None:
    """Nothing passes between a replica and the database, and nobody says so."""
    index = stage.random.randrange(len(stage.database.proxies))
    async with stage.taking(f"proxy{index}") as free:
        if free:
            proxy, seconds = stage.database.proxies[index], stage.random.uniform(0.5, 6)
            say(f"{stage.replicas[index].name} for {seconds:.1f} s")
            proxy.hang()
            try:
                await asyncio.sleep(seconds)
            finally:
                proxy.resume()


async def slow_database(stage: Stage, say: Said) -> None:
    """The way to the database is longer than before."""
    index = stage.random.randrange(len(stage.database.proxies))
    async with stage.taking(f"proxy{index}") as free:
        if free:
            proxy, delay_s = stage.database.proxies[index], stage.random.choice([0.005, 0.03, 0.1])
            say(f"{stage.replicas[index].name} by {delay_s:g} s")
            proxy.delay_s = delay_s
            try:
                await stage.last(1, 4)
            finally:
                proxy.delay_s = 0.0


async def slow_front(stage: Stage, say: Said) -> None:
    """The way to the replicas is longer than before."""
    async with stage.taking("front") as free:
        if free:
            stage.front.delay_s = stage.random.choice([0.02, 0.1, 0.5])
            say(f"by {stage.front.delay_s:g} s")
            try:
                await stage.last(1, 4)
            finally:
                stage.front.delay_s = 0.0


async def _die_and_live(stage: Stage, replica: Replica) -> None:
    await replica.kill()
    await stage.last(0, 2)
    await replica.start()


async def _stand_still(replica: Replica, seconds: float) -> None:
    replica.suspend()
    try:
        await asyncio.sleep(seconds)
    finally:
        replica.resume()


async def _cut_commit(stage: Stage, say: Said, when: When) -> None:
    index = stage.random.randrange(len(stage.database.proxies))
    async with stage.taking(f"proxy{index}") as free:
        if free:
            say(stage.replicas[index].name)
            stage.database.proxies[index].cut_next_commit(when)
            await stage.last(0.2, 1)


OF_CONTROL_PLANE: Sequence[Fault] = (
    Fault("kill -9 of a replica", 8, kill_replica),
    Fault("kill -9 of all replicas", 1, kill_all_replicas),
    Fault("a replica ends in good order", 4, stop_replica),
    Fault("a replica stands still", 8, suspend_replica),
    Fault("all replicas stand still", 1, suspend_all_replicas),
    Fault("the database is restarted", 4, restart_database, postgres=True),
    Fault("the database stands still", 2, suspend_database, postgres=True),
    Fault("backends are terminated", 4, terminate_backends, postgres=True),
    Fault("connections are cut after COMMIT", 10, cut_after_commit, postgres=True),
    Fault("connections are cut before COMMIT", 6, cut_before_commit, postgres=True),
    Fault("connections are cut", 3, cut_connections, postgres=True),
    Fault("connections hang", 3, hang_connections, postgres=True),
    Fault("the database is slow", 3, slow_database, postgres=True),
    Fault("the proxy is slow", 3, slow_front),
)
