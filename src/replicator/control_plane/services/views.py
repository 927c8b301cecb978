"""Nodes and jobs as users see them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from replicator.control_plane.domain import accounting
from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import spec as specs
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.limits import NodeLimits
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.task import Task, TaskState
from replicator.kernel.names import NodeName
from replicator.wire import nodes as wire
from replicator.wire.jobs import JobProgress, JobView, PlanView, Verdict
from replicator.wire.nodes import NodeView
from replicator.wire.sessions import Transfer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def node_view(node: Node, session: Session | None, limits: NodeLimits) -> NodeView:
    """The node, its live session, if it has one, and what it is held to."""
    return NodeView(
        name=node.name,
        base_url=node.base_url,
        rpc_url=node.rpc_url,
        limits=wire.NodeLimits(
            ingress_bytes_per_second=limits.ingress_bytes_per_s,
            egress_bytes_per_second=limits.egress_bytes_per_s,
        ),
        status="disconnected" if session is None else "connected",
        boot_id=None if session is None else session.boot_id,
        release=None if session is None else session.release,
        problem=node.problem,
        registered_at=moment(node.registered_at_ms),
        updated_at=moment(node.updated_at_ms),
        seen_at=_maybe(node.seen_at_ms if session is None else session.renewed_at_ms),
    )


def job_view(job: Job, tasks: Sequence[Task], nodes: Mapping[NodeName, Node], *, now_ms: int) -> JobView:
    """The job; `tasks` are those of it that live, `nodes` those they name."""
    updated_at_ms = max([job.updated_at_ms, *(task.updated_at_ms for task in tasks)])
    ids = job.spec.object_ids
    return JobView(
        id=job.id,
        kind=job.spec.kind.value,
        src_node=job.spec.src_node,
        dst_node=job.spec.dst_node,
        object_id=ids[0] if len(ids) == 1 else None,
        selection=specs.in_words(job.spec),
        mode="move" if job.spec.move else "copy",
        dry_run=job.spec.dry_run,
        priority=job.priority,
        bytes_per_second=job.bytes_per_second,
        status=job.state.value,
        waiting_for=waiting_for(job, tasks, nodes, now_ms=now_ms),
        progress=_progress(job, tasks, now_ms=now_ms),
        compared=job.planning.compared,
        plan=_plan(job),
        verdict=_verdict(job),
        attempts=job.attempts,
        error=job.error,
        created_at=moment(job.created_at_ms),
        started_at=_maybe(job.started_at_ms),
        finished_at=_maybe(job.finished_at_ms),
        updated_at=moment(updated_at_ms),
    )


def waiting_for(
    job: Job, tasks: Sequence[Task], nodes: Mapping[NodeName, Node], *, now_ms: int
) -> str | None:
    """Why a live job is not moving just now; None if it is, or has ended."""
    if job.state in jobs.TERMINAL:
        return None
    if job.state is JobState.PAUSED:
        return "somebody to resume it"
    if job.state is JobState.QUEUED or (not tasks and job.state is not JobState.CANCELLING):
        return "its turn to be planned"
    reasons = [_task_waits_for(task, nodes, now_ms=now_ms) for task in tasks]
    return None if None in reasons else next(iter(reasons), None)


def moment(ms: int) -> datetime:
    """Database time as a moment."""
    return _EPOCH + timedelta(milliseconds=ms)


def _maybe(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)


def _task_waits_for(task: Task, nodes: Mapping[NodeName, Node], *, now_ms: int) -> str | None:
    match task.state:
        case TaskState.SCHEDULED:
            return _scheduled_waits_for(task, nodes, now_ms=now_ms)
        case TaskState.READY:
            return f"{task.dst_node} to {'take it' if _is_connected(task.dst_node, nodes) else 'connect'}"
        case TaskState.HELD:
            return "somebody to resume it"
        case TaskState.CANCELLING:
            return f"{task.dst_node} to stop"
        case TaskState.LEASED if task.stop_asked:
            return f"{task.dst_node} to stop"
        case _:
            return None


def _scheduled_waits_for(task: Task, nodes: Mapping[NodeName, Node], *, now_ms: int) -> str:
    seconds = max(0, -(-((task.not_before_ms or now_ms) - now_ms) // 1000))
    if task.parked_for is None:
        return f"the next attempt; retrying in {seconds} s"
    missed = task.parked_for == task.dst_node and not _is_connected(task.dst_node, nodes)
    return f"{task.parked_for} to {'connect' if missed else 'answer'}; retrying in {seconds} s"


def _is_connected(name: NodeName, nodes: Mapping[NodeName, Node]) -> bool:
    node = nodes.get(name)
    return node is not None and node.session_id is not None


def _plan(job: Job) -> PlanView | None:
    if job.plan is None or job.plan_job_id is None:
        return None
    ended = not job.spec.dry_run and job.state in jobs.TERMINAL
    off = job.ended.bytes_transferred - job.plan.bytes_lacking if ended else None
    return PlanView(**job.plan.model_dump(), job_id=job.plan_job_id, bytes_lacking_error=off)


def _verdict(job: Job) -> Verdict | None:
    planning = job.planning
    if planning.source_root is None or planning.destination_root is None:
        return None
    differences = job.ended.objects_failed
    return Verdict(
        agree=differences == 0 and planning.source_root == planning.destination_root,
        source_root=planning.source_root,
        destination_root=planning.destination_root,
        differences=differences,
    )


def _progress(job: Job, tasks: Sequence[Task], *, now_ms: int) -> JobProgress:
    waiting = accounting.waiting(job.planning.transfers_waiting)
    total = _sum([job.ended, waiting, *(accounting.so_far(task) for task in tasks)])
    rate, remaining_s = _speed(job, tasks, total, now_ms=now_ms)
    return JobProgress(**total.model_dump(), rate_bytes_per_second=rate, remaining_seconds=remaining_s)


def _speed(
    job: Job, tasks: Sequence[Task], total: Transfer, *, now_ms: int
) -> tuple[float | None, float | None]:
    if job.finished_at_ms is not None:
        if job.started_at_ms is None:
            return None, None
        seconds = max(job.finished_at_ms - job.started_at_ms, 1) / 1000
        remaining_s = 0.0 if job.state is JobState.SUCCEEDED else None
        return round(total.bytes_logical / seconds, 1), remaining_s
    running = [task for task in tasks if task.state is TaskState.LEASED and task.begun_at_ms is not None]
    rate = sum(_rate(task, now_ms=now_ms) for task in running)
    done = total.bytes_transferred + total.bytes_deduplicated
    if not rate or not total.bytes_logical:
        return (round(rate, 1) if running else None), None
    return round(rate, 1), round(max(0, total.bytes_logical - done) / rate, 3)


def _rate(task: Task, *, now_ms: int) -> float:
    assert task.begun_at_ms is not None
    return accounting.completed(task) / (max(now_ms - task.begun_at_ms, 1) / 1000)


def _sum(transfers: Iterable[Transfer]) -> Transfer:
    total = Transfer()
    for transfer in transfers:
        total = accounting.add(total, transfer)
    return total
