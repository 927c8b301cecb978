"""The control plane's process: `python -m replicator.control_plane.main`.

The only module that names the database. `open_control_plane` puts the parts together, `main` runs them.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from replicator import __version__
from replicator.control_plane.api.app import create_app
from replicator.control_plane.api.paging import Paging
from replicator.control_plane.api.services import Services
from replicator.control_plane.db.database import SqlDatabase, open_database
from replicator.control_plane.db.door import Measures
from replicator.control_plane.domain.policy import RetryPolicy, Uniform
from replicator.control_plane.events import Publisher, Wakeups
from replicator.control_plane.join import HttpJoiner
from replicator.control_plane.metrics import Metrics
from replicator.control_plane.ports import Joiner
from replicator.control_plane.scheduler.leadership import EXCLUSIVE_LEASE_MS
from replicator.control_plane.scheduler.loop import Scheduler
from replicator.control_plane.scheduler.planner import plan_job
from replicator.control_plane.scheduler.pruning import Keeping
from replicator.control_plane.services.dead_letters import DeadLetters
from replicator.control_plane.services.events import Events
from replicator.control_plane.services.explain import Explain
from replicator.control_plane.services.jobs import Jobs
from replicator.control_plane.services.limits import Limits
from replicator.control_plane.services.link import Link
from replicator.control_plane.services.objects import Objects
from replicator.control_plane.services.registry import Registry
from replicator.control_plane.services.replicas import Replicas
from replicator.control_plane.services.sessions import Terms
from replicator.control_plane.services.tasks import Tasks
from replicator.control_plane.settings import Settings
from replicator.control_plane.timed import TimedDatabase
from replicator.kernel.clock import Clock
from replicator.kernel.errors import ReplicatorError, StoreFailed
from replicator.runtime.bootstrap import raise_open_files_limit, tune_malloc
from replicator.runtime.clock import SystemClock
from replicator.runtime.logging import configure_logging, get_logger
from replicator.runtime.server import bind, serve
from replicator.runtime.settings_command import settings_command

_DUTIES_END_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """Everything of one control plane but the socket. `close` when it is no longer served."""

    services: Services
    scheduler: Scheduler
    wakeups: Wakeups
    database: SqlDatabase

    def close(self) -> None:
        """Finish what was accepted and let go of the database."""
        self.database.close()


def replica_name() -> str:
    """What this process is called among the replicas: which one it is, and no other ever."""
    return f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a control plane has from outside itself, so that tests can own it.

    `database_now_ms` replaces the clock of a database that has one of its own; `replica` is a name that no other
    process has or had.
    """

    clock: Clock
    joiner: Joiner
    uniform: Uniform = random.uniform
    new_session_id: Callable[[], str] = lambda: secrets.token_hex(16)
    database_now_ms: Callable[[], int] | None = None
    replica: str = field(default_factory=replica_name)


def open_control_plane(settings: Settings, around: Surroundings) -> ControlPlane:
    """Open the database and put the parts together over it.

    Raises:
        InvalidRequest: the database's URL is not one.
        Conflict: another process uses the database.
        StoreFailed: the database cannot be opened.
        Unavailable: the database server does not answer.
    """
    metrics, wakeups = Metrics(around.clock), Wakeups()
    database = open_database(
        settings.url_of_database,
        clock=around.clock,
        on_events=Publisher(metrics=metrics, wakeups=wakeups),
        measures=_measures(metrics),
        writer=around.replica,
        now_ms=around.database_now_ms,
    )
    try:
        return _put_together(settings, around, database, metrics, wakeups)
    except BaseException:
        # Its threads would keep the process from ending.
        database.close()
        raise


def _put_together(
    settings: Settings, around: Surroundings, database: SqlDatabase, metrics: Metrics, wakeups: Wakeups
) -> ControlPlane:
    timed = TimedDatabase(database, metrics)
    policy = _retry_policy(settings, around.uniform)
    lease_ms = round(settings.session_lease_seconds * 1000)
    registry = Registry(database=timed, joiner=around.joiner)
    link = Link(
        database=timed,
        wakeups=wakeups,
        metrics=metrics,
        clock=around.clock,
        terms=Terms(lease_ms=lease_ms, policy=policy),
        poll_s=settings.poll_seconds,
        new_session_id=around.new_session_id,
    )
    services = Services(
        registry=registry,
        jobs=Jobs(database=timed, plan=plan_job),
        dead_letters=DeadLetters(database=timed),
        tasks=Tasks(database=timed),
        objects=Objects(database=timed),
        explain=Explain(database=timed, policy=policy),
        events=Events(database=timed, wakeups=wakeups, streams_max=settings.event_streams_max),
        limits=Limits(database=timed),
        link=link,
        replicas=Replicas(database=timed, wakeups=wakeups, replica=around.replica),
        database=timed,
        metrics=metrics,
        paging=Paging(items_default=settings.page_items_default, items_max=settings.page_items_max),
    )
    exclusive = database.writer is None
    scheduler = Scheduler(
        database=timed,
        registry=registry,
        wakeups=wakeups,
        policy=policy,
        lease_ms=lease_ms,
        replica=around.replica,
        duty_lease_ms=EXCLUSIVE_LEASE_MS if exclusive else round(settings.duty_lease_seconds * 1000),
        exclusive=exclusive,
        keeping=_keeping(settings),
    )
    return ControlPlane(services=services, scheduler=scheduler, wakeups=wakeups, database=database)


def _retry_policy(settings: Settings, uniform: Uniform) -> RetryPolicy:
    return RetryPolicy(
        attempts_max=settings.attempts_max,
        losses_max=settings.losses_max,
        delay_floor_ms=round(settings.backoff_floor_seconds * 1000),
        delay_step_ms=round(settings.backoff_step_seconds * 1000),
        delay_spread_ms_max=round(settings.backoff_max_seconds * 1000),
        park_ms_max=round(settings.park_limit_seconds * 1000),
        uniform=uniform,
    )


def _measures(metrics: Metrics) -> Measures:
    def outcome(committed: bool) -> None:
        metrics.outcome_found(committed=committed)

    return Measures(
        on_commit=metrics.committed, on_turn=metrics.turn_taken, on_rerun=metrics.rerun, on_outcome=outcome
    )


def _keeping(settings: Settings) -> Keeping:
    keep_ms = round(settings.history_keep_seconds * 1000)
    return Keeping(after_ms=round(settings.history_after_seconds * 1000), keep_ms=keep_ms or None)


class Process:
    """A control plane that is served: its scheduler runs while the application lives."""

    def __init__(self, control_plane: ControlPlane, *, url: str) -> None:
        self._parts = control_plane
        self._url = url
        self.failure = ""
        """Why it had to end, if it had to."""
        self.app = create_app(control_plane.services, lifespan=self._lifespan)

    def stop_waiting(self) -> None:
        """Answer the polls that wait, and what waits for a database that is away before the grace is over."""
        self._parts.wakeups.close()
        self._parts.database.hurry()

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        parts = self._parts
        await parts.scheduler.start_anew()
        get_logger().info(
            "control-plane.started",
            release=__version__,
            url=self._url,
            replica=parts.services.replicas.replica,
        )
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._or_end(parts.database.follow_wakes(parts.wakeups.wake_all)))
            scheduling = group.create_task(self._or_end(parts.scheduler.run()))
            yield
            # The duties end in order, for others to take them over at once, if the database lets them.
            parts.wakeups.close()
            await asyncio.wait([scheduling], timeout=_DUTIES_END_SECONDS)
            scheduling.cancel()
            following.cancel()

    async def _or_end(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - it ends the process
            # Without its scheduler a control plane only seems to work, so the whole process ends.
            failure = _store_failure(error)
            if failure is None:
                get_logger().exception("scheduler.failed", error=repr(error))
                self._fail("the scheduler failed; the log says why")
            else:
                # A newer release has migrated the database, for one.
                get_logger().error("control-plane.ends", reason=failure.message)
                self._fail(failure.message)

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        signal.raise_signal(signal.SIGTERM)


def _store_failure(error: Exception) -> StoreFailed | None:
    """The database's own reason in `error`, which may be a group of what several duties raised."""
    if isinstance(error, ExceptionGroup):
        return next((found for each in error.exceptions if (found := _store_failure(each))), None)
    return error if isinstance(error, StoreFailed) else None


def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ReplicatorError: it cannot start, or had to stop; the message says what to do.
    """
    tune_malloc()
    raise_open_files_limit()
    configure_logging(level=settings.log_level, style=settings.log_format, process="control-plane")
    with bind(settings.host, settings.port) as listener:
        url = settings.url_for_nodes(listener.getsockname()[1])
        around = Surroundings(clock=SystemClock(), joiner=HttpJoiner(advertise_url=url))
        parts = open_control_plane(settings, around)
        try:
            _serve(Process(parts, url=url), listener)
        finally:
            parts.close()


def _serve(process: Process, listener: socket.socket) -> None:
    serve(process.app, listener, on_stop=process.stop_waiting)
    get_logger().info("control-plane.stopped")
    if process.failure:
        raise ReplicatorError(process.failure)


def main() -> None:
    """The process."""
    settings_command(
        Settings,
        run,
        name="control-plane",
        summary="Run the control plane: it knows the nodes and runs durable jobs between them. "
        "Its API is described at /docs.",
        examples="replicator control-plane --data-dir /var/lib/replicator   |   "
        "replicator control-plane --host 0.0.0.0 --advertise-url http://control-plane:8000",
    )(prog_name="replicator control-plane")


if __name__ == "__main__":
    main()
