"""The control plane's process: `python -m replicator.control_plane.main`.

The only module that names the database. `open_control_plane` puts the parts together, `main` runs them.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from replicator import __version__
from replicator.control_plane.api.app import create_app
from replicator.control_plane.api.paging import Paging
from replicator.control_plane.api.services import Services
from replicator.control_plane.db.database import SqlDatabase, sqlite_path
from replicator.control_plane.domain.policy import RetryPolicy, Uniform
from replicator.control_plane.events import Publisher, Wakeups
from replicator.control_plane.join import HttpJoiner
from replicator.control_plane.metrics import Metrics
from replicator.control_plane.ports import Joiner
from replicator.control_plane.scheduler.loop import Scheduler
from replicator.control_plane.scheduler.planner import plan_job
from replicator.control_plane.services.events import Events
from replicator.control_plane.services.jobs import Jobs
from replicator.control_plane.services.limits import Limits
from replicator.control_plane.services.link import Link
from replicator.control_plane.services.objects import Objects
from replicator.control_plane.services.registry import Registry
from replicator.control_plane.services.sessions import Terms
from replicator.control_plane.settings import Settings
from replicator.control_plane.timed import TimedDatabase
from replicator.kernel.clock import Clock
from replicator.kernel.errors import ReplicatorError
from replicator.runtime.bootstrap import raise_open_files_limit, tune_malloc
from replicator.runtime.clock import SystemClock
from replicator.runtime.logging import configure_logging, get_logger
from replicator.runtime.server import bind, serve
from replicator.runtime.settings_command import settings_command


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a control plane has from outside itself, so that tests can own it."""

    clock: Clock
    joiner: Joiner
    uniform: Uniform = random.uniform
    new_session_id: Callable[[], str] = lambda: secrets.token_hex(16)


def open_control_plane(settings: Settings, around: Surroundings) -> ControlPlane:
    """Open the database and put the parts together over it.

    Raises:
        Conflict: another process uses the database.
        StoreFailed: the database cannot be opened.
    """
    metrics, wakeups = Metrics(around.clock), Wakeups()
    database = SqlDatabase(
        sqlite_path(settings.url_of_database),
        clock=around.clock,
        on_events=Publisher(metrics=metrics, wakeups=wakeups),
        on_commit=metrics.committed,
    )
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
        objects=Objects(database=timed),
        events=Events(database=timed, wakeups=wakeups, streams_max=settings.event_streams_max),
        limits=Limits(database=timed),
        link=link,
        database=timed,
        metrics=metrics,
        paging=Paging(items_default=settings.page_items_default, items_max=settings.page_items_max),
    )
    scheduler = Scheduler(
        database=timed, registry=registry, wakeups=wakeups, policy=policy, lease_ms=lease_ms
    )
    return ControlPlane(services=services, scheduler=scheduler, wakeups=wakeups, database=database)


def _retry_policy(settings: Settings, uniform: Uniform) -> RetryPolicy:
    return RetryPolicy(
        attempts_max=settings.attempts_max,
        delay_floor_ms=round(settings.backoff_floor_seconds * 1000),
        delay_step_ms=round(settings.backoff_step_seconds * 1000),
        delay_spread_ms_max=round(settings.backoff_max_seconds * 1000),
        park_ms_max=round(settings.park_limit_seconds * 1000),
        uniform=uniform,
    )


class Process:
    """A control plane that is served: its scheduler runs while the application lives."""

    def __init__(self, control_plane: ControlPlane, *, url: str) -> None:
        self._parts = control_plane
        self._url = url
        self.failed = False
        self.app = create_app(control_plane.services, lifespan=self._lifespan)

    def stop_waiting(self) -> None:
        """Answer the polls that wait."""
        self._parts.wakeups.close()

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        await self._parts.scheduler.start_anew()
        get_logger().info("control-plane.started", release=__version__, url=self._url)
        async with asyncio.TaskGroup() as group:
            scheduling = group.create_task(self._schedule())
            yield
            scheduling.cancel()

    async def _schedule(self) -> None:
        try:
            await self._parts.scheduler.run()
        except Exception as error:  # noqa: BLE001 - it ends the process
            # Without its scheduler a control plane only seems to work, so the whole process ends.
            get_logger().exception("scheduler.failed", error=repr(error))
            self.failed = True
            signal.raise_signal(signal.SIGTERM)


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
    if process.failed:
        raise ReplicatorError("the scheduler failed; the log says why")


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
