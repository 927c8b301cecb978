"""Several replicas, history, start times, deadlines, limits of tasks, and nodes with labels and maintenance.

On Postgres columns are added where the rows are. SQLite sets tables aside, makes them anew and fills them, each
copied once, and only forgets what the large ones referred to. A job that has no rank yet counts as one whose turn came when it was made.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import CreateTable

from replicator.runtime.logging import get_logger

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_JOB_LIVE = "state IN ('queued', 'planning', 'running', 'paused', 'cancelling')"
_PRIORITY_STEP_MS = 60_000
# In the order in which they may be dropped: what refers to another goes before it.
_REMADE = (
    "attempts",
    "tasks",
    "job_objects",
    "job_events",
    "jobs",
    "node_limits",
    "links",
    "sessions",
    "nodes",
)
_JOB_ROWS = ("job_objects", "job_events")
_NUMBERED = ("jobs", "tasks")
_TASK_LIVE = "state IN ('ready', 'leased', 'scheduled', 'held', 'cancelling')"
# Columns that are set row by row, once they are there.
_AT_FIRST = {"rank_ms": "0", "plan_rank_ms": "0"}
# Indexes of the step before that are of something else now.
_CHANGED = {"jobs_to_plan": "jobs", "tasks_ready": "tasks"}
_NEW = {
    "nodes": {
        "labels": "'{}'",
        "labels_by_operator": "false",
        "zone_by_operator": "false",
        "maintenance": "false",
    },
    "jobs": {
        "rank_ms": "0",
        "plan_rank_ms": f"created_at_ms - priority * {_PRIORITY_STEP_MS}",
        "postponed": "false",
    },
    "tasks": {"rank_ms": f"ready_at_ms - priority * {_PRIORITY_STEP_MS}", "losses": "0"},
}


def upgrade() -> None:
    """Widen what is there, and make what is new."""
    if op.get_bind().dialect.name == "postgresql":
        _widen()
    else:
        _remake()
    now_ms = _NOW[op.get_bind().dialect.name]
    op.execute(f"UPDATE control_plane SET history_from_ms = {now_ms} WHERE {_HAS_JOBS}")  # noqa: S608
    _create_history()
    _create_duties()
    _create_indexes()


_HAS_JOBS = "EXISTS (SELECT 1 FROM jobs)"
_NOW = {
    "sqlite": "CAST(strftime('%s', 'now') AS INTEGER) * 1000",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS bigint) * 1000",
}


def _widen() -> None:
    """Nothing is copied: what objects and events refer to is forgotten, and columns are added."""
    for table in _JOB_ROWS:
        for key in sa.inspect(op.get_bind()).get_foreign_keys(table):
            op.drop_constraint(str(key["name"]), table, type_="foreignkey")
    for table, columns in _added().items():
        for column in columns:
            default = _NEW.get(table, {}).get(column.name)
            if default is not None:
                column.server_default = sa.DefaultClause(sa.text(_AT_FIRST.get(column.name, default)))
            op.add_column(table, column)
            if default is not None:
                op.alter_column(table, column.name, server_default=None)
    op.alter_column("links", "bytes_per_s", nullable=True)
    for index, table in _CHANGED.items():
        op.drop_index(index, table)
    for table in _REMADE:
        _order_by_bytes(table)
    for table in _NUMBERED:
        newest = f"SELECT coalesce(max(id), 0) + 1 FROM {table}"  # noqa: S608 - constants
        op.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), ({newest}), false)")
    op.execute(f"UPDATE jobs SET plan_rank_ms = {_NEW['jobs']['plan_rank_ms']}")  # noqa: S608 - constants
    # Tasks that have ended are never in any order again.
    op.execute(f"UPDATE tasks SET rank_ms = {_NEW['tasks']['rank_ms']} WHERE {_TASK_LIVE}")  # noqa: S608


def _order_by_bytes(table: str) -> None:
    """Whatever the database was made with. The rows stay as they are; indexes of text are made anew."""
    columns = sa.inspect(op.get_bind()).get_columns(table)
    texts = [str(column["name"]) for column in columns if isinstance(column["type"], sa.Text)]
    op.execute(f"ALTER TABLE {table} " + ", ".join(f'ALTER {name} TYPE text COLLATE "C"' for name in texts))
    get_logger().info("migration.widened", table=table, revision=revision)


def _remake() -> None:
    """SQLite changes no table: each is copied once, but for the large ones, whose rows stay as they are."""
    _forget_keys()
    others = [table for table in _REMADE if table not in _JOB_ROWS]
    for table in others:
        for index in sa.inspect(op.get_bind()).get_indexes(table):
            op.drop_index(str(index["name"]), table)
        op.rename_table(table, f"old_{table}")
    op.rename_table("control_plane", "old_control_plane")
    op.create_table(
        "control_plane",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("history_from_ms", _BIG_INT),
    )
    _fill("control_plane")
    op.drop_table("old_control_plane")
    _create_nodes()
    _create_jobs()
    for table in reversed(others):
        _fill(table)
    for table in others:
        op.drop_table(f"old_{table}")


def _forget_keys() -> None:
    """The tables as they are without foreign keys: only the words of the schema change.

    Source: "Making Other Kinds Of Table Schema Changes" in the documentation of SQLite's ALTER TABLE.
    """
    connection = op.get_bind()
    version = int(connection.exec_driver_sql("PRAGMA schema_version").scalar_one())
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for table in _job_rows():
        words = str(CreateTable(table).compile(dialect=connection.dialect)).strip()
        connection.exec_driver_sql(
            "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (words, table.name)
        )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")


def _fill(table: str) -> None:
    kept = [column["name"] for column in sa.inspect(op.get_bind()).get_columns(f"old_{table}")]
    new = _NEW.get(table, {})
    into, values = ", ".join([*kept, *new]), ", ".join([*kept, *new.values()])
    op.execute(f"INSERT INTO {table} ({into}) SELECT {values} FROM old_{table}")  # noqa: S608 - constants
    get_logger().info("migration.copied", table=table, revision=revision)


def _added() -> dict[str, list[sa.Column[Any]]]:
    """What tables of the steps before gain."""
    return {
        "control_plane": [sa.Column("history_from_ms", _BIG_INT)],
        "nodes": [
            sa.Column("labels", sa.JSON, nullable=False),
            sa.Column("labels_by_operator", sa.Boolean, nullable=False),
            sa.Column("zone", _TEXT),
            sa.Column("zone_by_operator", sa.Boolean, nullable=False),
            sa.Column("maintenance", sa.Boolean, nullable=False),
            sa.Column("bytes_total", _BIG_INT),
            sa.Column("bytes_free", _BIG_INT),
        ],
        "node_limits": [sa.Column(name, sa.Integer) for name in ("tasks_max", "serves_max")],
        "links": [sa.Column("tasks_max", sa.Integer)],
        "jobs": [
            sa.Column("tasks_max", sa.Integer),
            *_required("rank_ms", "plan_rank_ms"),
            *(sa.Column(name, _BIG_INT) for name in ("start_at_ms", "deadline_at_ms", "retried_at_ms")),
            sa.Column("postponed", sa.Boolean, nullable=False),
        ],
        "tasks": [
            *_required("rank_ms"),
            sa.Column("losses", sa.Integer, nullable=False),
            sa.Column("lapsed_boot_id", _TEXT),
        ],
    }


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
    return [sa.Column(name, _BIG_INT, nullable=False) for name in names]


def _error() -> list[sa.Column[str]]:
    return [sa.Column(name, _TEXT) for name in ("error_class", "error_code", "error_message")]


def _job_columns() -> list[sa.Column[Any]]:
    """All but the id."""
    return [
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("src_node", _TEXT, nullable=False),
        sa.Column("dst_node", _TEXT, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("bytes_per_second", _BIG_INT),
        sa.Column("tasks_max", sa.Integer),
        *_required("rank_ms", "plan_rank_ms"),
        sa.Column("start_at_ms", _BIG_INT),
        sa.Column("deadline_at_ms", _BIG_INT),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("to_plan", sa.Boolean, nullable=False),
        sa.Column("postponed", sa.Boolean, nullable=False),
        sa.Column("cursor", _TEXT),
        sa.Column("surveyed", sa.Boolean, nullable=False),
        sa.Column("survey_live", sa.Boolean, nullable=False),
        sa.Column("survey_failed", sa.Boolean, nullable=False),
        *_required("compared", "rows_found", "transfers_waiting", "deletes_waiting", "deletes_found"),
        *_required("reopened_row", "reopen_until"),
        sa.Column("source_root", _TEXT),
        sa.Column("destination_root", _TEXT),
        *_required("tasks_planned", "tasks_succeeded", "tasks_failed", "tasks_cancelled"),
        *_transfer(),
        *_required("attempts"),
        *_error(),
        sa.Column("plan", sa.JSON(none_as_null=True)),
        sa.Column("plan_job_id", _BIG_INT),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("idempotency_key", _TEXT),
        sa.Column("fingerprint", _TEXT, nullable=False),
        sa.Column("plan_fingerprint", _TEXT, nullable=False),
        sa.Column("created_at_ms", _BIG_INT, nullable=False),
        sa.Column("started_at_ms", _BIG_INT),
        sa.Column("finished_at_ms", _BIG_INT),
        sa.Column("retried_at_ms", _BIG_INT),
        sa.Column("updated_at_ms", _BIG_INT, nullable=False),
    ]


def _task_columns() -> list[sa.Column[Any]]:
    """All but the id and the job."""
    return [
        sa.Column("src_node", _TEXT, nullable=False),
        sa.Column("dst_node", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        *_required("rank_ms"),
        sa.Column("items", sa.Integer, nullable=False),
        sa.Column("items_failed", sa.Integer, nullable=False),
        sa.Column("state", _TEXT, nullable=False),
        sa.Column("stop_asked", sa.Boolean, nullable=False),
        *_required("epoch", "attempt"),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("parks", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("lapsed_boot_id", _TEXT),
        sa.Column("parked_for", _TEXT),
        sa.Column("parked_since_ms", _BIG_INT),
        sa.Column("lease_session_id", _TEXT),
        sa.Column("lease_boot_id", _TEXT),
        sa.Column("lease_expires_at_ms", _BIG_INT),
        sa.Column("ready_at_ms", _BIG_INT, nullable=False),
        sa.Column("not_before_ms", _BIG_INT),
        sa.Column("begun_at_ms", _BIG_INT),
        *_transfer(),
        *_required("credit_bytes_transferred", "credit_bytes_saved", "earlier_bytes_wire"),
        *_error(),
        sa.Column("created_at_ms", _BIG_INT, nullable=False),
        sa.Column("updated_at_ms", _BIG_INT, nullable=False),
    ]


def _attempt_columns() -> list[sa.Column[Any]]:
    """All but what names it."""
    return [
        sa.Column("attempt", _BIG_INT, nullable=False),
        sa.Column("session_id", _TEXT, nullable=False),
        sa.Column("boot_id", _TEXT, nullable=False),
        sa.Column("begun_at_ms", _BIG_INT, nullable=False),
        sa.Column("ended_at_ms", _BIG_INT),
        sa.Column("outcome", _TEXT),
        *_error(),
        *_transfer(),
    ]


def _create_nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("base_url", _TEXT, nullable=False),
        sa.Column("address_origin", _TEXT, nullable=False),
        sa.Column("rpc_url", _TEXT),
        sa.Column("session_id", _TEXT),
        sa.Column("session_epoch", _BIG_INT, nullable=False),
        sa.Column("seen_at_ms", _BIG_INT),
        sa.Column("disconnected_at_ms", _BIG_INT),
        sa.Column("problem", _TEXT),
        sa.Column("join_tries", sa.Integer, nullable=False),
        sa.Column("join_at_ms", _BIG_INT),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("labels_by_operator", sa.Boolean, nullable=False),
        sa.Column("zone", _TEXT),
        sa.Column("zone_by_operator", sa.Boolean, nullable=False),
        sa.Column("maintenance", sa.Boolean, nullable=False),
        sa.Column("bytes_total", _BIG_INT),
        sa.Column("bytes_free", _BIG_INT),
        sa.Column("registered_at_ms", _BIG_INT, nullable=False),
        sa.Column("updated_at_ms", _BIG_INT, nullable=False),
        sa.CheckConstraint("address_origin IN ('operator', 'node')", name="nodes_address_origin"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("node", _TEXT, sa.ForeignKey("nodes.name", ondelete="CASCADE"), nullable=False),
        sa.Column("boot_id", _TEXT, nullable=False),
        sa.Column("release", _TEXT, nullable=False),
        sa.Column("epoch", _BIG_INT, nullable=False),
        sa.Column("opened_at_ms", _BIG_INT, nullable=False),
        sa.Column("renewed_at_ms", _BIG_INT, nullable=False),
        sa.Column("expires_at_ms", _BIG_INT, nullable=False),
        sa.Column("ended_at_ms", _BIG_INT),
        sa.Column("end_reason", _TEXT),
    )
    op.create_table(
        "node_limits",
        sa.Column("node", _TEXT, sa.ForeignKey("nodes.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("ingress_bytes_per_s", _BIG_INT),
        sa.Column("egress_bytes_per_s", _BIG_INT),
        sa.Column("tasks_max", sa.Integer),
        sa.Column("serves_max", sa.Integer),
    )
    op.create_table(
        "links",
        sa.Column("src_node", _TEXT, sa.ForeignKey("nodes.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("dst_node", _TEXT, sa.ForeignKey("nodes.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("bytes_per_s", _BIG_INT),
        sa.Column("tasks_max", sa.Integer),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=True),
        *_job_columns(),
        sa.CheckConstraint(
            "state IN ('queued', 'planning', 'running', 'paused', 'succeeded', 'partial', 'failed', 'cancelling', 'cancelled')",
            name="jobs_state",
        ),
        sa.CheckConstraint("kind IN ('migrate', 'mirror', 'verify')", name="jobs_kind"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tasks",
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=True),
        sa.Column("job_id", _BIG_INT, sa.ForeignKey("jobs.id"), nullable=False),
        *_task_columns(),
        sa.CheckConstraint(
            "state IN ('ready', 'leased', 'scheduled', 'held', 'cancelling', 'succeeded', 'failed', 'cancelled')",
            name="tasks_state",
        ),
        sa.CheckConstraint("kind IN ('pull', 'survey', 'remove')", name="tasks_kind"),
        sa.CheckConstraint(
            "(state IN ('leased', 'cancelling')) = (lease_session_id IS NOT NULL)", name="tasks_lease"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "attempts",
        sa.Column("task_id", _BIG_INT, sa.ForeignKey("tasks.id"), primary_key=True),
        sa.Column("epoch", _BIG_INT, primary_key=True),
        *_attempt_columns(),
        sa.CheckConstraint(
            "outcome IN ('succeeded', 'failed', 'cancelled', 'lost')", name="attempts_outcome"
        ),
        sqlite_with_rowid=False,
    )


def _job_rows() -> list[sa.Table]:
    tables = sa.MetaData()
    objects = sa.Table(
        "job_objects",
        tables,
        sa.Column("job_id", _BIG_INT, primary_key=True, autoincrement=False),
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=False),
        sa.Column("task_id", _BIG_INT),
        sa.Column("bucket", _TEXT, nullable=False),
        sa.Column("object_id", _TEXT, nullable=False),
        sa.Column("version", _TEXT),
        sa.Column("manifest", _TEXT),
        sa.Column("size", _BIG_INT),
        sa.Column("action", _TEXT, nullable=False),
        sa.Column("finding", _TEXT),
        sa.Column("outcome", _TEXT, nullable=False),
        *_required("bytes_transferred", "bytes_deduplicated", "bytes_saved", "attempts"),
        *_error(),
        sa.CheckConstraint("action IN ('transfer', 'delete', 'verify')", name="job_objects_action"),
        sa.CheckConstraint(
            "outcome IN ('pending', 'verified', 'skipped', 'deleted', 'failed', 'cancelled', 'planned')",
            name="job_objects_outcome",
        ),
        sqlite_with_rowid=False,
    )
    events = sa.Table(
        "job_events",
        tables,
        sa.Column("job_id", _BIG_INT, primary_key=True, autoincrement=False),
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=False),
        sa.Column("at_ms", _BIG_INT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("fields", sa.JSON, nullable=False),
        sqlite_with_rowid=False,
    )
    return [objects, events]


def _create_history() -> None:
    op.create_table(
        "job_history",
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=False),
        *_job_columns(),
    )
    op.create_table(
        "task_history",
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=False),
        sa.Column("job_id", _BIG_INT, nullable=False),
        *_task_columns(),
    )
    op.create_table(
        "attempt_history",
        sa.Column("task_id", _BIG_INT, primary_key=True, autoincrement=False),
        sa.Column("epoch", _BIG_INT, primary_key=True, autoincrement=False),
        *_attempt_columns(),
        sqlite_with_rowid=False,
    )


def _create_duties() -> None:
    op.create_table(
        "duties",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("holder", _TEXT, nullable=False),
        *_required("term", "acquired_at_ms", "expires_at_ms"),
    )
    op.create_table(
        "writers",
        sa.Column("id", _TEXT, primary_key=True),
        *_required("batch", "at_ms"),
    )
    op.create_table(
        "wakes",
        sa.Column("id", _BIG_INT, primary_key=True, autoincrement=True),
        sa.Column("topic", _TEXT, nullable=False),
        sa.Column("writer", _TEXT, nullable=False),
        *_required("at_ms"),
        sqlite_autoincrement=True,
    )


def _create_indexes() -> None:
    _partial("nodes_to_join", "nodes", ["join_at_ms"], "join_at_ms IS NOT NULL")
    _partial("nodes_disconnected", "nodes", ["name"], "session_id IS NULL")
    _partial("nodes_connected", "nodes", ["name"], "session_id IS NOT NULL")
    _index("sessions_by_node", "sessions", ["node"])
    _partial("sessions_open", "sessions", ["expires_at_ms"], "ended_at_ms IS NULL")
    _index("jobs_by_state", "jobs", ["state", "id"])
    _index("jobs_by_idempotency_key", "jobs", ["idempotency_key"], unique=True)
    _partial("jobs_live_by_source", "jobs", ["src_node", "id"], _JOB_LIVE)
    _partial("jobs_live_by_destination", "jobs", ["dst_node", "id"], _JOB_LIVE)
    _partial("jobs_to_plan", "jobs", ["plan_rank_ms", "id"], "to_plan")
    _partial("jobs_postponed", "jobs", ["start_at_ms"], "postponed")
    _partial(
        "jobs_deadline", "jobs", ["deadline_at_ms"], "deadline_at_ms IS NOT NULL AND finished_at_ms IS NULL"
    )
    _partial("jobs_ended", "jobs", ["finished_at_ms"], "finished_at_ms IS NOT NULL")
    _partial("jobs_dry_runs", "jobs", ["plan_fingerprint", "id"], "dry_run AND state = 'succeeded'")
    _partial("jobs_limited", "jobs", ["dst_node", "id"], f"bytes_per_second IS NOT NULL AND {_JOB_LIVE}")
    _partial("tasks_live_by_job", "tasks", ["job_id", "state"], _TASK_LIVE)
    _index("tasks_by_job", "tasks", ["job_id", "id"])
    _partial("tasks_ready", "tasks", ["dst_node", "rank_ms", "id"], "state = 'ready'")
    _partial("tasks_ready_by_link", "tasks", ["dst_node", "src_node", "rank_ms", "id"], "state = 'ready'")
    _partial("tasks_failed", "tasks", ["id"], "state = 'failed'")
    _partial("tasks_ready_since", "tasks", ["dst_node", "ready_at_ms", "id"], "state = 'ready'")
    _partial("tasks_scheduled", "tasks", ["not_before_ms"], "state = 'scheduled'")
    _partial("tasks_parked", "tasks", ["parked_for"], "state = 'scheduled' AND parked_for IS NOT NULL")
    _partial("tasks_in_hand", "tasks", ["dst_node"], "lease_session_id IS NOT NULL")
    _partial("tasks_in_hand_of_source", "tasks", ["src_node"], "lease_session_id IS NOT NULL")
    _partial("tasks_lease_end", "tasks", ["lease_expires_at_ms"], "lease_session_id IS NOT NULL")
    _partial("job_objects_of_task", "job_objects", ["task_id"], "outcome = 'pending' AND task_id IS NOT NULL")
    _partial(
        "job_objects_unassigned",
        "job_objects",
        ["job_id", "outcome", "action", "id"],
        "outcome = 'pending' AND task_id IS NULL",
    )
    _index("job_objects_by_outcome", "job_objects", ["job_id", "outcome", "id"])
    _partial(
        "job_objects_holders",
        "job_objects",
        ["manifest"],
        "outcome IN ('verified', 'skipped') AND manifest IS NOT NULL",
    )
    _index("links_by_destination", "links", ["dst_node", "src_node"])
    _index("job_history_by_state", "job_history", ["state", "id"])
    _index("job_history_by_idempotency_key", "job_history", ["idempotency_key"], unique=True)
    _index("job_history_by_end", "job_history", ["finished_at_ms"])
    _index("task_history_by_job", "task_history", ["job_id", "id"])


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    _index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def _index(name: str, table: str, columns: list[str], **options: Any) -> None:
    """Those that are there already are of the same columns."""
    op.create_index(name, table, columns, if_not_exists=True, **options)
