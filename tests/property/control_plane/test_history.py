"""Whatever is moved and pruned when: every job that is kept is shown exactly once, whole, and in SQL as in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from replicator.control_plane.domain.job import LIVE, JobState
from replicator.control_plane.domain.task import TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.control_plane.ports import Database, Unit
from replicator.control_plane.services import history
from replicator.control_plane.services.jobs import Jobs
from replicator.kernel.errors import Conflict, NotFound
from replicator.testing.control_plane import ManualClock, control_plane_in
from replicator.testing.control_plane_values import PLANNED, job_in, task_in
from replicator.testing.memory_database import MemoryDatabase
from replicator.wire.jobs import JobStatus

pytestmark = pytest.mark.anyio

MEMORY = Path("/dev/shm")
STEPS = 60
FAILED = Transfer(objects_planned=1, objects_failed=1)


class Schedule:
    """Jobs that end, are tried again, move and go, in steps drawn from `seed`; `kept` is what there should be."""

    def __init__(self, database: Database, clock: Any, seed: int) -> None:
        self._jobs = Jobs(database=database, plan=lambda *_: None)
        self._database = database
        self._clock = clock
        self._random = Random(seed)
        self.kept: dict[int, tuple[int, int | None]] = {}
        self.did: list[str] = []

    async def run(self) -> None:
        """Every step, and a look after each."""
        for _ in range(STEPS):
            what = self._random.choice(
                ["create", "create", "pass_time", "end", "retry", "move", "move", "prune"]
            )
            self.did.append(f"{what} {await getattr(self, f'_{what}')()}")
            await self._look()

    async def _create(self) -> int:
        tasks = self._random.choice([0, 1, 1, 2, 7])

        def work(unit: Unit) -> int:
            now: dict[str, Any] = {"created_at_ms": unit.now_ms, "updated_at_ms": unit.now_ms}
            counts = {"tasks_planned": tasks, "tasks_failed": tasks, "ended": FAILED}
            job = unit.jobs.add(job_in(JobState.RUNNING, planning=PLANNED, **counts, **now))
            for _ in range(tasks):
                unit.tasks.add(task_in(TaskState.FAILED, job_id=job.id, **now))
            return job.id

        job_id = await self._database.transact(work)
        self.kept[job_id] = tasks, None
        return job_id

    async def _pass_time(self) -> None:
        self._clock.advance(self._random.choice([0.5, 1, 4]))

    async def _end(self) -> int | None:
        job_id = self._any()

        def work(unit: Unit) -> int | None:
            job = unit.jobs.get(job_id)
            if job is None or job.state not in LIVE:
                return None
            unit.jobs.put(
                job_in(
                    JobState.FAILED,
                    id=job_id,
                    planning=PLANNED,
                    tasks_planned=job.tasks_planned,
                    tasks_failed=job.tasks_failed,
                    ended=FAILED,
                    finished_at_ms=unit.now_ms,
                )
            )
            return unit.now_ms

        ended_at_ms = await self._database.transact(work)
        if ended_at_ms is not None:
            self.kept[job_id] = self.kept[job_id][0], ended_at_ms
        return ended_at_ms

    async def _retry(self) -> str:
        job_id = self._any()

        def work(unit: Unit) -> None:
            job = history.job_to_change(unit, job_id)
            if job.state in LIVE:
                raise Conflict("it lives")
            unit.jobs.put(
                job_in(
                    JobState.RUNNING,
                    id=job_id,
                    planning=PLANNED,
                    tasks_planned=job.tasks_planned,
                    tasks_failed=job.tasks_failed,
                    ended=FAILED,
                )
            )

        try:
            await self._database.transact(work)
        except (Conflict, NotFound) as error:
            return str(error)
        self.kept[job_id] = self.kept[job_id][0], None
        return f"{job_id} lives again"

    async def _move(self) -> str:
        jobs_max, tasks_max = self._random.choice([1, 2, 8]), self._random.choice([1, 3, 8])
        before_ms = self._random.choice([0, 2000])
        moved = await self._database.transact(
            lambda unit: unit.history.move(
                ended_by_ms=unit.now_ms - before_ms, jobs_max=jobs_max, tasks_max=tasks_max
            )
        )
        assert moved.jobs <= jobs_max
        assert moved.rows <= tasks_max
        return str(moved)

    async def _prune(self) -> int:
        """To the end: half-pruned jobs are looked at elsewhere."""

        def work(unit: Unit) -> int:
            while unit.history.prune(ended_by_ms=unit.now_ms - 4000, jobs_max=3, rows_max=5).rows:
                pass
            unit.history.prune(ended_by_ms=unit.now_ms - 4000, jobs_max=100, rows_max=5)
            return unit.now_ms - 4000

        ended_by_ms = await self._database.transact(work)
        gone = await self._database.read(
            lambda unit: [job_id for job_id in self.kept if not _is_there(unit, job_id)]
        )
        for job_id in gone:
            ended_at_ms = self.kept.pop(job_id)[1]
            assert ended_at_ms is not None
            assert ended_at_ms <= ended_by_ms
        return len(gone)

    def _any(self) -> int:
        return self._random.choice([*self.kept, 1])

    async def _look(self) -> None:
        states: list[JobStatus | None] = [None, None, "failed", "running"]
        state = self._random.choice(states)
        shown: list[int] = []
        cursor = None
        while True:
            page = await self._jobs.page(
                cursor=cursor, limit=self._random.choice([1, 2, 5, 50]), status=state
            )
            shown += [job.id for job in page.jobs]
            cursor = page.next_cursor
            if cursor is None:
                break
        named = {"failed": lambda end: end is not None, "running": lambda end: end is None}.get(str(state))
        expected = [job for job, (_, end) in self.kept.items() if named is None or named(end)]
        assert shown == sorted(expected, reverse=True), self.did
        for job_id, (tasks, _) in self.kept.items():
            found = await self._database.read(partial(_tasks_of, job_id=job_id))
            assert len(found) == len(set(found)) == tasks, self.did


def _is_there(unit: Unit, job_id: int) -> bool:
    places = [unit.jobs.get(job_id), unit.history.get(job_id)]
    assert None in places, f"job {job_id} is in two places"
    return places != [None, None]


def _tasks_of(unit: Unit, *, job_id: int) -> Sequence[int]:
    return [task.id for task in unit.tasks.of_job(job_id, after=0, limit=100)]


async def in_memory(seed: int) -> Schedule:
    clock = ManualClock()
    schedule = Schedule(MemoryDatabase(clock, on_events=lambda _: None), clock, seed)
    await schedule.run()
    return schedule


@pytest.mark.parametrize("seed", range(20))
async def test_every_job_that_is_kept_is_shown_once(seed: int) -> None:
    await in_memory(seed)


@pytest.mark.parametrize("seed", range(4))
async def test_history_in_sql_tells_the_same_story(tmp_path: Path, seed: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        async with control_plane_in(folder) as plane:
            schedule = Schedule(plane.parts.database, plane.clock, seed)
            await schedule.run()
    told = await in_memory(seed)
    assert (schedule.did, schedule.kept) == (told.did, told.kept)
