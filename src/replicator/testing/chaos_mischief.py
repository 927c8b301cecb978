"""Faults of nodes in a chaos run, and users who change what nodes may do. Others are in `chaos_faults`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from replicator.testing.chaos_cluster import SESSION_LEASE_SECONDS
from replicator.testing.chaos_faults import Fault, Said
from replicator.testing.chaos_stage import Stage


async def kill_node(stage: Stage, say: Said) -> None:
    """A simulated node loses its memory, and now and then what it had kept as well."""
    name = stage.random.choice(stage.fleet.names)
    async with stage.taking(name) as free:
        if free:
            loses_outbox = stage.random.random() < 0.3
            say(f"{name}{', with its outbox' if loses_outbox else ''}")
            await stage.fleet.kill(name, loses_outbox=loses_outbox)
            await stage.last(0, 1.5 * SESSION_LEASE_SECONDS)
            stage.fleet.revive(name)


async def suspend_node(stage: Stage, say: Said) -> None:
    """A simulated node stands still past its lease, and comes back with what it had done."""
    name = stage.random.choice(stage.fleet.names)
    async with stage.taking(name) as free:
        if free:
            seconds = stage.random.choice([1.0, 1.2 * SESSION_LEASE_SECONDS, 2 * SESSION_LEASE_SECONDS])
            say(f"{name} for {seconds:g} s")
            stage.fleet.suspend(name)
            await asyncio.sleep(seconds)
            stage.fleet.resume(name)


async def double_node(stage: Stage, say: Said) -> None:
    """A second process of a node begins while the first one lives on, and does not know of it."""
    name = stage.random.choice(stage.fleet.names)
    async with stage.taking(name) as free:
        if free:
            say(name)
            ghost = await stage.fleet.succeed(name)
            await stage.last(2, 8)
            await stage.fleet.end(ghost)


async def repeat_messages(stage: Stage, say: Said) -> None:
    """Messages of before arrive again, in another order."""
    say(f"{await stage.fleet.repeat(stage.random.randint(1, 12))} messages")


async def kill_real_node(stage: Stage, say: Said) -> None:
    """kill -9 of a node that is a process."""
    node = stage.random.choice(list(stage.real_nodes))
    async with stage.taking(node.name) as free:
        if free:
            say(node.name)
            await asyncio.to_thread(node.kill)
            await stage.last(0, 3)
            await asyncio.to_thread(node.start)


async def suspend_real_node(stage: Stage, say: Said) -> None:
    """SIGSTOP of a node that is a process, past its lease at times."""
    node = stage.random.choice(list(stage.real_nodes))
    async with stage.taking(node.name) as free:
        if free:
            seconds = stage.random.choice([1.0, 1.5 * SESSION_LEASE_SECONDS])
            say(f"{node.name} for {seconds:g} s")
            node.suspend()
            await asyncio.sleep(seconds)
            node.resume()


async def hold_to_limits(stage: Stage, say: Said) -> None:
    """An operator limits how many tasks a node may have, or how many may read from it, or takes that back."""
    name = stage.random.choice(stage.fleet.names)
    tasks_max, serves_max = (stage.random.choice([None, 1, 2, 4]) for _ in range(2))
    say(f"{name}: {tasks_max} tasks, {serves_max} served")
    await stage.users.limit(name, tasks_max=tasks_max, serves_max=serves_max)


async def hold_link_to_limit(stage: Stage, say: Said) -> None:
    """An operator limits how many tasks may go from one node to another."""
    source, destination = stage.random.sample(stage.fleet.names, 2)
    tasks_max = stage.random.choice([1, 2, 1000])
    say(f"{source} to {destination}: {tasks_max} tasks")
    await stage.users.limit_link(source, destination, tasks_max=tasks_max)


async def maintain(stage: Stage, say: Said) -> None:
    """A node is in maintenance for a while."""
    name = stage.random.choice(stage.fleet.names)
    async with stage.taking(f"maintenance of {name}") as free:
        if free:
            say(name)
            await stage.users.maintain(name, on=True)
            await stage.last(2, 8)
            while True:
                if await stage.users.maintain(name, on=False):
                    return
                await asyncio.sleep(0.3)


OF_NODES: Sequence[Fault] = (
    Fault("kill -9 of a node", 6, kill_node),
    Fault("a node stands still", 6, suspend_node),
    Fault("two processes of one node", 6, double_node),
    Fault("messages arrive again", 8, repeat_messages),
    Fault("kill -9 of a node that is a process", 4, kill_real_node, real=True),
    Fault("a node that is a process stands still", 4, suspend_real_node, real=True),
    Fault("a node is limited", 5, hold_to_limits),
    Fault("a link is limited", 3, hold_link_to_limit),
    Fault("maintenance", 3, maintain),
)
