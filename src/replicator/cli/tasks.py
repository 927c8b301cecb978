"""What `tasks` and `task` do."""

from __future__ import annotations

from collections.abc import Iterator

from replicator.cli.output import local_time, pages, print_json, print_listing, with_local_times
from replicator.cli.tables import Column
from replicator.cli.units import bytes_text
from replicator.client.control_plane import ControlPlaneClient
from replicator.wire.tasks import AttemptView, TaskDetail, TaskPage, TaskStatus

PAGE_TASKS_MAX = 100


async def ls(
    control_plane: str,
    job_id: int,
    *,
    status: TaskStatus | None,
    limit: int | None,
    cursor: str | None,
    json_output: bool,
) -> None:
    """List the tasks of a job, a page at a time."""
    async with ControlPlaneClient(control_plane) as client:

        async def fetch(cursor: str | None, limit: int) -> TaskPage:
            return await client.tasks(job_id, cursor=cursor, limit=limit, status=status)

        found = pages(fetch, cursor=cursor, limit=limit, page_items_max=PAGE_TASKS_MAX)
        await print_listing(found, key="tasks", columns=_COLUMNS, json_output=json_output)


async def show(control_plane: str, task_id: int, *, json_output: bool) -> None:
    """Show one task with its attempts."""
    async with ControlPlaneClient(control_plane) as client:
        task = await client.task(task_id)
    if json_output:
        print_json(task)
        return
    for line in _lines(task):
        print(line)


def _lines(task: TaskDetail) -> Iterator[str]:
    waiting = f", waiting for {with_local_times(task.waiting_for)}" if task.waiting_for else ""
    yield f"task {task.id} of job {task.job_id} {task.status}: {task.kind} to {task.dst_node}{waiting}"
    facts = {
        "source": task.src_node,
        "objects": f"{task.items} left, {task.items_failed} failed",
        "lease": "" if task.lease_expires_at is None else f"until {local_time(task.lease_expires_at)}",
        "error": "" if task.error is None else f"{task.error.message} ({task.error.code})",
        "created": local_time(task.created_at),
    }
    for name, fact in facts.items():
        if fact:
            yield f"  {name:<12} {fact}"
    for attempt in task.attempts_latest:
        yield f"  attempt {attempt.attempt:<4} {_attempt(attempt)}"


def _attempt(attempt: AttemptView) -> str:
    ended = "goes on" if attempt.ended_at is None else f"{attempt.outcome} {local_time(attempt.ended_at)}"
    error = "" if attempt.error is None else f": {attempt.error.message} ({attempt.error.code})"
    return f"{local_time(attempt.begun_at)}, {ended}, {bytes_text(attempt.transfer.bytes_transferred)}{error}"


_COLUMNS = (
    Column("task", lambda item: item.id, right=True),
    Column("status", lambda item: item.status),
    Column("kind", lambda item: item.kind, drop=5),
    Column("from", lambda item: item.src_node, drop=2),
    Column("to", lambda item: item.dst_node, drop=2),
    Column("left", lambda item: item.items, right=True, drop=3),
    Column("failed", lambda item: item.items_failed, right=True, drop=1),
    Column("attempts", lambda item: item.attempts, right=True, drop=4),
    Column("sent", lambda item: item.transfer.bytes_transferred, bytes_text, right=True, drop=6),
    Column("error", lambda item: None if item.error is None else item.error.code, drop=1),
    Column("waiting for", lambda item: item.waiting_for, with_local_times, below=True),
)
