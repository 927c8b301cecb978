"""/jobs/{job_id}/tasks, /tasks"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from replicator.control_plane.api.jobs import JobId
from replicator.control_plane.api.paging import Cursor
from replicator.control_plane.api.services import Given
from replicator.wire.sessions import INTEGER_MAX
from replicator.wire.tasks import TaskDetail, TaskPage, TaskStatus

TaskId = Annotated[int, Path(ge=1, le=INTEGER_MAX, description="The task's number.", examples=[7])]


router = APIRouter(tags=["tasks"])


@router.get("/jobs/{job_id}/tasks", summary="List the tasks of a job")
async def page(
    job_id: JobId,
    services: Given,
    cursor: Cursor = None,
    limit: Annotated[int | None, Query(ge=1)] = None,
    status: Annotated[TaskStatus | None, Query(description="Only tasks in this state.")] = None,
) -> TaskPage:
    """At most `limit` tasks, in the order they were made; pass `next_cursor` as `cursor` for the next ones."""
    items = services.paging.limit(limit)
    return await services.tasks.page(job_id, cursor=cursor, limit=items, status=status)


@router.get("/tasks/{task_id}", summary="Show a task and its attempts")
async def get(task_id: TaskId, services: Given) -> TaskDetail:
    """Who has it in hand, how often it was tried and how each try ended, the latest first."""
    return await services.tasks.get(task_id)
