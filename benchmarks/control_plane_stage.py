"""Nodes, jobs and tasks of a control plane inside this process, as fast as they can be made and worked through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from replicator.control_plane.db.database import SqlDatabase, open_database
from replicator.control_plane.domain import transfer as transfers
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.object_row import ObjectRow
from replicator.control_plane.domain.planning import Planning
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.domain.spec import JobSpec
from replicator.control_plane.domain.task import Task
from replicator.control_plane.ports import Unit
from replicator.control_plane.services import sessions
from replicator.control_plane.services.sessions import Terms
from replicator.kernel.names import NodeName
from replicator.runtime.clock import SystemClock
from replicator.testing.postgres import PostgresServer, missing_for_postgres
from replicator.wire.sessions import (
    ObjectResult,
    OpenSession,
    Poll,
    PollReply,
    TaskAssignment,
    TaskResult,
    Transfer,
)

SOURCE = NodeName("source")
OBJECT_BYTES = 65_536
TASKS_PER_JOB = 64
"""As many as a large job has at a time."""
_TASKS_PER_UNIT = 2048
_LEASE_MS = 3_600_000


@dataclass(slots=True)
class Worker:
    """A node that reports at once that all went well.

    Attributes:
        news: results that the control plane has not heard.
    """

    node: str
    boot_id: str
    session_id: str
    news: list[TaskResult]

    def poll(self, capacity: int) -> Poll:
        """What it says next."""
        return Poll(boot_id=self.boot_id, wait_seconds=0, capacity=capacity, running=[], results=self.news)

    def take(self, reply: PollReply) -> int:
        """Do what is wanted, at once; how many tasks it was given."""
        self.news = [_result(task, self.boot_id) for task in reply.tasks]
        return len(reply.tasks)


def terms() -> Terms:
    """On which the workers' sessions are granted; nothing expires while something is measured."""
    policy = RetryPolicy(
        attempts_max=10,
        losses_max=20,
        delay_floor_ms=1000,
        delay_step_ms=2000,
        delay_spread_ms_max=900_000,
        park_ms_max=86_400_000,
        uniform=lambda low, high: (low + high) / 2,
    )
    return Terms(lease_ms=_LEASE_MS, policy=policy)


@contextmanager
def opened(url: str) -> Iterator[SqlDatabase]:
    """The database at `url`, made if it is not there."""
    database = open_database(url, clock=SystemClock(), on_events=lambda _: None)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, Callable[[], str]]]:
    """What makes a new, empty database and gives its URL, for each system that is here; all are gone in the end.

    Postgres is a server of its own that syncs as it would in earnest; where none is installed it is left out.
    """
    numbers = count(1)

    def file() -> str:
        path = folder / f"database-{next(numbers)}"
        return f"sqlite:///{path}/control-plane.sqlite"

    if missing_for_postgres() is not None:
        yield {"SQLite": file}
        return
    server = PostgresServer(safe=True)
    try:
        yield {"SQLite": file, "Postgres": lambda: server.url(server.new_database())}
    finally:
        server.close()


async def connect(database: SqlDatabase, names: list[str]) -> list[Worker]:
    """A source and workers called `names`, with sessions."""
    granted = terms()

    def work(unit: Unit) -> None:
        for name in (SOURCE, *names):
            request = OpenSession.model_validate(
                {
                    "node": name,
                    "boot_id": f"{name}-boot-1",
                    "base_url": f"http://{name}:9000",
                    "release": "0.1.0",
                }
            )
            sessions.open_session(unit, request, session_id=f"session-{name}", terms=granted)

    await database.transact(work)
    return [Worker(name, f"{name}-boot-1", f"session-{name}", []) for name in names]


async def fill(
    database: SqlDatabase, workers: list[Worker], tasks: int, *, tasks_per_job: int = TASKS_PER_JOB
) -> None:
    """`tasks` ready tasks of one object each, spread over the workers, in jobs of so many."""
    made = 0
    while made < tasks:
        part = min(_TASKS_PER_UNIT, tasks - made)
        first = made

        def work(unit: Unit, first: int = first, part: int = part) -> None:
            for number in range(first, first + part, tasks_per_job):
                destination = NodeName(workers[number // tasks_per_job % len(workers)].node)
                _add_job(unit, destination, min(tasks_per_job, first + part - number))

        await database.transact(work)
        made += part


def _add_job(unit: Unit, destination: NodeName, tasks: int) -> None:
    spec = JobSpec(src_node=SOURCE, dst_node=destination, object_ids=("a", "b"))
    now_ms = unit.now_ms
    job = unit.jobs.add(Job(id=0, spec=spec, created_at_ms=now_ms, updated_at_ms=now_ms))
    planning = Planning(surveyed=True, rows_found=tasks)
    job = replace(job, state=JobState.RUNNING, planning=planning, tasks_planned=tasks)
    unit.jobs.put(job)
    rows = []
    for number in range(1, tasks + 1):
        task = unit.tasks.add(_task(job, destination, now_ms, number))
        rows.append(_row(job.id, task.id, number))
    unit.objects.add_many(rows)


def _task(job: Job, destination: NodeName, now_ms: int, number: int) -> Task:
    return Task(
        id=0,
        job_id=job.id,
        src_node=SOURCE,
        dst_node=destination,
        rank_ms=now_ms + 1000 * number,
        items=1,
        transfer=transfers.Transfer(bytes_logical=OBJECT_BYTES),
        ready_at_ms=now_ms,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )


def _row(job_id: int, task_id: int, number: int) -> ObjectRow:
    return ObjectRow(
        id=number,
        job_id=job_id,
        task_id=task_id,
        bucket="default",
        object_id=f"measured/{number:08}",
        version=f"{number:032x}",
        manifest=f"{job_id:032x}{number:032x}",
        size=OBJECT_BYTES,
    )


def _result(task: TaskAssignment, boot_id: str) -> TaskResult:
    moved = [item.size or 0 for item in task.items]
    return TaskResult(
        control_plane=task.control_plane,
        task_id=task.task_id,
        epoch=task.epoch,
        boot_id=boot_id,
        outcome="succeeded",
        transfer=Transfer(
            objects_planned=len(moved),
            objects_verified=len(moved),
            bytes_logical=sum(moved),
            bytes_transferred=sum(moved),
            bytes_wire=sum(moved),
        ),
        objects=[
            ObjectResult(
                row=item.row,
                outcome="verified",
                version=item.version,
                manifest=item.manifest,
                size=item.size or 0,
                bytes_transferred=item.size or 0,
            )
            for item in task.items
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """Changes of state a second, and this process's seconds of processor time for one."""

    per_second: float
    cpu_s: float


async def work_through(database: SqlDatabase, workers: list[Worker], *, capacity: int) -> Worked:
    """Each worker polls until nothing is left; the changes of state are tasks claimed, and tasks ended."""
    granted = terms()

    async def run(worker: Worker) -> int:
        transitions, given = 0, 1
        while given:
            ended = len(worker.news)
            given = await poll(database, worker, granted, capacity=capacity)
            transitions += given + ended
        return transitions

    started, cpu_s = time.perf_counter(), time.process_time()
    count = sum(await asyncio.gather(*(run(worker) for worker in workers)))
    return Worked(
        per_second=count / (time.perf_counter() - started), cpu_s=(time.process_time() - cpu_s) / count
    )


async def poll(database: SqlDatabase, worker: Worker, granted: Terms, *, capacity: int) -> int:
    """One poll of `worker`, and the work done; how many tasks it was given."""
    told = worker.poll(capacity)
    polled = await database.transact(lambda unit: sessions.poll(unit, worker.session_id, told, terms=granted))
    return worker.take(polled.reply)
