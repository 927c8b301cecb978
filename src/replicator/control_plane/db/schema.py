"""The tables. Migrations build them; a test holds the two against each other.

Times are database time in milliseconds since the Unix epoch. What is scanned often has a partial index that
holds nothing else, so a scan reads what it returns: backed-off tasks, for one, are not among the ready.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.domain.job import LIVE, JobState
from replicator.control_plane.domain.node import AddressOrigin
from replicator.control_plane.domain.object_row import Action, Outcome
from replicator.control_plane.domain.spec import JobKind
from replicator.control_plane.domain.task import TERMINAL, TaskKind, TaskState

metadata = sa.MetaData()

# SQLite gives out row ids only for columns of exactly the type INTEGER.
_BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Ordered by bytes everywhere, as names are; what else a database might sort by is its own affair.
_Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TASK_STATES_LIVE = tuple(state for state in TaskState if state not in TERMINAL)
JOB_STATES_LIVE = tuple(state for state in JobState if state in LIVE)


def is_state(column: sa.ColumnElement[str], *states: StrEnum) -> sa.ColumnElement[bool]:
    """A condition written with literals: partial indexes are not considered for bound values."""
    literals = [sa.literal(str(state), sa.Text(), literal_execute=True) for state in states]
    return column == literals[0] if len(literals) == 1 else column.in_(literals)


def _in(column: str, states: type[StrEnum] | tuple[StrEnum, ...]) -> str:
    return f"{column} IN ({', '.join(repr(str(state)) for state in states)})"


def _transfer() -> list[sa.Column[int]]:
    names = (
        "objects_planned",
        "objects_verified",
        "objects_skipped",
        "objects_failed",
        "bytes_logical",
        "bytes_transferred",
        "bytes_deduplicated",
        "bytes_saved",
        "bytes_wire",
        "objects_deleted",
    )
    return _required(*names)


def _required(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, _BigInt, nullable=False) for name in names]


def _error() -> list[sa.Column[str]]:
    return [sa.Column(name, _Text) for name in ("error_class", "error_code", "error_message")]


# One row, written by the migration that makes the table: see `Unit.control_plane`.
# Where an earlier release kept all jobs, what ended before `history_from_ms` is as if it had ended then.
control_plane = sa.Table(
    "control_plane",
    metadata,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("history_from_ms", _BigInt),
)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("name", _Text, primary_key=True),
    sa.Column("base_url", _Text, nullable=False),
    sa.Column("address_origin", _Text, nullable=False),
    sa.Column("rpc_url", _Text),
    sa.Column("session_id", _Text),
    sa.Column("session_epoch", _BigInt, nullable=False),
    sa.Column("seen_at_ms", _BigInt),
    sa.Column("disconnected_at_ms", _BigInt),
    sa.Column("problem", _Text),
    sa.Column("join_tries", sa.Integer, nullable=False),
    sa.Column("join_at_ms", _BigInt),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("labels_by_operator", sa.Boolean, nullable=False),
    sa.Column("zone", _Text),
    sa.Column("zone_by_operator", sa.Boolean, nullable=False),
    sa.Column("maintenance", sa.Boolean, nullable=False),
    # As the node last reported them.
    sa.Column("bytes_total", _BigInt),
    sa.Column("bytes_free", _BigInt),
    sa.Column("registered_at_ms", _BigInt, nullable=False),
    sa.Column("updated_at_ms", _BigInt, nullable=False),
    sa.CheckConstraint(_in("address_origin", AddressOrigin), name="nodes_address_origin"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", _Text, primary_key=True),
    sa.Column("node", _Text, sa.ForeignKey("nodes.name", ondelete="CASCADE"), nullable=False),
    sa.Column("boot_id", _Text, nullable=False),
    sa.Column("release", _Text, nullable=False),
    sa.Column("epoch", _BigInt, nullable=False),
    sa.Column("opened_at_ms", _BigInt, nullable=False),
    sa.Column("renewed_at_ms", _BigInt, nullable=False),
    sa.Column("expires_at_ms", _BigInt, nullable=False),
    sa.Column("ended_at_ms", _BigInt),
    sa.Column("end_reason", _Text),
)


def _job_columns() -> list[sa.Column[Any]]:
    """All but the id."""
    return [
        sa.Column("kind", _Text, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("src_node", _Text, nullable=False),
        sa.Column("dst_node", _Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("bytes_per_second", _BigInt),
        sa.Column("tasks_max", sa.Integer),
        # See `domain.fairness`.
        *_required("rank_ms", "plan_rank_ms"),
        sa.Column("start_at_ms", _BigInt),
        sa.Column("deadline_at_ms", _BigInt),
        sa.Column("state", _Text, nullable=False),
        # Whether there is planning to do: what `domain.steps` says of the rest of the row.
        sa.Column("to_plan", sa.Boolean, nullable=False),
        sa.Column("postponed", sa.Boolean, nullable=False),
        sa.Column("cursor", _Text),
        sa.Column("surveyed", sa.Boolean, nullable=False),
        sa.Column("survey_live", sa.Boolean, nullable=False),
        sa.Column("survey_failed", sa.Boolean, nullable=False),
        *_required("compared", "rows_found", "transfers_waiting", "deletes_waiting", "deletes_found"),
        *_required("reopened_row", "reopen_until"),
        sa.Column("source_root", _Text),
        sa.Column("destination_root", _Text),
        *_required("tasks_planned", "tasks_succeeded", "tasks_failed", "tasks_cancelled"),
        *_transfer(),
        *_required("attempts"),
        *_error(),
        sa.Column("plan", sa.JSON(none_as_null=True)),
        sa.Column("plan_job_id", _BigInt),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("idempotency_key", _Text),
        sa.Column("fingerprint", _Text, nullable=False),
        sa.Column("plan_fingerprint", _Text, nullable=False),
        sa.Column("created_at_ms", _BigInt, nullable=False),
        sa.Column("started_at_ms", _BigInt),
        sa.Column("finished_at_ms", _BigInt),
        sa.Column("retried_at_ms", _BigInt),
        sa.Column("updated_at_ms", _BigInt, nullable=False),
    ]


jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", _BigInt, primary_key=True, autoincrement=True),
    *_job_columns(),
    sa.CheckConstraint(_in("state", JobState), name="jobs_state"),
    sa.CheckConstraint(_in("kind", JobKind), name="jobs_kind"),
    sqlite_autoincrement=True,
)


def _task_columns() -> list[sa.Column[Any]]:
    """All but the id and the job."""
    return [
        sa.Column("src_node", _Text, nullable=False),
        sa.Column("dst_node", _Text, nullable=False),
        sa.Column("kind", _Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        *_required("rank_ms"),
        sa.Column("items", sa.Integer, nullable=False),
        sa.Column("items_failed", sa.Integer, nullable=False),
        sa.Column("state", _Text, nullable=False),
        sa.Column("stop_asked", sa.Boolean, nullable=False),
        *_required("epoch", "attempt"),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("parks", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("lapsed_boot_id", _Text),
        sa.Column("parked_for", _Text),
        sa.Column("parked_since_ms", _BigInt),
        sa.Column("lease_session_id", _Text),
        sa.Column("lease_boot_id", _Text),
        sa.Column("lease_expires_at_ms", _BigInt),
        sa.Column("ready_at_ms", _BigInt, nullable=False),
        sa.Column("not_before_ms", _BigInt),
        sa.Column("begun_at_ms", _BigInt),
        *_transfer(),
        *_required("credit_bytes_transferred", "credit_bytes_saved", "earlier_bytes_wire"),
        *_error(),
        sa.Column("created_at_ms", _BigInt, nullable=False),
        sa.Column("updated_at_ms", _BigInt, nullable=False),
    ]


tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", _BigInt, primary_key=True, autoincrement=True),
    sa.Column("job_id", _BigInt, sa.ForeignKey("jobs.id"), nullable=False),
    *_task_columns(),
    sa.CheckConstraint(_in("state", TaskState), name="tasks_state"),
    sa.CheckConstraint(_in("kind", TaskKind), name="tasks_kind"),
    sa.CheckConstraint(
        "(state IN ('leased', 'cancelling')) = (lease_session_id IS NOT NULL)", name="tasks_lease"
    ),
    sqlite_autoincrement=True,
)


def _attempt_columns() -> list[sa.Column[Any]]:
    """All but what names it."""
    return [
        sa.Column("attempt", _BigInt, nullable=False),
        sa.Column("session_id", _Text, nullable=False),
        sa.Column("boot_id", _Text, nullable=False),
        sa.Column("begun_at_ms", _BigInt, nullable=False),
        sa.Column("ended_at_ms", _BigInt),
        sa.Column("outcome", _Text),
        *_error(),
        *_transfer(),
    ]


attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("task_id", _BigInt, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("epoch", _BigInt, primary_key=True),
    *_attempt_columns(),
    sa.CheckConstraint("outcome IN ('succeeded', 'failed', 'cancelled', 'lost')", name="attempts_outcome"),
    sqlite_with_rowid=False,
)

# Clustered by job: a page of a job's objects is one range. They outlive the move of their job to history, and go
# when that is pruned, so they refer to no table.
job_objects = sa.Table(
    "job_objects",
    metadata,
    sa.Column("job_id", _BigInt, primary_key=True, autoincrement=False),
    sa.Column("id", _BigInt, primary_key=True, autoincrement=False),
    sa.Column("task_id", _BigInt),
    sa.Column("bucket", _Text, nullable=False),
    sa.Column("object_id", _Text, nullable=False),
    sa.Column("version", _Text),
    sa.Column("manifest", _Text),
    sa.Column("size", _BigInt),
    sa.Column("action", _Text, nullable=False),
    sa.Column("finding", _Text),
    sa.Column("outcome", _Text, nullable=False),
    *_required("bytes_transferred", "bytes_deduplicated", "bytes_saved", "attempts"),
    *_error(),
    sa.CheckConstraint(_in("action", Action), name="job_objects_action"),
    sa.CheckConstraint(_in("outcome", Outcome), name="job_objects_outcome"),
    sqlite_with_rowid=False,
)

job_events = sa.Table(
    "job_events",
    metadata,
    sa.Column("job_id", _BigInt, primary_key=True, autoincrement=False),
    sa.Column("id", _BigInt, primary_key=True, autoincrement=False),
    sa.Column("at_ms", _BigInt, nullable=False),
    sa.Column("name", _Text, nullable=False),
    sa.Column("fields", sa.JSON, nullable=False),
    sqlite_with_rowid=False,
)

node_limits = sa.Table(
    "node_limits",
    metadata,
    sa.Column("node", _Text, sa.ForeignKey("nodes.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("ingress_bytes_per_s", _BigInt),
    sa.Column("egress_bytes_per_s", _BigInt),
    sa.Column("tasks_max", sa.Integer),
    sa.Column("serves_max", sa.Integer),
)

links = sa.Table(
    "links",
    metadata,
    sa.Column("src_node", _Text, sa.ForeignKey("nodes.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("dst_node", _Text, sa.ForeignKey("nodes.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("bytes_per_s", _BigInt),
    sa.Column("tasks_max", sa.Integer),
)

# Jobs that ended a while ago, with their tasks and attempts: what the living never look at.
job_history = sa.Table(
    "job_history",
    metadata,
    sa.Column("id", _BigInt, primary_key=True, autoincrement=False),
    *_job_columns(),
)

task_history = sa.Table(
    "task_history",
    metadata,
    sa.Column("id", _BigInt, primary_key=True, autoincrement=False),
    sa.Column("job_id", _BigInt, nullable=False),
    *_task_columns(),
)

attempt_history = sa.Table(
    "attempt_history",
    metadata,
    sa.Column("task_id", _BigInt, primary_key=True, autoincrement=False),
    sa.Column("epoch", _BigInt, primary_key=True, autoincrement=False),
    *_attempt_columns(),
    sqlite_with_rowid=False,
)

# Who may do what only one replica may do, and until when.
duties = sa.Table(
    "duties",
    metadata,
    sa.Column("name", _Text, primary_key=True),
    sa.Column("holder", _Text, nullable=False),
    *_required("term", "acquired_at_ms", "expires_at_ms"),
)

# The last batch of each writer: whether a COMMIT took effect whose answer was lost.
writers = sa.Table(
    "writers",
    metadata,
    sa.Column("id", _Text, primary_key=True),
    *_required("batch", "at_ms"),
)

# What happened that waiting polls of other replicas should know.
wakes = sa.Table(
    "wakes",
    metadata,
    sa.Column("id", _BigInt, primary_key=True, autoincrement=True),
    sa.Column("topic", _Text, nullable=False),
    sa.Column("writer", _Text, nullable=False),
    *_required("at_ms"),
    sqlite_autoincrement=True,
)


def _partial(name: str, *columns: sa.ColumnElement[Any], where: str) -> sa.Index:
    condition = sa.text(where)
    return sa.Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


_partial("nodes_to_join", nodes.c.join_at_ms, where="join_at_ms IS NOT NULL")
_partial("nodes_disconnected", nodes.c.name, where="session_id IS NULL")
_partial("nodes_connected", nodes.c.name, where="session_id IS NOT NULL")
sa.Index("sessions_by_node", sessions.c.node)
_partial("sessions_open", sessions.c.expires_at_ms, where="ended_at_ms IS NULL")

sa.Index("jobs_by_state", jobs.c.state, jobs.c.id)
sa.Index("jobs_by_idempotency_key", jobs.c.idempotency_key, unique=True)
_partial("jobs_live_by_source", jobs.c.src_node, jobs.c.id, where=_in("state", JOB_STATES_LIVE))
_partial("jobs_live_by_destination", jobs.c.dst_node, jobs.c.id, where=_in("state", JOB_STATES_LIVE))

_partial("jobs_to_plan", jobs.c.plan_rank_ms, jobs.c.id, where="to_plan")
_partial("jobs_postponed", jobs.c.start_at_ms, where="postponed")
_partial(
    "jobs_deadline",
    jobs.c.deadline_at_ms,
    where="deadline_at_ms IS NOT NULL AND finished_at_ms IS NULL",
)
_partial("jobs_ended", jobs.c.finished_at_ms, where="finished_at_ms IS NOT NULL")
_partial("jobs_dry_runs", jobs.c.plan_fingerprint, jobs.c.id, where="dry_run AND state = 'succeeded'")
_partial(
    "jobs_limited",
    jobs.c.dst_node,
    jobs.c.id,
    where=f"bytes_per_second IS NOT NULL AND {_in('state', JOB_STATES_LIVE)}",
)

_partial("tasks_live_by_job", tasks.c.job_id, tasks.c.state, where=_in("state", TASK_STATES_LIVE))
sa.Index("tasks_by_job", tasks.c.job_id, tasks.c.id)
_partial("tasks_ready", tasks.c.dst_node, tasks.c.rank_ms, tasks.c.id, where="state = 'ready'")
_partial(
    "tasks_ready_by_link",
    tasks.c.dst_node,
    tasks.c.src_node,
    tasks.c.rank_ms,
    tasks.c.id,
    where="state = 'ready'",
)
_partial("tasks_failed", tasks.c.id, where="state = 'failed'")
_partial("tasks_ready_since", tasks.c.dst_node, tasks.c.ready_at_ms, tasks.c.id, where="state = 'ready'")
_partial("tasks_scheduled", tasks.c.not_before_ms, where="state = 'scheduled'")
_partial("tasks_parked", tasks.c.parked_for, where="state = 'scheduled' AND parked_for IS NOT NULL")
_partial("tasks_in_hand", tasks.c.dst_node, where="lease_session_id IS NOT NULL")
_partial("tasks_in_hand_of_source", tasks.c.src_node, where="lease_session_id IS NOT NULL")
_partial("tasks_lease_end", tasks.c.lease_expires_at_ms, where="lease_session_id IS NOT NULL")

_partial("job_objects_of_task", job_objects.c.task_id, where="outcome = 'pending' AND task_id IS NOT NULL")
_partial(
    "job_objects_unassigned",
    job_objects.c.job_id,
    job_objects.c.outcome,
    job_objects.c.action,
    job_objects.c.id,
    where="outcome = 'pending' AND task_id IS NULL",
)
sa.Index("job_objects_by_outcome", job_objects.c.job_id, job_objects.c.outcome, job_objects.c.id)
_partial(
    "job_objects_holders",
    job_objects.c.manifest,
    where="outcome IN ('verified', 'skipped') AND manifest IS NOT NULL",
)

sa.Index("links_by_destination", links.c.dst_node, links.c.src_node)

sa.Index("job_history_by_state", job_history.c.state, job_history.c.id)
sa.Index("job_history_by_idempotency_key", job_history.c.idempotency_key, unique=True)
sa.Index("job_history_by_end", job_history.c.finished_at_ms)
sa.Index("task_history_by_job", task_history.c.job_id, task_history.c.id)
