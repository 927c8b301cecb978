"""Domain values as rows, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Row

from replicator.control_plane.db import schema
from replicator.control_plane.db.shared_writes import Shape, register
from replicator.control_plane.domain.attempt import Attempt
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.lease import Lease, Session
from replicator.control_plane.domain.node import AddressOrigin, Node
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.planning import Planning
from replicator.control_plane.domain.replacing import made
from replicator.control_plane.domain.spec import JobKind, JobSpec
from replicator.control_plane.domain.steps import next_step
from replicator.control_plane.domain.task import Task, TaskKind, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo, Filter, Plan

Values = dict[str, Any]
AnyRow = Row[Any]
_PLANNING = tuple(each.name for each in fields(Planning))
_TRANSFER = attrgetter(*Transfer._fields)
_ACTIONS = {str(action): action for action in Action}
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}
_KINDS = {str(kind): kind for kind in TaskKind}
_STATES = {str(state): state for state in TaskState}


def node_values(node: Node) -> Values:
    """The columns of `node`."""
    return {
        "name": str(node.name),
        "base_url": node.base_url,
        "address_origin": str(node.address_origin),
        "rpc_url": node.rpc_url,
        "session_id": node.session_id,
        "session_epoch": node.session_epoch,
        "seen_at_ms": node.seen_at_ms,
        "disconnected_at_ms": node.disconnected_at_ms,
        "problem": node.problem,
        "join_tries": node.join_tries,
        "join_at_ms": node.join_at_ms,
        "labels": dict(node.labels),
        "labels_by_operator": node.labels_by_operator,
        "zone": node.zone,
        "zone_by_operator": node.zone_by_operator,
        "maintenance": node.maintenance,
        "bytes_total": node.bytes_total,
        "bytes_free": node.bytes_free,
        "registered_at_ms": node.registered_at_ms,
        "updated_at_ms": node.updated_at_ms,
    }


def node_of(row: AnyRow) -> Node:
    """The node in `row`."""
    values = row._asdict()
    origin = AddressOrigin(values.pop("address_origin"))
    return Node(name=NodeName(values.pop("name")), address_origin=origin, **values)


def session_values(session: Session) -> Values:
    """The columns of `session`."""
    return {
        "id": session.id,
        "node": str(session.node),
        "boot_id": session.boot_id,
        "release": session.release,
        "epoch": session.epoch,
        "opened_at_ms": session.opened_at_ms,
        "renewed_at_ms": session.renewed_at_ms,
        "expires_at_ms": session.expires_at_ms,
        "ended_at_ms": session.ended_at_ms,
        "end_reason": session.end_reason,
    }


def session_of(row: AnyRow) -> Session:
    """The session in `row`."""
    values = row._asdict()
    return Session(node=NodeName(values.pop("node")), **values)


def job_values(job: Job) -> Values:
    """The columns of `job` that can change."""
    planning = job.planning
    return {
        "priority": job.priority,
        "bytes_per_second": job.bytes_per_second,
        "tasks_max": job.tasks_max,
        "rank_ms": job.rank_ms,
        "plan_rank_ms": job.plan_rank_ms,
        "start_at_ms": job.start_at_ms,
        "deadline_at_ms": job.deadline_at_ms,
        "postponed": job.postponed,
        "state": str(job.state),
        "to_plan": next_step(job) is not None,
        **{name: getattr(planning, name) for name in _PLANNING},
        "tasks_planned": job.tasks_planned,
        "tasks_succeeded": job.tasks_succeeded,
        "tasks_failed": job.tasks_failed,
        "tasks_cancelled": job.tasks_cancelled,
        **transfer_values(job.ended),
        "attempts": job.attempts,
        **error_values(job.error),
        "plan": None if job.plan is None else job.plan.model_dump(),
        "plan_job_id": job.plan_job_id,
        "started_at_ms": job.started_at_ms,
        "finished_at_ms": job.finished_at_ms,
        "retried_at_ms": job.retried_at_ms,
        "updated_at_ms": job.updated_at_ms,
    }


def new_job_values(job: Job) -> Values:
    """All columns of `job` but its id."""
    return job_values(job) | {
        "kind": str(job.spec.kind),
        "spec": _spec_value(job.spec),
        "src_node": str(job.spec.src_node),
        "dst_node": str(job.spec.dst_node),
        "dry_run": job.spec.dry_run,
        "idempotency_key": job.idempotency_key,
        "fingerprint": job.fingerprint,
        "plan_fingerprint": job.plan_fingerprint,
        "created_at_ms": job.created_at_ms,
    }


def job_of(row: AnyRow) -> Job:
    """The job in `row`."""
    return made(
        Job,
        id=row.id,
        spec=_spec_of(row),
        priority=row.priority,
        bytes_per_second=row.bytes_per_second,
        tasks_max=row.tasks_max,
        rank_ms=row.rank_ms,
        plan_rank_ms=row.plan_rank_ms,
        start_at_ms=row.start_at_ms,
        deadline_at_ms=row.deadline_at_ms,
        postponed=row.postponed,
        state=JobState(row.state),
        planning=Planning(**{name: getattr(row, name) for name in _PLANNING}),
        tasks_planned=row.tasks_planned,
        tasks_succeeded=row.tasks_succeeded,
        tasks_failed=row.tasks_failed,
        tasks_cancelled=row.tasks_cancelled,
        ended=_transfer_of(row),
        attempts=row.attempts,
        error=_error_of(row),
        plan=None if row.plan is None else Plan(**row.plan),
        plan_job_id=row.plan_job_id,
        idempotency_key=row.idempotency_key,
        fingerprint=row.fingerprint,
        plan_fingerprint=row.plan_fingerprint,
        created_at_ms=row.created_at_ms,
        started_at_ms=row.started_at_ms,
        finished_at_ms=row.finished_at_ms,
        retried_at_ms=row.retried_at_ms,
        updated_at_ms=row.updated_at_ms,
    )


def _spec_value(spec: JobSpec) -> Values:
    return {
        "bucket": spec.bucket,
        "object_ids": list(spec.object_ids),
        "prefix": spec.prefix,
        "filter": spec.filter.model_dump(exclude_defaults=True),
        "all_versions": spec.all_versions,
        "move": spec.move,
        "delete": spec.delete,
        "max_deletes": spec.max_deletes,
        "allow_empty_source": spec.allow_empty_source,
        "read_data": spec.read_data,
    }


def _spec_of(row: AnyRow) -> JobSpec:
    said = row.spec
    return JobSpec(
        kind=JobKind(row.kind),
        src_node=NodeName(row.src_node),
        dst_node=NodeName(row.dst_node),
        dry_run=row.dry_run,
        **said | {"object_ids": tuple(said["object_ids"]), "filter": Filter(**said["filter"])},
    )


def task_values(task: Task) -> Values:
    """The columns of `task` that can change."""
    lease = task.lease
    return {
        "priority": task.priority,
        "rank_ms": task.rank_ms,
        "items": task.items,
        "items_failed": task.items_failed,
        "state": str(task.state),
        "stop_asked": task.stop_asked,
        "epoch": task.epoch,
        "attempt": task.attempt,
        "failures": task.failures,
        "parks": task.parks,
        "losses": task.losses,
        "lapsed_boot_id": task.lapsed_boot_id,
        "parked_for": None if task.parked_for is None else str(task.parked_for),
        "parked_since_ms": task.parked_since_ms,
        "lease_session_id": None if lease is None else lease.session_id,
        "lease_boot_id": None if lease is None else lease.boot_id,
        "lease_expires_at_ms": None if lease is None else lease.expires_at_ms,
        "ready_at_ms": task.ready_at_ms,
        "not_before_ms": task.not_before_ms,
        "begun_at_ms": task.begun_at_ms,
        **transfer_values(task.transfer),
        "credit_bytes_transferred": task.credit_bytes_transferred,
        "credit_bytes_saved": task.credit_bytes_saved,
        "earlier_bytes_wire": task.earlier_bytes_wire,
        **error_values(task.error),
        "updated_at_ms": task.updated_at_ms,
    }


def new_task_values(task: Task) -> Values:
    """All columns of `task` but its id."""
    return task_values(task) | {
        "job_id": task.job_id,
        "src_node": str(task.src_node),
        "dst_node": str(task.dst_node),
        "kind": str(task.kind),
        "created_at_ms": task.created_at_ms,
    }


def task_of(row: AnyRow) -> Task:
    """The task in `row`."""
    return made(
        Task,
        id=row.id,
        job_id=row.job_id,
        src_node=NodeName(row.src_node),
        dst_node=NodeName(row.dst_node),
        kind=_KINDS[row.kind],
        priority=row.priority,
        rank_ms=row.rank_ms,
        items=row.items,
        items_failed=row.items_failed,
        state=_STATES[row.state],
        stop_asked=row.stop_asked,
        epoch=row.epoch,
        attempt=row.attempt,
        failures=row.failures,
        parks=row.parks,
        losses=row.losses,
        lapsed_boot_id=row.lapsed_boot_id,
        parked_for=None if row.parked_for is None else NodeName(row.parked_for),
        parked_since_ms=row.parked_since_ms,
        lease=_lease_of(row),
        ready_at_ms=row.ready_at_ms,
        not_before_ms=row.not_before_ms,
        begun_at_ms=row.begun_at_ms,
        transfer=_transfer_of(row),
        credit_bytes_transferred=row.credit_bytes_transferred,
        credit_bytes_saved=row.credit_bytes_saved,
        earlier_bytes_wire=row.earlier_bytes_wire,
        error=_error_of(row),
        created_at_ms=row.created_at_ms,
        updated_at_ms=row.updated_at_ms,
    )


def attempt_of(row: AnyRow) -> Attempt:
    """The attempt in `row`."""
    return Attempt(
        task_id=row.task_id,
        epoch=row.epoch,
        attempt=row.attempt,
        session_id=row.session_id,
        boot_id=row.boot_id,
        begun_at_ms=row.begun_at_ms,
        ended_at_ms=row.ended_at_ms,
        outcome=row.outcome,
        error=_error_of(row),
        transfer=_transfer_of(row),
    )


def object_values(row: ObjectRow) -> Values:
    """The columns of an object."""
    return {
        "job_id": row.job_id,
        "id": row.id,
        "bucket": row.bucket,
        "object_id": row.object_id,
        "action": str(row.action),
        "finding": row.finding,
        **object_changes(row),
    }


def object_changes(row: ObjectRow) -> Values:
    """The columns of an object that can change."""
    return {
        "task_id": row.task_id,
        "version": row.version,
        "manifest": row.manifest,
        "size": row.size,
        "outcome": str(row.outcome),
        "bytes_transferred": row.bytes_transferred,
        "bytes_deduplicated": row.bytes_deduplicated,
        "bytes_saved": row.bytes_saved,
        "attempts": row.attempts,
        **error_values(row.error),
    }


def object_of(row: AnyRow) -> ObjectRow:
    """The object in `row`."""
    return made(
        ObjectRow,
        id=row.id,
        job_id=row.job_id,
        task_id=row.task_id,
        bucket=row.bucket,
        object_id=row.object_id,
        version=row.version,
        manifest=row.manifest,
        size=row.size,
        action=_ACTIONS[row.action],
        finding=row.finding,
        outcome=_OUTCOMES[row.outcome],
        bytes_transferred=row.bytes_transferred,
        bytes_deduplicated=row.bytes_deduplicated,
        bytes_saved=row.bytes_saved,
        attempts=row.attempts,
        error=_error_of(row),
    )


def error_values(error: ErrorInfo | None) -> Values:
    """The columns of an error, if there is one."""
    return {
        "error_class": None if error is None else error.error_class,
        "error_code": None if error is None else error.code,
        "error_message": None if error is None else error.message,
    }


def _error_of(row: AnyRow) -> ErrorInfo | None:
    if row.error_class is None:
        return None
    return ErrorInfo(error_class=row.error_class, code=row.error_code, message=row.error_message)


def _lease_of(row: AnyRow) -> Lease | None:
    if row.lease_session_id is None:
        return None
    return Lease(
        session_id=row.lease_session_id,
        boot_id=row.lease_boot_id,
        expires_at_ms=row.lease_expires_at_ms,
    )


def transfer_values(transfer: Transfer) -> Values:
    """The columns of what was done."""
    return transfer._asdict()


def _transfer_of(row: AnyRow) -> Transfer:
    return Transfer._make(_TRANSFER(row))


_Part = Callable[[Any], Values]


def _changes(*, but: set[str], parts: Mapping[str, _Part]) -> Callable[[Any, Any], Values]:
    """What differs between two values of a row, dataclasses without slots, as columns.

    Args:
        but: fields that never change.
        parts: the columns of those fields that are not a column as they are.
    """

    def changes(before: Any, after: Any) -> Values:
        was = vars(before)
        found = {
            name: value
            for name, value in vars(after).items()
            if value is not was[name] and value != was[name] and name not in but
        }
        for name, part in parts.items():
            if name in found:
                found.update(part(found.pop(name)))
        return found

    return changes


def _text(name: str) -> _Part:
    return lambda value: {name: None if value is None else str(value)}


def _lease_values(lease: Lease | None) -> Values:
    return {
        "lease_session_id": None if lease is None else lease.session_id,
        "lease_boot_id": None if lease is None else lease.boot_id,
        "lease_expires_at_ms": None if lease is None else lease.expires_at_ms,
    }


def _planning_values(planning: Planning) -> Values:
    return {name: getattr(planning, name) for name in _PLANNING}


_plain_job_changes = _changes(
    but={
        "id",
        "spec",
        "idempotency_key",
        "fingerprint",
        "plan_fingerprint",
        "created_at_ms",
    },
    parts={
        "state": _text("state"),
        "planning": _planning_values,
        "ended": transfer_values,
        "error": error_values,
        "plan": lambda plan: {"plan": None if plan is None else plan.model_dump()},
    },
)


def _job_changes(before: Job, after: Job) -> Values:
    changes = _plain_job_changes(before, after)
    to_plan = next_step(after) is not None
    return changes if to_plan is (next_step(before) is not None) else changes | {"to_plan": to_plan}


NODE = Shape(
    table=schema.nodes,
    key=("name",),
    values=node_values,
    changes=_changes(
        but={"name"},
        parts={
            "address_origin": _text("address_origin"),
            "labels": lambda labels: {"labels": dict(labels)},
        },
    ),
    inserts=True,
)
SESSION = Shape(
    table=schema.sessions,
    key=("id",),
    values=session_values,
    changes=_changes(but={"id", "node"}, parts={}),
    inserts=True,
)
JOB = Shape(table=schema.jobs, key=("id",), values=job_values, changes=_job_changes, new=new_job_values)
TASK = Shape(
    table=schema.tasks,
    key=("id",),
    values=task_values,
    changes=_changes(
        but={"id", "job_id", "src_node", "dst_node", "kind", "created_at_ms"},
        parts={
            "state": _text("state"),
            "parked_for": _text("parked_for"),
            "lease": _lease_values,
            "transfer": transfer_values,
            "error": error_values,
        },
    ),
    new=new_task_values,
)
OBJECT = Shape(
    table=schema.job_objects,
    key=("job_id", "id"),
    values=object_changes,
    changes=_changes(
        but={"id", "job_id", "bucket", "object_id", "action", "finding"},
        parts={"outcome": _text("outcome"), "error": error_values},
    ),
)
register(
    schema.nodes,
    schema.sessions,
    schema.jobs,
    schema.tasks,
    schema.attempts,
    schema.job_objects,
    schema.job_events,
)
