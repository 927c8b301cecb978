"""Reading from Postgres, on a few threads with connections of their own.

Every read is a REPEATABLE READ, READ ONLY transaction, whose snapshot is taken by its first statement: it sees
every unit committed before it began, and no writer disturbs it. A server that is away is waited for for a few
seconds only: who reads can ask again.
"""

from __future__ import annotations

import random
import time
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from replicator.control_plane.db.door import Answer, Reading, Transaction, Work, unstorable
from replicator.control_plane.db.postgres_errors import (
    advice_on,
    is_conflict,
    is_forbidden_write,
    is_lost,
    is_unstorable,
    text_of,
)
from replicator.control_plane.db.postgres_facts import FACTS, Known, gone, raw_of
from replicator.control_plane.db.watchdog import Watchdog
from replicator.kernel.errors import Unavailable

BEGIN_S = 4.0
"""How long a read tries to begin where the server is away or hangs."""
WORK_S = 10.0
"""How long a read that has begun may take before its connection is cut."""
CALLER_S = 15.0
"""Within this the caller of a read has an answer, whatever hangs."""
_BEGIN_LEAST_S = 0.5
_REFUSES = "the control plane's database refuses: "
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Reader:
    """Reads on `threads` threads; `engine` has as many connections."""

    def __init__(self, engine: sa.Engine, *, threads: int, watchdog: Watchdog, known: Known) -> None:
        self._engine = engine
        self._watchdog = watchdog
        self._known = known
        self._reading = Reading(threads)
        self._away = ""
        """Why the last read could not begin, if it could not."""

    async def read(self, work: Work[Answer]) -> Answer:
        """What `work` returns from a consistent view."""
        until_s = time.monotonic() + BEGIN_S
        return await self._reading.run(lambda: self._read(work, until_s), within_s=CALLER_S)

    def refuse(self) -> None:
        """Begin no more."""
        self._reading.refuse()

    def close(self) -> None:
        """Wait for those that have begun, then let go of the connections."""
        self._reading.close()
        self._engine.dispose()

    def _read(self, work: Work[Answer], until_s: float) -> Answer:
        pause_s = 0.0
        while True:
            if self._away and time.monotonic() > until_s:
                # It has waited behind others that found out: to try for as long again helps nobody.
                raise Unavailable(f"the control plane's database is not available: {self._away}")
            try:
                return self._once(work, until_s)
            except (DBAPIError, psycopg.Error) as error:
                again_s = time.monotonic() + pause_s
                if again_s > until_s or self._reading.closed or not _may_be_repeated(error):
                    raise _refusal(error) from error
            time.sleep(pause_s)
            pause_s = min(1.0, 0.02 + pause_s * random.uniform(1.5, 2))  # noqa: S311 - no secret

    def _once(self, work: Work[Answer], until_s: float) -> Answer:
        connection, transaction = self._begin(until_s)
        with self._watchdog.limit(WORK_S), connection:
            raw = raw_of(connection)
            self._watchdog.hold(raw)
            try:
                return work(transaction)
            except (DBAPIError, psycopg.Error) as error:
                if is_lost(error):
                    connection.invalidate()
                raise
            finally:
                if not raw.closed:
                    # Not ROLLBACK, at which the driver forgets the statements that it has prepared.
                    raw.execute("COMMIT", prepare=False)

    def _begin(self, until_s: float) -> tuple[sa.Connection, Transaction]:
        with self._watchdog.limit(max(_BEGIN_LEAST_S, until_s - time.monotonic())):
            try:
                connection = self._engine.connect()
                try:
                    transaction = self._begun(connection)
                except BaseException:
                    connection.invalidate()
                    connection.close()
                    raise
            except (DBAPIError, psycopg.Error) as error:
                failure = gone(error)
                if failure is not None:
                    raise failure from error
                self._away = text_of(error)
                raise
        self._away = ""
        return connection, transaction

    def _begun(self, connection: sa.Connection) -> Transaction:
        raw: Any = raw_of(connection)
        self._watchdog.hold(raw)
        begun = raw.execute(f"{_BEGIN_READ}; {FACTS}", prepare=False)
        begun.nextset()
        facts = self._known.facts(begun.fetchone())
        return Transaction(connection=connection, now_ms=facts.now_ms, control_plane=facts.control_plane)


def _may_be_repeated(error: Exception) -> bool:
    if is_forbidden_write(error) or advice_on(error) is not None:
        return False
    return is_lost(error) or is_conflict(error)


def _refusal(error: Exception) -> Exception:
    """`error` for the caller."""
    if is_lost(error) and not is_forbidden_write(error):
        advice = advice_on(error)
        return Unavailable(
            f"the control plane's database is not available: {text_of(error)}"
            + (f"; {advice}" if advice else "")
        )
    return unstorable(error) if is_unstorable(error) else Unavailable(_REFUSES + text_of(error))
