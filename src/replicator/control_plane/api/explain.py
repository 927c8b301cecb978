"""/jobs/{job_id}/explain, /tasks/{task_id}/explain, /nodes/{name}/explain"""

from __future__ import annotations

from fastapi import APIRouter

from replicator.control_plane.api.jobs import JobId
from replicator.control_plane.api.nodes import Name
from replicator.control_plane.api.services import Given
from replicator.control_plane.api.tasks import TaskId
from replicator.kernel.names import NodeName
from replicator.wire.explain import Explanation

router = APIRouter(tags=["explain"])


@router.get("/jobs/{job_id}/explain", summary="Say why a job is in its state")
async def job(job_id: JobId, services: Given) -> Explanation:
    """What keeps it from moving, or that it moves, or why it ended so; and what would change that."""
    return await services.explain.job(job_id)


@router.get("/tasks/{task_id}/explain", summary="Say why a task is in its state")
async def task(task_id: TaskId, services: Given) -> Explanation:
    """Whom it waits for and until when, who has it in hand, or why it ended so; and what would change that."""
    return await services.explain.task(task_id)


@router.get("/nodes/{name}/explain", summary="Say why a node gets work, or none")
async def node(name: Name, services: Given) -> Explanation:
    """Its session, what it has in hand and is held to, what waits for it; and what would change that."""
    return await services.explain.node(NodeName(name))
