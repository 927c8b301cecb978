"""Nodes and jobs as users see them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from replicator.control_plane.domain import accounting
from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import spec as specs
from replicator.control_plane.domain.explain import waiting_for
from replicator.control_plane.domain.finding import Scene, moment
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.limits import NodeLimits
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.domain.transfer import NOTHING, Transfer
from replicator.wire import nodes as wire
from replicator.wire.jobs import JobProgress, JobView, PlanView, Verdict
from replicator.wire.nodes import NodeView


def node_view(node: Node, session: Session | None, limits: NodeLimits, *, tasks_in_hand: int) -> NodeView:
    """The node, its live session, if it has one, and what it is held to."""
    return NodeView(
        name=node.name,
        base_url=node.base_url,
        rpc_url=node.rpc_url,
        limits=wire.NodeLimits(
            ingress_bytes_per_second=limits.ingress_bytes_per_s,
            egress_bytes_per_second=limits.egress_bytes_per_s,
            tasks_max=limits.tasks_max,
            serves_max=limits.serves_max,
        ),
        status="disconnected" if session is None else "connected",
        labels=dict(node.labels),
        zone=node.zone,
        maintenance=node.maintenance,
        bytes_total=node.bytes_total,
        bytes_free=node.bytes_free,
        tasks_in_hand=tasks_in_hand,
        boot_id=None if session is None else session.boot_id,
        release=None if session is None else session.release,
        problem=node.problem,
        registered_at=moment(node.registered_at_ms),
        updated_at=moment(node.updated_at_ms),
        seen_at=_maybe(node.seen_at_ms if session is None else session.renewed_at_ms),
        lease_expires_at=None if session is None else moment(session.expires_at_ms),
    )


def job_view(job: Job, tasks: Sequence[Task], scene: Scene) -> JobView:
    """The job; `tasks` are those of it that live, `scene` what surrounds them."""
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
        tasks_max=job.tasks_max,
        start_at=_maybe(job.start_at_ms),
        deadline_at=_maybe(job.deadline_at_ms),
        status=job.state.value,
        waiting_for=waiting_for(job, tasks, scene),
        progress=_progress(job, tasks, now_ms=scene.now_ms),
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


def _maybe(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)


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
    return JobProgress(**total._asdict(), rate_bytes_per_second=rate, remaining_seconds=remaining_s)


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
    total = NOTHING
    for transfer in transfers:
        total = accounting.add(total, transfer)
    return total
