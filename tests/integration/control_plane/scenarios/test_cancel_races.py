"""A job is cancelled while it is claimed, done, lost or cancelled: in every order, and all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import permutations

import httpx
import pytest

from replicator.testing.control_plane import FakeNode
from replicator.testing.scenarios import LIVE, Fleet, balanced
from replicator.wire.sessions import TaskAssignment, TaskRef

pytestmark = pytest.mark.anyio

DONE = {"bytes_logical": 10, "bytes_transferred": 7, "bytes_deduplicated": 3}
STEPS = ("claim", "cancel", "complete", "lose")


class Race:
    """One job and the node that works on it; each step does what can be done of it at that moment."""

    def __init__(self, fleet: Fleet, node: FakeNode, job: int) -> None:
        self.fleet = fleet
        self.node = node
        self.job = job
        self.task: TaskAssignment | None = None
        self.cancels: list[int] = []

    async def claim(self) -> None:
        response = await self.node.poll_raw(capacity=1)
        if response.status_code == httpx.codes.OK and response.json()["tasks"]:
            self.task = TaskAssignment.model_validate(response.json()["tasks"][0])

    async def cancel(self) -> None:
        response = await self.fleet.http.post(f"/jobs/{self.job}/cancel")
        self.cancels.append(response.status_code)

    async def complete(self) -> None:
        if self.task is not None:
            await self.node.poll_raw(results=[self.node.result(self.task, transfer=DONE)], capacity=0)

    async def lose(self) -> None:
        """The node's process is replaced by another."""
        self.node = FakeNode(self.fleet.http, self.node.name, boot=self.node_boot() + 1)
        await self.node.open()

    def node_boot(self) -> int:
        return int(self.node.boot_id.rsplit("-", 1)[1])

    async def finish(self) -> None:
        """What a node goes on to do: stop what it is told to, and hand in what it has done."""
        for _ in range(3):
            running = [] if self.task is None else [self.node.progress(self.task)]
            reply = await self.node.poll(running=running)
            results = [stopped(self.node, ref) for ref in reply.cancel]
            results += [self.node.result(task, transfer=DONE) for task in reply.tasks]
            if self.task is not None and self.task.ref not in [*reply.cancel, *reply.abandon]:
                results.append(self.node.result(self.task, transfer=DONE))
            self.task = None
            await self.node.poll(capacity=0, results=results)


def stopped(node: FakeNode, ref: TaskRef) -> dict[str, object]:
    return {**ref.model_dump(), "boot_id": node.boot_id, "outcome": "cancelled", "transfer": {}}


async def race_in(fleet: Fleet, name: str) -> Race:
    await fleet.register("node1", name)
    node = await fleet.connect(name)
    return Race(fleet, node, await fleet.migrate(name, dst=name))


async def settled(race: Race) -> None:
    """The job has ended, in one way, and every answer agrees with that."""
    await race.finish()
    await race.fleet.settle()
    job = await race.fleet.job(race.job)
    assert job.status in {"cancelled", "succeeded"}, job
    assert balanced(job)
    assert job.progress.bytes_transferred in {0, 7}
    if job.status == "succeeded":
        assert (job.progress.objects_verified, job.progress.bytes_transferred) == (1, 7)
        assert set(race.cancels) <= {409}
    else:
        assert 409 not in race.cancels
    names = [event.name for event in await race.fleet.events(race.job)]
    assert sum(name in {"job.cancelled", "job.succeeded", "job.failed"} for name in names) == 1


async def test_a_job_ends_once_in_whatever_order_things_happen(fleet: Fleet) -> None:
    orders = [order for length in (2, 4) for order in permutations(STEPS, length)]
    for number, order in enumerate(orders):
        race = await race_in(fleet, f"node-{number}")
        for step in order:
            await getattr(race, step)()
        await settled(race)
        ended = (await fleet.job(race.job)).status
        assert ended == ("cancelled" if cancelled_in(order) else "succeeded"), order


def cancelled_in(order: tuple[str, ...]) -> bool:
    """Whether the job was asked to end before its result had come: a lost claim completes nothing."""
    steps = [step for step in order if step in {"claim", "complete", "cancel"}]
    done = "claim" in steps and "complete" in steps and steps.index("claim") < steps.index("complete")
    if "lose" in order and done:
        done = not order.index("claim") < order.index("lose") < order.index("complete")
    if "cancel" not in steps:
        return False
    return not (done and steps.index("complete") < steps.index("cancel"))


async def test_jobs_end_once_when_everything_happens_at_once(fleet: Fleet) -> None:
    races = [await race_in(fleet, f"node-{number}") for number in range(10)]
    for race in races[::2]:
        await race.claim()
    steps: list[Callable[[], Awaitable[None]]] = []
    for number, race in enumerate(races):
        mine = [race.cancel, race.claim, race.complete, race.cancel, race.lose]
        steps.extend(mine[number % 5 :] + mine[: number % 5])
    await asyncio.gather(*(step() for step in steps))
    for race in races:
        await settled(race)


async def test_a_cancelled_job_whose_node_never_answers_ends_with_its_lease(fleet: Fleet) -> None:
    race = await race_in(fleet, "node2")
    await race.claim()
    await race.cancel()
    assert (await fleet.job(race.job)).status == "cancelling"
    fleet.clock.advance(30)
    await fleet.settle()
    assert (await fleet.job(race.job)).status == "cancelled"
    assert race.task is not None
    again = await fleet.connect("node2", boot=2)
    await again.poll(results=[race.node.result(race.task, transfer=DONE)])
    job = await fleet.job(race.job)
    assert (job.status, job.progress.bytes_transferred) == ("cancelled", 0)


async def test_every_client_that_cancels_hears_the_same(fleet: Fleet) -> None:
    race = await race_in(fleet, "node2")
    await asyncio.gather(*(race.cancel() for _ in range(10)))
    assert set(race.cancels) == {200}
    assert (await fleet.job(race.job)).status not in LIVE
