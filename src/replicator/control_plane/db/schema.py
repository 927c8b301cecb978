"""The tables. Migrations build them; a test holds the two against each other.

Times are database time in milliseconds since the Unix epoch. What is scanned often has a partial index that
holds nothing else, so a scan reads what it returns: backed-off tasks, for one, are not among the ready.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa

from replicator.control_plane.domain.job import LIVE, JobState
from replicator.control_plane.domain.node import AddressOrigin
from replicator.control_plane.domain.task import TERMINAL, TaskState

metadata = sa.MetaData()

# SQLite gives out row ids only for columns of exactly the type INTEGER.
_BigInt = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
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
        "bytes_wire",
    )
    return [sa.Column(name, _BigInt, nullable=False) for name in names]


def _error() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text) for name in ("error_class", "error_code", "error_message")]


# One row, written by the migration that makes the table: see `Unit.control_plane`.
control_plane = sa.Table("control_plane", metadata, sa.Column("id", sa.Text, primary_key=True))

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("base_url", sa.Text, nullable=False),
    sa.Column("address_origin", sa.Text, nullable=False),
    sa.Column("session_id", sa.Text),
    sa.Column("session_epoch", _BigInt, nullable=False),
    sa.Column("seen_at_ms", _BigInt),
    sa.Column("disconnected_at_ms", _BigInt),
    sa.Column("problem", sa.Text),
    sa.Column("join_tries", sa.Integer, nullable=False),
    sa.Column("join_at_ms", _BigInt),
    sa.Column("registered_at_ms", _BigInt, nullable=False),
    sa.Column("updated_at_ms", _BigInt, nullable=False),
    sa.CheckConstraint(_in("address_origin", AddressOrigin), name="nodes_address_origin"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, sa.ForeignKey("nodes.name", ondelete="CASCADE"), nullable=False),
    sa.Column("boot_id", sa.Text, nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("epoch", _BigInt, nullable=False),
    sa.Column("opened_at_ms", _BigInt, nullable=False),
    sa.Column("renewed_at_ms", _BigInt, nullable=False),
    sa.Column("expires_at_ms", _BigInt, nullable=False),
    sa.Column("ended_at_ms", _BigInt),
    sa.Column("end_reason", sa.Text),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", _BigInt, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("src_node", sa.Text, nullable=False),
    sa.Column("dst_node", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("cursor", sa.Text),
    sa.Column("tasks_planned", _BigInt, nullable=False),
    sa.Column("tasks_succeeded", _BigInt, nullable=False),
    sa.Column("tasks_failed", _BigInt, nullable=False),
    sa.Column("tasks_cancelled", _BigInt, nullable=False),
    *_transfer(),
    sa.Column("attempts", _BigInt, nullable=False),
    *_error(),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("created_at_ms", _BigInt, nullable=False),
    sa.Column("started_at_ms", _BigInt),
    sa.Column("finished_at_ms", _BigInt),
    sa.Column("updated_at_ms", _BigInt, nullable=False),
    sa.CheckConstraint(_in("state", JobState), name="jobs_state"),
    sqlite_autoincrement=True,
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", _BigInt, primary_key=True, autoincrement=True),
    sa.Column("job_id", _BigInt, sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("src_node", sa.Text, nullable=False),
    sa.Column("dst_node", sa.Text, nullable=False),
    sa.Column("object_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("epoch", _BigInt, nullable=False),
    sa.Column("attempt", _BigInt, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("parks", sa.Integer, nullable=False),
    sa.Column("parked_for", sa.Text),
    sa.Column("parked_since_ms", _BigInt),
    sa.Column("lease_session_id", sa.Text),
    sa.Column("lease_boot_id", sa.Text),
    sa.Column("lease_expires_at_ms", _BigInt),
    sa.Column("ready_at_ms", _BigInt, nullable=False),
    sa.Column("not_before_ms", _BigInt),
    sa.Column("begun_at_ms", _BigInt),
    *_transfer(),
    sa.Column("earlier_bytes_transferred", _BigInt, nullable=False),
    sa.Column("earlier_bytes_wire", _BigInt, nullable=False),
    *_error(),
    sa.Column("version", sa.Text),
    sa.Column("manifest", sa.Text),
    sa.Column("created_at_ms", _BigInt, nullable=False),
    sa.Column("updated_at_ms", _BigInt, nullable=False),
    sa.CheckConstraint(_in("state", TaskState), name="tasks_state"),
    sa.CheckConstraint(
        "(state IN ('leased', 'cancelling')) = (lease_session_id IS NOT NULL)", name="tasks_lease"
    ),
    sqlite_autoincrement=True,
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("task_id", _BigInt, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("epoch", _BigInt, primary_key=True),
    sa.Column("attempt", _BigInt, nullable=False),
    sa.Column("session_id", sa.Text, nullable=False),
    sa.Column("boot_id", sa.Text, nullable=False),
    sa.Column("begun_at_ms", _BigInt, nullable=False),
    sa.Column("ended_at_ms", _BigInt),
    sa.Column("outcome", sa.Text),
    *_error(),
    *_transfer(),
    sa.CheckConstraint("outcome IN ('succeeded', 'failed', 'cancelled', 'lost')", name="attempts_outcome"),
    sqlite_with_rowid=False,
)


def _partial(name: str, *columns: sa.Column[str] | sa.Column[int], where: str) -> sa.Index:
    condition = sa.text(where)
    return sa.Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


_partial("nodes_to_join", nodes.c.join_at_ms, where="join_at_ms IS NOT NULL")
_partial("nodes_disconnected", nodes.c.name, where="session_id IS NULL")
sa.Index("sessions_by_node", sessions.c.node)
_partial("sessions_open", sessions.c.expires_at_ms, where="ended_at_ms IS NULL")

sa.Index("jobs_by_state", jobs.c.state, jobs.c.id)
sa.Index("jobs_by_idempotency_key", jobs.c.idempotency_key, unique=True)
_partial("jobs_live_by_source", jobs.c.src_node, jobs.c.id, where=_in("state", JOB_STATES_LIVE))
_partial("jobs_live_by_destination", jobs.c.dst_node, jobs.c.id, where=_in("state", JOB_STATES_LIVE))

_partial("tasks_live_by_job", tasks.c.job_id, tasks.c.state, where=_in("state", TASK_STATES_LIVE))
_partial("tasks_ready", tasks.c.dst_node, tasks.c.ready_at_ms, tasks.c.id, where="state = 'ready'")
_partial("tasks_scheduled", tasks.c.not_before_ms, where="state = 'scheduled'")
_partial("tasks_parked", tasks.c.parked_for, where="state = 'scheduled' AND parked_for IS NOT NULL")
_partial("tasks_in_hand", tasks.c.dst_node, where="lease_session_id IS NOT NULL")
_partial("tasks_lease_end", tasks.c.lease_expires_at_ms, where="lease_session_id IS NOT NULL")
