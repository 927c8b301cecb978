"""Why jobs, tasks and nodes are in their states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from replicator.control_plane.domain import explain, explain_node, explain_task
from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.explain_node import TASKS_COUNTED_MAX, Waiting
from replicator.control_plane.domain.finding import Finding
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.ports import Database, Unit
from replicator.control_plane.services import history, scenes
from replicator.control_plane.services.registry import require_node
from replicator.kernel.names import NodeName
from replicator.wire.explain import Explanation, FindingView, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """What can be asked about the why. Methods raise `NotFound` where there is nothing of that name."""

    database: Database
    policy: RetryPolicy

    async def job(self, job_id: int) -> Explanation:
        """Why the job is in its state: its first finding says what `waiting_for` of its view says."""
        return await self.database.read(lambda unit: _job(unit, job_id, self.policy))

    async def task(self, task_id: int) -> Explanation:
        """Why the task is in its state."""
        return await self.database.read(lambda unit: _task(unit, task_id, self.policy))

    async def node(self, name: NodeName) -> Explanation:
        """Why the node gets work, or none."""
        return await self.database.read(lambda unit: _node(unit, name, self.policy))


def _job(unit: Unit, job_id: int, policy: RetryPolicy) -> Explanation:
    job = history.job_of(unit, job_id)
    live = unit.tasks.live_of_jobs([job.id]) if job.state in jobs.LIVE else []
    found = explain.of_job(job, live, scenes.whole(unit, live, policy))
    return _explanation("job", job.id, job.state, found)


def _task(unit: Unit, task_id: int, policy: RetryPolicy) -> Explanation:
    task = history.task_of(unit, task_id)
    found = explain_task.of_task(task, scenes.whole(unit, [task], policy))
    return _explanation("task", task.id, task.state, found)


def _node(unit: Unit, name: NodeName, policy: RetryPolicy) -> Explanation:
    node = require_node(unit, name)
    ready = unit.tasks.ready_before(name, ready_at_ms=unit.now_ms, limit=TASKS_COUNTED_MAX)
    parked = unit.tasks.parked_for(name, limit=TASKS_COUNTED_MAX)
    waiting = Waiting(ready=len(ready), parked=len(parked))
    found = explain_node.of_node(node, waiting, scenes.of_node(unit, node, policy))
    return _explanation("node", name, "disconnected" if node.session_id is None else "connected", found)


def _explanation(subject: Subject, named: object, state: str, found: Iterable[Finding]) -> Explanation:
    return Explanation(
        subject=subject,
        id=str(named),
        state=str(state),
        findings=[
            FindingView(
                kind=each.kind, because=each.because, would_change=each.would_change, data=dict(each.data)
            )
            for each in found
        ],
    )
