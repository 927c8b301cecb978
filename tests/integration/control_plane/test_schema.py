"""The tables that migrations build, and how the frequent questions are answered from them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from replicator.control_plane.db.database import open_file, sqlite_path
from replicator.control_plane.db.migrate import bring_up_to_date, newest_revision, revision_of
from replicator.control_plane.db.schema import metadata
from replicator.control_plane.db.sqlite import open_engine
from replicator.control_plane.db.unit import SqlUnit
from replicator.control_plane.domain.job import JobState
from replicator.control_plane.domain.object_row import Action, Outcome
from replicator.kernel.errors import Conflict, InvalidRequest, StoreFailed
from replicator.kernel.names import NodeName
from replicator.testing.control_plane import ManualClock
from replicator.testing.control_plane_values import job_in, task_in


@pytest.fixture
def migrated(data_dir: str) -> sa.Engine:
    engine = open_engine(os.path.join(data_dir, "migrated.sqlite"), now_ms=time.time_ns, writes=True)
    bring_up_to_date(engine)
    return engine


def definitions(engine: sa.Engine) -> dict[str, str]:
    query = sa.text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' AND sql IS NOT NULL")
    with engine.connect() as connection:
        return {name: " ".join(sql.split()) for name, sql in connection.execute(query)}


def test_migrations_build_exactly_the_tables_of_the_code(migrated: sa.Engine, data_dir: str) -> None:
    with migrated.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert revision_of(connection) == newest_revision()
    created = sa.create_engine(f"sqlite:///{data_dir}/created.sqlite")
    metadata.create_all(created)
    assert definitions(migrated) == definitions(created)
    created.dispose()


def test_migrating_again_changes_nothing(migrated: sa.Engine) -> None:
    before = definitions(migrated)
    bring_up_to_date(migrated)
    assert definitions(migrated) == before


def test_a_database_of_a_newer_release_is_left_alone(migrated: sa.Engine) -> None:
    with migrated.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreFailed, match=r"9999.*newer release"):
        bring_up_to_date(migrated)


def identity_of(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return SqlUnit(connection).control_plane


def test_every_database_has_an_identity_of_its_own_and_keeps_it(migrated: sa.Engine, data_dir: str) -> None:
    other = open_engine(os.path.join(data_dir, "other.sqlite"), now_ms=time.time_ns, writes=True)
    bring_up_to_date(other)
    before = identity_of(migrated)
    bring_up_to_date(migrated)
    assert before == identity_of(migrated) != identity_of(other)


N = NodeName("node1")
SORTED = {"tasks_in_hand", "tasks_live_by_job", "job_objects_of_task", "job_objects_holders"}
"""A node has few tasks in hand, a job few that live, a task few objects: sorting them costs nothing."""


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda unit: unit.tasks.ready(N, limit=4), "tasks_ready"),
        (lambda unit: unit.tasks.ready_before(N, ready_at_ms=1, limit=4), "tasks_ready"),
        (lambda unit: unit.tasks.due(now_ms=1, limit=4), "tasks_scheduled"),
        (lambda unit: unit.tasks.next_due_ms(), "tasks_scheduled"),
        (lambda unit: unit.tasks.expired(now_ms=1, limit=4), "tasks_lease_end"),
        (lambda unit: unit.tasks.next_expiry_ms(), "tasks_lease_end"),
        (lambda unit: unit.tasks.in_hand(N), "tasks_in_hand"),
        (lambda unit: unit.tasks.parked_for(N, limit=4), "tasks_parked"),
        (lambda unit: unit.tasks.live_of_jobs([1, 2]), "tasks_live_by_job"),
        (lambda unit: unit.tasks.live_counts(), "tasks_live_by_job"),
        (lambda unit: unit.tasks.absences(), "tasks_ready"),
        (lambda unit: unit.tasks.ready_sources(N, limit=4), "tasks_ready_by_link"),
        (lambda unit: unit.tasks.ready_from(N, {N: 1, NodeName("m"): 2}), "tasks_ready_by_link"),
        (lambda unit: unit.tasks.failed(before=None, limit=4), "tasks_failed"),
        (lambda unit: unit.jobs.to_start(now_ms=1, limit=4), "jobs_postponed"),
        (lambda unit: unit.jobs.next_start_ms(), "jobs_postponed"),
        (lambda unit: unit.jobs.overdue(now_ms=1, limit=4), "jobs_deadline"),
        (lambda unit: unit.jobs.next_deadline_ms(), "jobs_deadline"),
        (lambda unit: unit.jobs.to_plan(limit=4), "jobs_to_plan"),
        (lambda unit: unit.jobs.dry_run_before(job_in()), "jobs_dry_runs"),
        (lambda unit: unit.jobs.limits_to(N, limit=4), "jobs_limited"),
        (lambda unit: unit.jobs.page(before=None, limit=4, state=JobState.FAILED), "jobs_by_state"),
        (lambda unit: unit.jobs.page(before=9, limit=4, state=None), "PRIMARY KEY"),
        (lambda unit: unit.jobs.counts(), "jobs_by_state"),
        (lambda unit: unit.jobs.by_idempotency_key("k"), "jobs_by_idempotency_key"),
        (lambda unit: unit.jobs.live_of_node(N, limit=4), "jobs_live_by_"),
        (lambda unit: unit.nodes.to_join(now_ms=1, limit=4), "nodes_to_join"),
        (lambda unit: unit.nodes.next_join_ms(), "nodes_to_join"),
        (lambda unit: unit.nodes.connected(limit=4), "nodes_connected"),
        (lambda unit: unit.objects.page(1, after_row=0, limit=4), "PRIMARY KEY"),
        (
            lambda unit: unit.objects.page(1, after_row=0, limit=4, outcome=Outcome.FAILED),
            "job_objects_by_outcome",
        ),
        (lambda unit: unit.objects.pending_of(task_in()), "job_objects_of_task"),
        (lambda unit: unit.objects.count_attempt(task_in()), "job_objects_of_task"),
        (lambda unit: unit.objects.end(task_in(), Outcome.FAILED, error=None), "job_objects_of_task"),
        (
            lambda unit: unit.objects.unassigned(1, action=Action.DELETE, limit=4),
            "job_objects_unassigned",
        ),
        (lambda unit: unit.objects.holders(["m", "n"], limit=4), "job_objects_holders"),
        (lambda unit: unit.limits.links_to(N, limit=4), "links_by_destination"),
        (lambda unit: unit.limits.links(after=("", ""), limit=4), "sqlite_autoindex_links_1"),
        (lambda unit: unit.sessions.expired(now_ms=1, limit=4), "sessions_open"),
        (lambda unit: unit.sessions.next_expiry_ms(), "sessions_open"),
        (lambda unit: unit.sessions.forget_ended(N), "sessions_by_node"),
    ],
)
def test_what_is_asked_often_reads_an_index_of_its_own(
    migrated: sa.Engine, ask: Callable[[SqlUnit], object], index: str
) -> None:
    asked: list[tuple[str, Any]] = []
    with migrated.connect() as connection:
        sa.event.listen(
            connection, "before_cursor_execute", lambda _c, _k, text, values, *_: asked.append((text, values))
        )
        ask(SqlUnit(connection))
        for text, values in asked[1:]:  # after BEGIN
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
            assert any(index in step for step in steps), steps
            assert not any("TEMP B-TREE" in step for step in steps) or index in SORTED, steps
            assert not any(step.startswith("SCAN") and "INDEX" not in step for step in steps), steps


def test_a_file_has_one_process(tmp_path: Path) -> None:
    path = str(tmp_path / "one.sqlite")
    first = open_file(path, clock=ManualClock(), on_events=lambda _: None)
    with pytest.raises(Conflict, match=rf"process {os.getpid()}\) uses .*--data-dir"):
        open_file(path, clock=ManualClock(), on_events=lambda _: None)
    first.close()
    first.close()
    open_file(path, clock=ManualClock(), on_events=lambda _: None).close()


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_has_one_process_however_it_is_named(tmp_path: Path, link: Callable[[str, str], None]) -> None:
    path, other = str(tmp_path / "one.sqlite"), str(tmp_path / "other.sqlite")
    first = open_file(path, clock=ManualClock(), on_events=lambda _: None)
    link(path, other)
    with pytest.raises(Conflict, match="another control plane"):
        open_file(other, clock=ManualClock(), on_events=lambda _: None)
    first.close()
    open_file(other, clock=ManualClock(), on_events=lambda _: None).close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(StoreFailed, match="not a database"):
        open_file(str(path), clock=ManualClock(), on_events=lambda _: None)
    assert path.read_bytes().startswith(b"this is not")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="cannot open"):
        open_file(str(tmp_path / "file" / "db.sqlite"), clock=ManualClock(), on_events=lambda _: None)


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "postgresql://host/db"])
def test_only_a_file_is_a_database(url: str) -> None:
    with pytest.raises(InvalidRequest, match="sqlite:"):
        sqlite_path(url)


def test_a_path_is_absolute() -> None:
    assert sqlite_path("sqlite:////a/b.sqlite") == "/a/b.sqlite"
    assert sqlite_path("sqlite:///b.sqlite") == os.path.abspath("b.sqlite")


def test_commits_reach_the_disk(data_dir: str) -> None:
    engine = open_engine(os.path.join(data_dir, "pragmas.sqlite"), now_ms=time.time_ns, writes=True)
    with engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert sqlite3.sqlite_version_info >= (3, 35)
