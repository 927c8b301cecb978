"""Statements of the order of work: what may be handed out, what is due by the clock, and what nobody tries again.

Those of ready tasks read as many rows as they give, however many tasks wait, by the index `tasks_ready_by_link`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db.schema import TASK_STATES_LIVE, is_state, jobs, tasks
from replicator.control_plane.domain.fairness import PRIORITY_STEP_MS
from replicator.control_plane.domain.job import JobState
from replicator.control_plane.domain.task import TaskState

SOURCES_AT_ONCE = 64
"""Sources whose first tasks one statement reads."""

_NODE: sa.BindParameter[Any] = sa.bindparam("node")
_MOMENT: sa.BindParameter[Any] = sa.bindparam("moment")
_LIMIT: sa.BindParameter[Any] = sa.bindparam("limit")
_PRIORITY: sa.BindParameter[Any] = sa.bindparam("of_priority", type_=sa.Integer())
_READY = is_state(tasks.c.state, TaskState.READY)

_FIRST = sa.select(sa.func.min(tasks.c.src_node).label("name")).where(tasks.c.dst_node == _NODE, _READY)
_SOURCES = _FIRST.cte("sources", recursive=True)
# From each source to the next one, so tasks of the same source are not looked at.
_NEXT = (
    sa.select(sa.func.min(tasks.c.src_node))
    .where(tasks.c.dst_node == _NODE, _READY, tasks.c.src_node > _SOURCES.c.name)
    .correlate(_SOURCES)
    .scalar_subquery()
)
_ALL_SOURCES = _SOURCES.union_all(sa.select(_NEXT).where(_SOURCES.c.name.is_not(None)))
READY_SOURCES = sa.select(_ALL_SOURCES.c.name).where(_ALL_SOURCES.c.name.is_not(None)).limit(_LIMIT)


@cache
def ready_from(sources: int) -> sa.CompoundSelect[Any]:
    """The first ready tasks of `node` from `source_0`, at most `limit_0`, `source_1` and so on."""
    heads = [
        sa.select(tasks)
        .where(tasks.c.dst_node == _NODE, tasks.c.src_node == sa.bindparam(f"source_{index}"), _READY)
        .order_by(tasks.c.rank_ms, tasks.c.id)
        .limit(sa.bindparam(f"limit_{index}", type_=sa.Integer()))
        .subquery()
        for index in range(sources)
    ]
    return sa.union_all(*(sa.select(head) for head in heads))


SET_PRIORITY = (
    sa.update(tasks)
    .where(tasks.c.job_id == sa.bindparam("of_job"), is_state(tasks.c.state, *TASK_STATES_LIVE))
    .values(
        priority=_PRIORITY,
        rank_ms=tasks.c.rank_ms - (_PRIORITY - tasks.c.priority) * PRIORITY_STEP_MS,
    )
)
FAILED = (
    sa.select(tasks.c.id)
    .where(is_state(tasks.c.state, TaskState.FAILED), tasks.c.id < sa.bindparam("before"))
    .order_by(tasks.c.id.desc())
    .limit(_LIMIT)
)
DEAD = (
    sa.select(tasks)
    .join(jobs, jobs.c.id == tasks.c.job_id)
    .where(
        tasks.c.id.in_(sa.bindparam("failed", expanding=True)),
        is_state(jobs.c.state, JobState.PARTIAL, JobState.FAILED),
        sa.or_(jobs.c.retried_at_ms.is_(None), tasks.c.updated_at_ms > jobs.c.retried_at_ms),
    )
    .order_by(tasks.c.id.desc())
    .limit(_LIMIT)
)

_POSTPONED = sa.text("postponed")
TO_START = (
    sa.select(jobs)
    .where(_POSTPONED, jobs.c.start_at_ms <= _MOMENT)
    .order_by(jobs.c.start_at_ms, jobs.c.id)
    .limit(_LIMIT)
)
NEXT_START = sa.select(sa.func.min(jobs.c.start_at_ms)).where(_POSTPONED)
_HAS_DEADLINE = sa.and_(
    jobs.c.deadline_at_ms.is_not(None),
    jobs.c.finished_at_ms.is_(None),
    sa.not_(is_state(jobs.c.state, JobState.CANCELLING)),
)
OVERDUE = (
    sa.select(jobs)
    .where(_HAS_DEADLINE, jobs.c.deadline_at_ms <= _MOMENT)
    .order_by(jobs.c.deadline_at_ms, jobs.c.id)
    .limit(_LIMIT)
)
NEXT_DEADLINE = sa.select(sa.func.min(jobs.c.deadline_at_ms)).where(_HAS_DEADLINE)
