"""Jobs over many objects: their objects and events, surveys, priorities, and bandwidth limits.

SQLite cannot change a table that others refer to in place, so the tables that grow are set aside, made anew
and filled again. A task of the first release was one object, which becomes the one object of its job.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TASK_LIVE = "state IN ('ready', 'leased', 'scheduled', 'held', 'cancelling')"
_JOB_LIVE = "state IN ('queued', 'planning', 'running', 'paused', 'cancelling')"
_REMADE = ("attempts", "tasks", "jobs", "sessions", "nodes")


def upgrade() -> None:
    """Make them anew, and fill them."""
    for table in _REMADE:
        op.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}")  # noqa: S608 - constants
        op.drop_table(table)
    _create_nodes()
    _create_sessions()
    _create_jobs()
    _create_tasks()
    _create_attempts()
    _create_job_objects()
    _create_job_events()
    _create_limits()
    _fill()
    for table in _REMADE:
        op.drop_table(f"old_{table}")
    _create_indexes()


def _fill() -> None:
    op.execute(
        "INSERT INTO nodes SELECT name, base_url, address_origin, NULL, session_id, session_epoch, seen_at_ms, "
        "disconnected_at_ms, problem, join_tries, join_at_ms, registered_at_ms, updated_at_ms FROM old_nodes"
    )
    op.execute("INSERT INTO sessions SELECT * FROM old_sessions")
    # A job that was planned has its one task; any other is to be planned.
    op.execute(
        f"INSERT INTO jobs SELECT id, kind, {_spec()}, "  # noqa: S608 - constants
        "src_node, dst_node, 0, NULL, CASE state WHEN 'planning' THEN 'queued' ELSE state END, "
        "state IN ('queued', 'planning'), NULL, tasks_planned > 0, false, false, 0, "
        "tasks_planned, 0, 0, 0, 0, 0, NULL, NULL, "
        "tasks_planned, tasks_succeeded, tasks_failed, tasks_cancelled, "
        "objects_planned, objects_verified, objects_skipped, objects_failed, bytes_logical, bytes_transferred, "
        "bytes_deduplicated, 0, bytes_wire, 0, attempts, error_class, error_code, error_message, NULL, NULL, false, "
        "idempotency_key, fingerprint, "
        "fingerprint, created_at_ms, started_at_ms, finished_at_ms, updated_at_ms FROM old_jobs"
    )
    op.execute(
        "INSERT INTO tasks SELECT id, job_id, src_node, dst_node, 'pull', 0, "
        "CAST(state NOT IN ('succeeded', 'failed', 'cancelled') AS INTEGER), CAST(state = 'failed' AS INTEGER), "
        "state, false, epoch, attempt, failures, parks, parked_for, parked_since_ms, "
        "lease_session_id, lease_boot_id, lease_expires_at_ms, ready_at_ms, not_before_ms, begun_at_ms, "
        "objects_planned, objects_verified, objects_skipped, objects_failed, bytes_logical, bytes_transferred, "
        "bytes_deduplicated, 0, bytes_wire, 0, earlier_bytes_transferred, 0, earlier_bytes_wire, "
        "error_class, error_code, error_message, "
        "created_at_ms, updated_at_ms FROM old_tasks"
    )
    op.execute(
        "INSERT INTO attempts SELECT task_id, epoch, attempt, session_id, boot_id, begun_at_ms, ended_at_ms, "
        "outcome, error_class, error_code, error_message, objects_planned, objects_verified, objects_skipped, "
        "objects_failed, bytes_logical, bytes_transferred, bytes_deduplicated, 0, bytes_wire, 0 FROM old_attempts"
    )
    # Each job had one task at most, so what its tasks did is in the job's own sums.
    op.execute(
        "INSERT INTO job_objects SELECT tasks.job_id, 1, tasks.id, 'default', tasks.object_id, tasks.version, "
        "tasks.manifest, CASE WHEN jobs.objects_verified + jobs.objects_skipped > 0 THEN jobs.bytes_logical END, "
        "'transfer', NULL, CASE WHEN jobs.objects_verified > 0 THEN 'verified' "
        "WHEN jobs.objects_skipped > 0 THEN 'skipped' WHEN tasks.state = 'failed' THEN 'failed' "
        "WHEN tasks.state = 'cancelled' THEN 'cancelled' ELSE 'pending' END, "
        "jobs.bytes_transferred, jobs.bytes_deduplicated, 0, tasks.attempt, "
        "tasks.error_class, tasks.error_code, tasks.error_message "
        "FROM old_tasks AS tasks JOIN old_jobs AS jobs ON jobs.id = tasks.job_id"
    )


def _spec() -> str:
    """What a job of one object is about, as this revision says it."""
    if op.get_bind().dialect.name == "postgresql":
        call, array, object_id, empty, no = (
            "json_build_object",
            "json_build_array",
            "spec->>'object_id'",
            "'{}'::json",
            "false",
        )
    else:
        call, array = "json_object", "json_array"
        object_id, empty, no = "json_extract(spec, '$.object_id')", "json('{}')", "json('false')"
    return (
        f"{call}('bucket', 'default', 'object_ids', {array}({object_id}), "
        f"'prefix', '', 'filter', {empty}, 'all_versions', {no}, 'move', {no}, "
        f"'delete', {no}, 'max_deletes', 0, 'read_data', {no})"
    )


def _required(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, _BIG_INT, nullable=False) for name in names]


def _flags(*names: str) -> list[sa.Column[bool]]:
    return [sa.Column(name, sa.Boolean, nullable=False) for name in names]


def _transfer() -> list[sa.Column[int]]:
    return _required(
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


def _error() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text) for name in ("error_class", "error_code", "error_message")]


def _create_nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("address_origin", sa.Text, nullable=False),
        sa.Column("rpc_url", sa.Text),
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
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("bytes_per_second", _BIG_INT),
        sa.Column("state", sa.Text, nullable=False),
        *_flags("to_plan"),
        sa.Column("cursor", sa.Text),
        *_flags("surveyed", "survey_live", "survey_failed"),
        *_required("compared", "rows_found", "transfers_waiting", "deletes_waiting", "deletes_found"),
        *_required("reopened_row", "reopen_until"),
        sa.Column("source_root", sa.Text),
        sa.Column("destination_root", sa.Text),
        *_required("tasks_planned", "tasks_succeeded", "tasks_failed", "tasks_cancelled"),
        *_transfer(),
        *_required("attempts"),
        *_error(),
        sa.Column("plan", sa.JSON),
        sa.Column("plan_job_id", _BIG_INT),
        *_flags("dry_run"),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("plan_fingerprint", sa.Text, nullable=False),
        *_required("created_at_ms"),
        sa.Column("started_at_ms", _BIG_INT),
        sa.Column("finished_at_ms", _BIG_INT),
        *_required("updated_at_ms"),
        sa.CheckConstraint(
            "state IN ('queued', 'planning', 'running', 'paused', 'succeeded', 'partial', 'failed', "
            "'cancelling', 'cancelled')",
            name="jobs_state",
        ),
        sa.CheckConstraint("kind IN ('migrate', 'mirror', 'verify')", name="jobs_kind"),
        sqlite_autoincrement=True,
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=True),
        sa.Column("job_id", _BIG_INT, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("src_node", sa.Text, nullable=False),
        sa.Column("dst_node", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("items", sa.Integer, nullable=False),
        sa.Column("items_failed", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        *_flags("stop_asked"),
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
        *_required("credit_bytes_transferred", "credit_bytes_saved", "earlier_bytes_wire"),
        *_error(),
        *_required("created_at_ms", "updated_at_ms"),
        sa.CheckConstraint(
            "state IN ('ready', 'leased', 'scheduled', 'held', 'cancelling', 'succeeded', 'failed', "
            "'cancelled')",
            name="tasks_state",
        ),
        sa.CheckConstraint("kind IN ('pull', 'survey', 'remove')", name="tasks_kind"),
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


def _create_job_objects() -> None:
    op.create_table(
        "job_objects",
        sa.Column("job_id", _BIG_INT, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("id", _BIG_INT, primary_key=True),
        sa.Column("task_id", _BIG_INT),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("manifest", sa.Text),
        sa.Column("size", _BIG_INT),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("finding", sa.Text),
        sa.Column("outcome", sa.Text, nullable=False),
        *_required("bytes_transferred", "bytes_deduplicated", "bytes_saved", "attempts"),
        *_error(),
        sa.CheckConstraint("action IN ('transfer', 'delete', 'verify')", name="job_objects_action"),
        sa.CheckConstraint(
            "outcome IN ('pending', 'verified', 'skipped', 'deleted', 'failed', 'cancelled', 'planned')",
            name="job_objects_outcome",
        ),
        sqlite_with_rowid=False,
    )


def _create_job_events() -> None:
    op.create_table(
        "job_events",
        sa.Column("job_id", _BIG_INT, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("id", _BIG_INT, primary_key=True),
        *_required("at_ms"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("fields", sa.JSON, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_limits() -> None:
    op.create_table(
        "node_limits",
        sa.Column("node", sa.Text, sa.ForeignKey("nodes.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("ingress_bytes_per_s", _BIG_INT),
        sa.Column("egress_bytes_per_s", _BIG_INT),
    )
    op.create_table(
        "links",
        sa.Column("src_node", sa.Text, sa.ForeignKey("nodes.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("dst_node", sa.Text, sa.ForeignKey("nodes.name", ondelete="CASCADE"), primary_key=True),
        *_required("bytes_per_s"),
    )


def _create_indexes() -> None:
    _partial("nodes_to_join", "nodes", ["join_at_ms"], "join_at_ms IS NOT NULL")
    _partial("nodes_disconnected", "nodes", ["name"], "session_id IS NULL")
    _partial("nodes_connected", "nodes", ["name"], "session_id IS NOT NULL")
    op.create_index("sessions_by_node", "sessions", ["node"])
    _partial("sessions_open", "sessions", ["expires_at_ms"], "ended_at_ms IS NULL")
    op.create_index("jobs_by_state", "jobs", ["state", "id"])
    op.create_index("jobs_by_idempotency_key", "jobs", ["idempotency_key"], unique=True)
    _partial("jobs_live_by_source", "jobs", ["src_node", "id"], _JOB_LIVE)
    _partial("jobs_live_by_destination", "jobs", ["dst_node", "id"], _JOB_LIVE)
    _partial("jobs_to_plan", "jobs", [sa.text("priority DESC"), "id"], "to_plan")
    _partial("jobs_dry_runs", "jobs", ["plan_fingerprint", "id"], "dry_run AND state = 'succeeded'")
    _partial("jobs_limited", "jobs", ["dst_node", "id"], f"bytes_per_second IS NOT NULL AND {_JOB_LIVE}")
    _partial("tasks_live_by_job", "tasks", ["job_id", "state"], _TASK_LIVE)
    ready = "state = 'ready'"
    _partial("tasks_ready", "tasks", ["dst_node", sa.text("priority DESC"), "ready_at_ms", "id"], ready)
    _partial("tasks_ready_since", "tasks", ["dst_node", "ready_at_ms", "id"], ready)
    _partial("tasks_scheduled", "tasks", ["not_before_ms"], "state = 'scheduled'")
    _partial("tasks_parked", "tasks", ["parked_for"], "state = 'scheduled' AND parked_for IS NOT NULL")
    _partial("tasks_in_hand", "tasks", ["dst_node"], "lease_session_id IS NOT NULL")
    _partial("tasks_lease_end", "tasks", ["lease_expires_at_ms"], "lease_session_id IS NOT NULL")
    _partial("job_objects_of_task", "job_objects", ["task_id"], "outcome = 'pending' AND task_id IS NOT NULL")
    unassigned = "outcome = 'pending' AND task_id IS NULL"
    _partial("job_objects_unassigned", "job_objects", ["job_id", "outcome", "action", "id"], unassigned)
    op.create_index("job_objects_by_outcome", "job_objects", ["job_id", "outcome", "id"])
    arrived = "outcome IN ('verified', 'skipped') AND manifest IS NOT NULL"
    _partial("job_objects_holders", "job_objects", ["manifest"], arrived)
    op.create_index("links_by_destination", "links", ["dst_node", "src_node"])


def _partial(name: str, table: str, columns: list[str | sa.TextClause], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
