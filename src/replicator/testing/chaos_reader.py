"""A reader of the control plane's database from outside: plain SQL over a connection of its own.

It knows the tables and nothing of the code that fills them, so that what it finds is no echo of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

Row = Mapping[str, Any]
_SECONDS_MAX = 10

_SUMS = (
    "objects_planned, objects_verified, objects_skipped, objects_failed, objects_deleted, "
    "bytes_logical, bytes_transferred, bytes_deduplicated"
)
_JOB = (
    "id, kind, src_node, dst_node, state, to_plan, postponed, idempotency_key, tasks_planned, tasks_succeeded, "
    f"tasks_failed, tasks_cancelled, rows_found, attempts, tasks_max, dry_run, finished_at_ms, error_code, {_SUMS}"
)
_TASK = (
    "id, job_id, src_node, dst_node, kind, state, epoch, attempt, items, items_failed, lease_session_id, "
    "lease_boot_id, lease_expires_at_ms, begun_at_ms, updated_at_ms"
)
_ATTEMPT = "task_id, epoch, attempt, session_id, boot_id, begun_at_ms, ended_at_ms, outcome"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The database at one moment: jobs above a certain id with all that is theirs, and everything else whole.

    `objects` are sums over rows of one job, task, outcome and action. `in_both` are the ids of jobs that stand
    among the living and in history at once: there must be none. `wakes`, `writers` and `in_history` are counts.
    """

    now_ms: int
    jobs: Sequence[Row] = ()
    tasks: Sequence[Row] = ()
    attempts: Sequence[Row] = ()
    objects: Sequence[Row] = ()
    nodes: Sequence[Row] = ()
    sessions: Sequence[Row] = ()
    limits: Sequence[Row] = ()
    links: Sequence[Row] = ()
    duties: Sequence[Row] = ()
    wakes: int = 0
    writers: int = 0
    in_history: int = 0
    in_both: Sequence[int] = ()
    events: Sequence[Row] = ()


@dataclass
class Reader:
    """Reads what `url`, an SQLAlchemy URL, names; every read is one transaction. Blocks.

    `floor` is the id of the last job that is of no interest any more.
    """

    url: str
    floor: int = 0
    _engine: sa.Engine = field(init=False)

    def __post_init__(self) -> None:
        self._engine = sa.create_engine(self.url, poolclass=sa.NullPool, connect_args=_arguments(self.url))
        self._is_sqlite = self._engine.dialect.name == "sqlite"

    def now_ms(self) -> int:
        """Database time. SQLite has that of its process alone: then the machine's, which is the same to a moment."""
        with self._engine.connect() as connection:
            return self._now_ms(connection)

    def snapshot(self, *, with_events: bool = False) -> Snapshot:
        """The present; raises `sa.exc.DBAPIError` where the database does not answer."""
        with self._engine.connect() as connection:
            # The driver of SQLite would begin with the first write, which never comes.
            level = "AUTOCOMMIT" if self._is_sqlite else "REPEATABLE READ"
            connection.execution_options(isolation_level=level)
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN")
            return self._read(connection, with_events=with_events)

    def states(self) -> Sequence[Row]:
        """Every job there is: its id, state, key and end."""
        columns = "id, state, idempotency_key, finished_at_ms"
        with self._engine.connect() as connection:
            return self._rows(
                connection, f"SELECT {columns} FROM jobs UNION ALL SELECT {columns} FROM job_history"
            )

    def _read(self, connection: sa.Connection, *, with_events: bool) -> Snapshot:
        def rows(query: str) -> Sequence[Row]:
            return self._rows(connection, query)

        def both(columns: str, table: str, history: str, where: str) -> Sequence[Row]:
            halves = (f"SELECT {columns} FROM {each} t WHERE {where}" for each in (table, history))
            return rows(" UNION ALL ".join(halves))

        of_jobs = f"job_id > {self.floor}"
        tasks = f"SELECT id FROM tasks WHERE {of_jobs} UNION ALL SELECT id FROM task_history WHERE {of_jobs}"
        counted = {"wakes": "wakes", "writers": "writers", "in_history": "job_history"}
        counts = {name: rows(f"SELECT count(*) AS n FROM {table}")[0]["n"] for name, table in counted.items()}
        return Snapshot(
            now_ms=self._now_ms(connection),
            jobs=both(_JOB, "jobs", "job_history", f"id > {self.floor}"),
            tasks=both(_TASK, "tasks", "task_history", of_jobs),
            attempts=both(_ATTEMPT, "attempts", "attempt_history", f"task_id IN ({tasks})"),
            objects=rows(
                "SELECT job_id, task_id, outcome, action, count(*) AS n, sum(bytes_transferred) AS bytes_transferred, "
                f"max(id) AS last_id FROM job_objects WHERE {of_jobs} GROUP BY job_id, task_id, outcome, action"
            ),
            nodes=rows("SELECT name, session_id, session_epoch, maintenance FROM nodes"),
            sessions=rows("SELECT id, node, boot_id, epoch, ended_at_ms, expires_at_ms FROM sessions"),
            limits=rows("SELECT node, tasks_max, serves_max FROM node_limits"),
            links=rows("SELECT src_node, dst_node, tasks_max FROM links"),
            duties=rows("SELECT name, holder, term, acquired_at_ms, expires_at_ms FROM duties"),
            in_both=[
                row["id"] for row in rows("SELECT id FROM jobs WHERE id IN (SELECT id FROM job_history)")
            ],
            events=rows(f"SELECT job_id, id, name FROM job_events WHERE {of_jobs} ORDER BY job_id, id")
            if with_events
            else (),
            **counts,
        )

    def _now_ms(self, connection: sa.Connection) -> int:
        now = (
            "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
            if self._is_sqlite
            else "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
        )
        return int(connection.execute(sa.text(f"SELECT {now}")).scalar_one())

    @staticmethod
    def _rows(connection: sa.Connection, query: str) -> Sequence[Row]:
        return [dict(row) for row in connection.execute(sa.text(query)).mappings()]


def _arguments(url: str) -> dict[str, Any]:
    if sa.make_url(url).get_backend_name() == "sqlite":
        return {"timeout": _SECONDS_MAX}
    return {"connect_timeout": _SECONDS_MAX, "options": f"-c statement_timeout={_SECONDS_MAX}s"}
