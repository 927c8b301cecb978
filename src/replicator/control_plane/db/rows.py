"""Domain values as rows, and back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from replicator.control_plane.domain.job import Job, JobState, MigrateSpec
from replicator.control_plane.domain.lease import Lease, Session
from replicator.control_plane.domain.node import AddressOrigin, Node
from replicator.control_plane.domain.task import Task, TaskState
from replicator.kernel.names import NodeName, ObjectId
from replicator.wire.sessions import ErrorInfo, Transfer

Values = dict[str, Any]
AnyRow = Row[Any]


def node_values(node: Node) -> Values:
    """The columns of `node`."""
    return {
        "name": str(node.name),
        "base_url": node.base_url,
        "address_origin": str(node.address_origin),
        "session_id": node.session_id,
        "session_epoch": node.session_epoch,
        "seen_at_ms": node.seen_at_ms,
        "disconnected_at_ms": node.disconnected_at_ms,
        "problem": node.problem,
        "join_tries": node.join_tries,
        "join_at_ms": node.join_at_ms,
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
    return {
        "state": str(job.state),
        "cursor": job.cursor,
        "tasks_planned": job.tasks_planned,
        "tasks_succeeded": job.tasks_succeeded,
        "tasks_failed": job.tasks_failed,
        "tasks_cancelled": job.tasks_cancelled,
        **job.ended.model_dump(),
        "attempts": job.attempts,
        **error_values(job.error),
        "started_at_ms": job.started_at_ms,
        "finished_at_ms": job.finished_at_ms,
        "updated_at_ms": job.updated_at_ms,
    }


def spec_value(spec: MigrateSpec) -> dict[str, str]:
    """What a migration is of, as JSON and as columns of a task."""
    return {
        "src_node": str(spec.src_node),
        "dst_node": str(spec.dst_node),
        "object_id": str(spec.object_id),
    }


def job_of(row: AnyRow) -> Job:
    """The job in `row`."""
    return Job(
        id=row.id,
        spec=MigrateSpec(
            src_node=NodeName(row.spec["src_node"]),
            dst_node=NodeName(row.spec["dst_node"]),
            object_id=ObjectId(row.spec["object_id"]),
        ),
        state=JobState(row.state),
        cursor=row.cursor,
        tasks_planned=row.tasks_planned,
        tasks_succeeded=row.tasks_succeeded,
        tasks_failed=row.tasks_failed,
        tasks_cancelled=row.tasks_cancelled,
        ended=_transfer_of(row),
        attempts=row.attempts,
        error=_error_of(row),
        idempotency_key=row.idempotency_key,
        fingerprint=row.fingerprint,
        created_at_ms=row.created_at_ms,
        started_at_ms=row.started_at_ms,
        finished_at_ms=row.finished_at_ms,
        updated_at_ms=row.updated_at_ms,
    )


def task_values(task: Task) -> Values:
    """The columns of `task` that can change."""
    lease = task.lease
    return {
        "state": str(task.state),
        "epoch": task.epoch,
        "attempt": task.attempt,
        "failures": task.failures,
        "parks": task.parks,
        "parked_for": None if task.parked_for is None else str(task.parked_for),
        "parked_since_ms": task.parked_since_ms,
        "lease_session_id": None if lease is None else lease.session_id,
        "lease_boot_id": None if lease is None else lease.boot_id,
        "lease_expires_at_ms": None if lease is None else lease.expires_at_ms,
        "ready_at_ms": task.ready_at_ms,
        "not_before_ms": task.not_before_ms,
        "begun_at_ms": task.begun_at_ms,
        **task.transfer.model_dump(),
        "earlier_bytes_transferred": task.earlier_bytes_transferred,
        "earlier_bytes_wire": task.earlier_bytes_wire,
        **error_values(task.error),
        "version": task.version,
        "manifest": task.manifest,
        "updated_at_ms": task.updated_at_ms,
    }


def task_of(row: AnyRow) -> Task:
    """The task in `row`."""
    return Task(
        id=row.id,
        job_id=row.job_id,
        src_node=NodeName(row.src_node),
        dst_node=NodeName(row.dst_node),
        object_id=ObjectId(row.object_id),
        state=TaskState(row.state),
        epoch=row.epoch,
        attempt=row.attempt,
        failures=row.failures,
        parks=row.parks,
        parked_for=None if row.parked_for is None else NodeName(row.parked_for),
        parked_since_ms=row.parked_since_ms,
        lease=_lease_of(row),
        ready_at_ms=row.ready_at_ms,
        not_before_ms=row.not_before_ms,
        begun_at_ms=row.begun_at_ms,
        transfer=_transfer_of(row),
        earlier_bytes_transferred=row.earlier_bytes_transferred,
        earlier_bytes_wire=row.earlier_bytes_wire,
        error=_error_of(row),
        version=row.version,
        manifest=row.manifest,
        created_at_ms=row.created_at_ms,
        updated_at_ms=row.updated_at_ms,
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


def _transfer_of(row: AnyRow) -> Transfer:
    return Transfer(**{name: getattr(row, name) for name in Transfer.model_fields})
