"""The first tables: the control plane's identity, nodes, sessions, jobs, tasks, attempts."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TASK_LIVE = "state IN ('ready', 'leased', 'scheduled', 'held', 'cancelling')"
_JOB_LIVE = "state IN ('queued', 'planning', 'running', 'paused', 'cancelling')"


def upgrade() -> None:
    """Make them."""
    _create_identity()
    _create_nodes()
    _create_sessions()
    _create_jobs()
    _create_tasks()
    _create_attempts()
    _create_indexes()


def _required(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, _BIG_INT, nullable=False) for name in names]


def _transfer() -> list[sa.Column[int]]:
    return _required(
        "objects_planned",
        "objects_verified",
        "objects_skipped",
        "objects_failed",
        "bytes_logical",
        "bytes_transferred",
        "bytes_deduplicated",
        "bytes_wire",
    )


def _error() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text) for name in ("error_class", "error_code", "error_message")]


def _create_identity() -> None:
    table = op.create_table("control_plane", sa.Column("id", sa.Text, primary_key=True))
    op.bulk_insert(table, [{"id": secrets.token_hex(16)}])


def _create_nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("address_origin", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text),
        *_required("session_epoch"),
        sa.Column("seen_at_ms", _BIG_INT),
        sa.Column("disconnected_at_ms", _BIG_INT),
        sa.Column("problem", sa.Text),
        sa.Column("join_tries", sa.Integer, nullable=False),
        sa.Column("join_at_ms", _BIG_INT),
        *_required("registered_at_ms", "updated_at_ms"),
        sa.CheckConstraint("address_origin IN ('operator', 'node')", name="nodes_address_origin"),
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("node", sa.Text, sa.ForeignKey("nodes.name", ondelete="CASCADE"), nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        *_required("epoch", "opened_at_ms", "renewed_at_ms", "expires_at_ms"),
        sa.Column("ended_at_ms", _BIG_INT),
        sa.Column("end_reason", sa.Text),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("src_node", sa.Text, nullable=False),
        sa.Column("dst_node", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("cursor", sa.Text),
        *_required("tasks_planned", "tasks_succeeded", "tasks_failed", "tasks_cancelled"),
        *_transfer(),
        *_required("attempts"),
        *_error(),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("fingerprint", sa.Text, nullable=False),
        *_required("created_at_ms"),
        sa.Column("started_at_ms", _BIG_INT),
        sa.Column("finished_at_ms", _BIG_INT),
        *_required("updated_at_ms"),
        sa.CheckConstraint(
            "state IN ('queued', 'planning', 'running', 'paused', 'succeeded', 'partial', 'failed', "
            "'cancelling', 'cancelled')",
            name="jobs_state",
        ),
        sqlite_autoincrement=True,
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=True),
        sa.Column("job_id", _BIG_INT, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("src_node", sa.Text, nullable=False),
        sa.Column("dst_node", sa.Text, nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        *_required("epoch", "attempt"),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("parks", sa.Integer, nullable=False),
        sa.Column("parked_for", sa.Text),
        sa.Column("parked_since_ms", _BIG_INT),
        sa.Column("lease_session_id", sa.Text),
        sa.Column("lease_boot_id", sa.Text),
        sa.Column("lease_expires_at_ms", _BIG_INT),
        *_required("ready_at_ms"),
        sa.Column("not_before_ms", _BIG_INT),
        sa.Column("begun_at_ms", _BIG_INT),
        *_transfer(),
        *_required("earlier_bytes_transferred", "earlier_bytes_wire"),
        *_error(),
        sa.Column("version", sa.Text),
        sa.Column("manifest", sa.Text),
        *_required("created_at_ms", "updated_at_ms"),
        sa.CheckConstraint(
            "state IN ('ready', 'leased', 'scheduled', 'held', 'cancelling', 'succeeded', 'failed', "
            "'cancelled')",
            name="tasks_state",
        ),
        sa.CheckConstraint(
            "(state IN ('leased', 'cancelling')) = (lease_session_id IS NOT NULL)", name="tasks_lease"
        ),
        sqlite_autoincrement=True,
    )


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("task_id", _BIG_INT, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("epoch", _BIG_INT, primary_key=True),
        *_required("attempt"),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        *_required("begun_at_ms"),
        sa.Column("ended_at_ms", _BIG_INT),
        sa.Column("outcome", sa.Text),
        *_error(),
        *_transfer(),
        sa.CheckConstraint(
            "outcome IN ('succeeded', 'failed', 'cancelled', 'lost')", name="attempts_outcome"
        ),
        sqlite_with_rowid=False,
    )


def _create_indexes() -> None:
    _partial("nodes_to_join", "nodes", ["join_at_ms"], "join_at_ms IS NOT NULL")
    _partial("nodes_disconnected", "nodes", ["name"], "session_id IS NULL")
    op.create_index("sessions_by_node", "sessions", ["node"])
    _partial("sessions_open", "sessions", ["expires_at_ms"], "ended_at_ms IS NULL")
    op.create_index("jobs_by_state", "jobs", ["state", "id"])
    op.create_index("jobs_by_idempotency_key", "jobs", ["idempotency_key"], unique=True)
    _partial("jobs_live_by_source", "jobs", ["src_node", "id"], _JOB_LIVE)
    _partial("jobs_live_by_destination", "jobs", ["dst_node", "id"], _JOB_LIVE)
    _partial("tasks_live_by_job", "tasks", ["job_id", "state"], _TASK_LIVE)
    _partial("tasks_ready", "tasks", ["dst_node", "ready_at_ms", "id"], "state = 'ready'")
    _partial("tasks_scheduled", "tasks", ["not_before_ms"], "state = 'scheduled'")
    _partial("tasks_parked", "tasks", ["parked_for"], "state = 'scheduled' AND parked_for IS NOT NULL")
    _partial("tasks_in_hand", "tasks", ["dst_node"], "lease_session_id IS NOT NULL")
    _partial("tasks_lease_end", "tasks", ["lease_expires_at_ms"], "lease_session_id IS NOT NULL")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
