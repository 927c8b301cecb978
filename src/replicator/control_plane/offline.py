"""`replicator database`: the composition root of work on a database beside its control plane."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from replicator.control_plane.db.database import open_database, sqlite_path
from replicator.control_plane.ports import Unit
from replicator.control_plane.services.registry import disconnect
from replicator.control_plane.settings import Settings
from replicator.kernel.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    ReplicatorError,
    StoreFailed,
    Unavailable,
)
from replicator.runtime.clock import SystemClock

USED_MS = 15_000
"""Who has written within this time is taken to live: duties are renewed far more often."""
_OURS = "offline-"
_WRITERS_MAX = 1000
_SESSIONS_MAX = 1000
_STEP = 1000
_FOR_EVER_MS = 2**62
# As the commands that ask a control plane exit.
_CODES: tuple[tuple[type[ReplicatorError], int], ...] = (
    (InvalidRequest, 2),
    (NotFound, 3),
    (Conflict, 4),
    (Unavailable, 5),
)

DataDir = Annotated[
    str | None, typer.Option("--data-dir", help="Folder of the database, as of the control plane.")
]
DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="The database, instead of a folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

app = typer.Typer(
    help="Look after the database of a control plane.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def database() -> None:
    """Look after the database of a control plane."""


@app.command()
def backup(
    target: Annotated[str, typer.Argument(metavar="FILE", help="The copy; it must not be there yet.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Copy an SQLite database to FILE as it is at one moment, while its control plane goes on or is stopped.

    Everything that was acknowledged before is in it, and it is synced to the disk when the command ends.

    Example: replicator database backup --data-dir /var/lib/replicator /backups/monday.sqlite
    """
    try:
        _copy(_settings(data_dir, database_url).url_of_database, os.path.abspath(target))
    except ReplicatorError as error:
        _fail(error)
    sys.stdout.write(f"{target}: {_size_text(os.path.getsize(target))}\n")


@app.command("new-identity")
def new_identity(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where control planes seem to use a database on a server.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Make a restored or copied database one of its own, before any control plane uses it.

    It gives out numbers of tasks that were given out before: under a new identity, what nodes still hold under
    the old one is refused, and all that was not finished is done again. Every control plane must be stopped; while
    one was seen within the last 15 s it is refused. Use it once; again does no harm.

    Example: replicator database new-identity --data-dir /var/lib/replicator
    """
    try:
        before, after = asyncio.run(_renew(_settings(data_dir, database_url).url_of_database, force))
    except ReplicatorError as error:
        _fail(error)
    said = f"the database was {before} and is {after} from now on"
    sys.stdout.write((json.dumps({"before": before, "after": after}) if json_output else said) + "\n")


def renew_identity(unit: Unit) -> tuple[str, str]:
    """Give the database another identity; returns the one before, and the new one.

    Every session ends, so that nodes open new ones and hear of it before they are given anything.
    """
    before = unit.control_plane
    while sessions := unit.sessions.expired(now_ms=_FOR_EVER_MS, limit=_SESSIONS_MAX):
        for session in sessions:
            disconnect(unit, session, reason="replaced")
    return before, unit.upkeep.renew_identity()


def _settings(data_dir: str | None, database_url: str | None) -> Settings:
    given = {"data_dir": data_dir, "database_url": database_url}
    return Settings.model_validate({name: value for name, value in given.items() if value is not None})


def _copy(url: str, target: str) -> None:
    if not url.startswith("sqlite:"):
        raise InvalidRequest("this copies SQLite databases; Postgres has pg_dump")
    _require_present(url)
    if os.path.exists(target):
        raise Conflict(f"{target} is there already")
    try:
        with closing(sqlite3.connect(f"{Path(sqlite_path(url)).as_uri()}?mode=ro", uri=True)) as reader:
            reader.execute("VACUUM INTO ?", (target,))
        for path in (target, os.path.dirname(target)):
            _sync(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreFailed(f"cannot copy {sqlite_path(url)} to {target}: {error}") from error


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_while_used(unit: Unit) -> None:
    """Nobody else may use the database: to change it under a control plane would undo what that has in hand.

    Raises:
        Conflict: a control plane has written to it, or held a duty, just now.
    """
    since_ms = unit.now_ms - USED_MS
    holders = {lease.holder for lease in unit.duties.all() if lease.expires_at_ms > unit.now_ms}
    writers = {name for name, at_ms in unit.duties.writers(limit=_WRITERS_MAX) if at_ms > since_ms}
    found = sorted(name for name in holders | writers if not name.startswith(_OURS))
    if found:
        raise Conflict(
            f"control planes use this database, or have within the last {USED_MS // 1000} s: {', '.join(found)}. "
            "Stop every one, and wait so long; --force is for a copy of a database that they use"
        )


async def _renew(url: str, force: bool) -> tuple[str, str]:
    _require_present(url)

    def renew(unit: Unit) -> tuple[str, str]:
        # The lock of an SQLite file has said already that nobody else has it.
        if not force and opened.writer is not None:
            refuse_while_used(unit)
        return renew_identity(unit)

    opened = open_database(
        url, clock=SystemClock(), on_events=lambda _: None, writer=f"{_OURS}{secrets.token_hex(8)}"
    )
    try:
        return await opened.transact(renew)
    finally:
        opened.close()


def _require_present(url: str) -> None:
    """A file that is not there would be made."""
    if url.startswith("sqlite:") and not os.path.exists(path := sqlite_path(url)):
        raise NotFound(f"there is no database {path}; name its folder with --data-dir")


def _size_text(count: float) -> str:
    """As the commands that ask a control plane write it, which are not of this process."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = 0
    while power < len(units) - 1 and count >= _STEP:
        count, power = count / _STEP, power + 1
    return f"{count:.1f} {units[power]}" if power else f"{count:.0f} B"


def _fail(error: ReplicatorError) -> None:
    sys.stderr.write(f"replicator database: {error.message}\n")
    sys.exit(next((code for kind, code in _CODES if isinstance(error, kind)), 1))


if __name__ == "__main__":
    app(prog_name="replicator database")
