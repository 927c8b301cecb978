"""Databases as earlier releases leave them: jobs in every state, a node that is connected, tasks in hand."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from replicator.control_plane.db import migrate
from replicator.control_plane.db.sqlite import open_engine

Row = dict[str, Any]

AT = 1_749_999_940_000
"""When all of it happened, in database time: a minute before `FrozenClock` begins."""
ENDS: Row = {"src_node": "node1", "dst_node": "node2"}
IDENTITY = "the-control-plane-of-earlier"
SESSION: Row = {"id": "session-of-earlier", "boot_id": "node2-boot-1"}
LEASE: Row = {
    "lease_session_id": SESSION["id"],
    "lease_boot_id": SESSION["boot_id"],
    "lease_expires_at_ms": AT + 15_000,
}
VERSION, MANIFEST = "1" * 32, "2" * 64
ERROR: Row = {"error_class": "permanent", "error_code": "not-found", "error_message": "it is gone"}
SUMS: Row = {"objects_planned": 1, "bytes_logical": 9, "bytes_transferred": 7, "bytes_deduplicated": 2}
DONE, FAILED = SUMS | {"objects_verified": 1}, SUMS | {"objects_failed": 1}
_EMPTY = {sa.Boolean: False, sa.Integer: 0, sa.BigInteger: 0, sa.Text: "", sa.JSON: {}}


def engine_of(url: str) -> sa.Engine:
    """An engine on the database that `url` names."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return open_engine(str(parsed.database), now_ms=lambda: 0, writes=True)
    return sa.create_engine(parsed.set(drivername="postgresql+psycopg"))


def migrate_to(connection: sa.Connection, revision: str) -> None:
    """Bring the database to `revision`, as the release of that revision did."""
    config = Config()
    config.set_main_option("script_location", migrate._FOLDER.replace("%", "%%"))  # noqa: SLF001
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def write_release(engine: sa.Engine, revision: str) -> None:
    """A database of the release of `revision`, 0001 or 0002, as its process left it when it was killed."""
    with engine.begin() as connection:
        migrate_to(connection, revision)
        connection.exec_driver_sql(f"UPDATE control_plane SET id = '{IDENTITY}'")
        tables = sa.MetaData()
        tables.reflect(connection)
        for name, rows in {"0001": _first, "0002": _second}[revision]().items():
            for row in rows:
                table = tables.tables[name]
                connection.execute(table.insert().values(**(_nothing(table) | row)))
        if engine.dialect.name == "postgresql":
            for name in ("jobs", "tasks"):
                newest = f"SELECT max(id) FROM {name}"
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), ({newest}))"
                )


def rows_of(engine: sa.Engine) -> dict[str, list[Row]]:
    """All that a database holds, in the order of the keys."""
    with engine.connect() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        return {
            name: [
                dict(row._mapping)  # noqa: SLF001 - public in SQLAlchemy
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for name, table in tables.tables.items()
        }


def _nothing(table: sa.Table) -> Row:
    """The least that a row must have."""
    required = [column for column in table.columns if not column.nullable]
    return {
        column.name: next((empty for kind, empty in _EMPTY.items() if isinstance(column.type, kind)), "")
        for column in required
    }


def _nodes() -> dict[str, list[Row]]:
    node = {"address_origin": "operator", "registered_at_ms": AT, "updated_at_ms": AT}
    connected = {"session_id": SESSION["id"], "session_epoch": 1, "seen_at_ms": AT}
    session = {"node": "node2", "release": "0.1.0", "epoch": 1, "opened_at_ms": AT, "renewed_at_ms": AT}
    return {
        "nodes": [
            node | {"name": "node1", "base_url": "http://node1", "disconnected_at_ms": AT},
            node | {"name": "node2", "base_url": "http://node2"} | connected,
        ],
        "sessions": [SESSION | session | {"expires_at_ms": AT + 15_000}],
    }


def _job(number: int, state: str, **values: Any) -> Row:
    made = {"created_at_ms": AT, "updated_at_ms": AT, "fingerprint": "f" * 64}
    spec = {"object_id": f"object-{number}"}
    return {"id": number, "kind": "migrate", "spec": ENDS | spec, "state": state} | ENDS | made | values


def _task(number: int, state: str, **values: Any) -> Row:
    made = {"created_at_ms": AT, "updated_at_ms": AT, "ready_at_ms": AT, "epoch": 1, "attempt": 1}
    return {"id": number, "job_id": number, "state": state} | ENDS | made | values


def _attempt(number: int, **values: Any) -> Row:
    lease = {"session_id": SESSION["id"], "boot_id": SESSION["boot_id"], "begun_at_ms": AT}
    return {"task_id": number, "epoch": 1, "attempt": 1} | lease | values


def _first() -> dict[str, list[Row]]:
    def task(number: int, state: str, **values: Any) -> Row:
        return _task(number, state, object_id=f"object-{number}", **values)

    partly: Row = {"bytes_logical": 100, "bytes_transferred": 10, "bytes_wire": 12}
    rest: Row = {"earlier_bytes_transferred": 20, "earlier_bytes_wire": 25}
    return _nodes() | {
        "jobs": [
            _job(1, "queued", idempotency_key="once"),
            _job(2, "running", tasks_planned=1, attempts=1),
            _job(3, "succeeded", tasks_planned=1, tasks_succeeded=1, attempts=1, finished_at_ms=AT, **DONE),
            _job(
                4, "failed", tasks_planned=1, tasks_failed=1, attempts=1, finished_at_ms=AT, **FAILED, **ERROR
            ),
            _job(5, "running", tasks_planned=1, attempts=1),
            _job(6, "cancelling", tasks_planned=1, attempts=1),
            _job(7, "cancelled", tasks_planned=1, tasks_cancelled=1, finished_at_ms=AT),
            _job(8, "planning"),
        ],
        "tasks": [
            task(2, "scheduled", not_before_ms=AT, **partly, **rest),
            task(3, "succeeded", version=VERSION, manifest=MANIFEST, **DONE),
            task(4, "failed", **FAILED, **ERROR),
            task(5, "leased", **LEASE),
            task(6, "cancelling", **LEASE),
            task(7, "cancelled"),
        ],
        "attempts": [_attempt(2), _attempt(5), _attempt(6)],
    }


def _second() -> dict[str, list[Row]]:
    def job(number: int, state: str, *, ids: tuple[str, ...] = (), **values: Any) -> Row:
        ids = ids or (f"object-{number}",)
        spec = {"bucket": "default", "object_ids": list(ids), "prefix": "", "filter": {}, "max_deletes": 0}
        flags = dict.fromkeys(("all_versions", "move", "delete", "read_data"), False)
        known = {"spec": spec | flags, "plan": None, "plan_fingerprint": "p" * 64, "surveyed": True}
        return _job(number, state, **known | {"rows_found": len(ids), "tasks_planned": 1} | values)

    def task(number: int, state: str, **values: Any) -> Row:
        return _task(number, state, **{"kind": "pull", "items": 1} | values)

    def item(number: int, outcome: str, *, row: int = 1, task: int | None = None, **values: Any) -> Row:
        known = {"bucket": "default", "object_id": f"object-{number}", "action": "transfer"}
        return {"job_id": number, "id": row, "task_id": task or number, "outcome": outcome} | known | values

    arrived: Row = {"version": VERSION, "manifest": MANIFEST, "size": 9, "bytes_transferred": 7}
    arrived |= {"bytes_deduplicated": 2, "attempts": 1}
    survey: Row = {"surveyed": False, "survey_live": True, "rows_found": 0}
    begun: Row = {"attempts": 1, "started_at_ms": AT}
    ended: Row = {"finished_at_ms": AT}
    unplanned: Row = {"to_plan": True, "surveyed": False, "tasks_planned": 0, "rows_found": 0}
    both: Row = {"objects_planned": 2, "objects_verified": 1, "objects_failed": 1}
    return _nodes() | {
        "node_limits": [{"node": "node2", "ingress_bytes_per_s": 1 << 20, "egress_bytes_per_s": None}],
        "links": [{**ENDS, "bytes_per_s": 1 << 21}],
        "jobs": [
            job(1, "queued", idempotency_key="once", **unplanned),
            job(2, "planning", **begun, **survey),
            job(3, "running", priority=5),
            job(4, "running", **begun),
            job(5, "running", **begun),
            job(6, "paused"),
            job(7, "cancelling", **begun),
            job(8, "succeeded", tasks_succeeded=1, **begun, **ended, **DONE),
            job(9, "partial", ids=("object-9", "b"), tasks_failed=1, **begun, **ended, **SUMS | both | ERROR),
            job(10, "failed", tasks_failed=1, **begun, **ended, **FAILED, **ERROR),
            job(11, "cancelled", tasks_cancelled=1, **ended),
        ],
        "tasks": [
            task(2, "leased", kind="survey", items=0, **LEASE),
            task(3, "ready", priority=5, epoch=0, attempt=0),
            task(4, "leased", **LEASE),
            task(5, "scheduled", not_before_ms=AT, failures=1),
            task(6, "held", epoch=0, attempt=0),
            task(7, "cancelling", **LEASE),
            task(8, "succeeded", items=0),
            task(9, "failed", items=0, items_failed=1, **ERROR),
            task(10, "failed", items=0, items_failed=1, **ERROR),
            task(11, "cancelled", items=0),
        ],
        "attempts": [_attempt(number) for number in (2, 4, 5, 7)],
        "job_objects": [
            *(item(number, "pending") for number in (3, 4, 5, 6, 7)),
            item(8, "verified", **arrived),
            item(9, "verified", **arrived),
            item(9, "failed", row=2, **ERROR) | {"object_id": "b"},
            item(10, "failed", size=9, bytes_transferred=7, bytes_deduplicated=2, **ERROR),
            item(11, "cancelled"),
        ],
        "job_events": [
            {"job_id": 8, "id": 1, "at_ms": 5, "name": "job.queued", "fields": {"job": 8}},
            {"job_id": 8, "id": 2, "at_ms": 8, "name": "job.succeeded", "fields": {"job": 8}},
        ],
    }
