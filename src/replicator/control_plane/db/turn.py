"""Writing in the turn: how units of several replicas take effect one after another on Postgres.

The table `turn` has one row. A batch of units is one READ COMMITTED transaction that begins by locking it, so
whoever has the turn writes and the others wait; no unit needs another lock, and no two can deadlock. Database
time, the database's identity and its schema's revision are read right after the lock is granted, by a statement
of its own: one that also waited for the lock would see the time and the rows from before the wait.

There are no savepoints, for they cost two round trips a unit. A unit that raises before it has written anything
is answered when the batch is durable. One that has written spoils the batch: the batch is rolled back and run
without it, and the unit runs again by itself, so that what it raises is about what is durable. What units leave to
be written together (`shared_writes`) and cannot be written is the fault of one of them: they run again one by one.

A batch whose connection is lost before COMMIT has had no effect and is run again. Where COMMIT was sent and its
answer is lost, the next connection takes the turn, which the server grants only when the old transaction has
ended, and looks whether the row of this writer in `writers` has the number of that batch: it was written in the
same transaction. Numbers are never used again, so the answer is certain.

A batch that has written nothing ends without a sync.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from replicator.control_plane.db.door import (
    WRITTEN,
    Done,
    Measures,
    Transaction,
    Waiting,
    tell_all,
    tell_others,
    unstorable,
)
from replicator.control_plane.db.postgres_errors import (
    advice_on,
    cause_of,
    is_ambiguous,
    is_conflict,
    is_lost,
    is_serialization,
    is_unstorable,
    text_of,
)
from replicator.control_plane.db.postgres_facts import FACTS, Facts, Known, Raw, gone, raw_of
from replicator.control_plane.db.shared_writes import Shared
from replicator.control_plane.db.watchdog import Watchdog
from replicator.kernel.errors import StoreFailed, Unavailable
from replicator.runtime.logging import get_logger

ANSWER_S = 25.0
"""How long a unit may wait, runs and re-runs included."""
ATTEMPT_S = 12.0
"""How long one transaction may take before its connection is cut."""
TURN_S_MAX = 0.5
"""A batch that has run for so long begins no other unit: other replicas wait."""
ENDING_S = 5.0
"""What is left for trying again once the door closes."""
SPOILINGS_MAX = 3
"""So many times a batch is run again without a unit that failed; then its units run one by one."""
_PAUSE_S = (0.02, 1.0)
_ATTEMPT_LEAST_S = 1.0

BEGIN_TURN = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT id FROM turn WHERE id = 1 FOR UPDATE"
_LOOK = "SELECT batch FROM writers WHERE id = {}"
_SIGN = (
    "INSERT INTO writers (id, batch, at_ms) VALUES ({}, {}, {}) "
    "ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, at_ms = excluded.at_ms"
)
_WAKE = "INSERT INTO wakes (topic, writer, at_ms) VALUES {}"


class _Again(Exception):
    """The transaction has had no effect, and may have one if it is run again."""

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


class _Spoiled(Exception):
    """A unit has failed after it had written, or, with no index, what units had left could not be written."""

    def __init__(self, index: int | None, error: Exception) -> None:
        super().__init__(index)
        self.index = index
        self.error = error


class _Unknown(Exception):
    """COMMIT was sent as number `batch`, and the answer is lost."""

    def __init__(self, batch: int, done: list[Done], reason: str) -> None:
        super().__init__(reason)
        self.batch = batch
        self.done = done
        self.reason = reason


@dataclass(slots=True)
class _Run:
    """Units of a batch that were run so far."""

    done: list[Done] = field(default_factory=list)
    topics: set[str] = field(default_factory=set)
    written: bool = False


class TurnWriter:
    """Runs batches on connections of `engine`; one thread uses it. `name` is like no other's."""

    def __init__(
        self,
        engine: sa.Engine,
        *,
        name: str,
        watchdog: Watchdog,
        known: Known,
        measures: Measures,
    ) -> None:
        self._name = name
        self._engine = engine
        self._watchdog = watchdog
        self._known = known
        self._measures = measures
        self._unresolved: _Unknown | None = None
        self.failing_since_s: float | None = None
        """Since when the server is away or refuses, by the monotonic clock; None while it does not, for all it knows."""
        self.failure = ""
        self._open: tuple[sa.Connection, Raw] | None = None
        self._batches = 0
        self._ending_s = float("inf")

    def commit(self, units: Sequence[Waiting]) -> None:
        """Runs `units` in as few transactions as it can, and answers every one of them."""
        groups, spoilings = [list(units)], 0
        while groups:
            group = groups.pop(0)
            try:
                done = self._until_durable(group)
            except _Spoiled as spoiled:
                spoilings += 1
                groups[:0] = _without(group, spoiled, singly=spoilings > SPOILINGS_MAX)
            except Exception as error:  # noqa: BLE001 - every caller of the group is told
                for unit in group:
                    unit.answer.set_exception(error)
            else:
                tell_all(done)
                if len(done) < len(group):
                    groups.insert(0, group[len(done) :])

    def end(self) -> None:
        """The door closes: what cannot be done soon is given up. Called by another thread."""
        self._ending_s = min(self._ending_s, time.monotonic() + ENDING_S)

    def close(self) -> None:
        """Let go of the connection."""
        if self._open is not None:
            (connection, _), self._open = self._open, None
            with suppress(SQLAlchemyError, psycopg.Error):
                connection.invalidate()
                connection.close()

    def _until_durable(self, group: list[Waiting]) -> list[Done]:
        """Those of `group` that were run, which are the first of it, once they are durable.

        Those whose time is over leave `group` before each try.
        """
        tries, unknown, until_s = 0, None, _until_s(group)
        while True:
            try:
                if unknown is not None:
                    if self._has_taken_effect(unknown.batch, until_s):
                        return unknown.done
                    unknown = None
                group[:] = _in_time(group)
                return self._attempt(group, until_s) if group else []
            except _Again as again:
                reason = again.reason
                self._measures.on_rerun(again.kind)
                get_logger().info("database.rerun", kind=again.kind, reason=reason)
                self._note_failure(again.kind, reason)
            except _Unknown as lost:
                unknown, reason = unknown or lost, lost.reason
                self._note_failure("connection", reason)
            if not self._may_go_on(tries, until_s):
                self._unresolved = unknown
                raise _given_up(reason, unknown)
            tries += 1

    def _attempt(self, group: list[Waiting], until_s: float) -> list[Done]:
        """Runs the first units of `group`, or all, in one transaction."""
        with self._watchdog.limit(self._left(until_s)):
            try:
                connection, raw, facts = self._take_turn()
                run = self._run_all(connection, raw, group, facts)
                ending, number = self._ending_of(raw, run, facts)
            except (DBAPIError, psycopg.Error) as error:
                raise self._failed(error) from error
            except (_Spoiled, StoreFailed):
                self._roll_back()
                raise
            self._end(raw, ending, run, number)
        self._measures.on_commit(len(run.done))
        self.failing_since_s = None
        return run.done

    def _take_turn(self) -> tuple[sa.Connection, Raw, Facts]:
        if self._open is None:
            if time.monotonic() > self._ending_s:
                raise _Again("the process is about to end", "connection")
            connection = self._engine.connect()
            self._open = connection, raw_of(connection)
        connection, raw = self._open
        self._watchdog.hold(raw)
        begun_s = time.monotonic()
        taken = raw.execute(f"{BEGIN_TURN}; {FACTS}", prepare=False)
        if taken.nextset() and not taken.fetchone():
            raise StoreFailed("the table `turn` of the database is empty; insert the row 1 into it")
        taken.nextset()
        facts = self._known.facts(taken.fetchone())
        self._measures.on_turn(time.monotonic() - begun_s)
        if self._unresolved is not None:
            self._resolve(self._unresolved, raw)
        return connection, raw, facts

    def _run_all(self, connection: sa.Connection, raw: Raw, group: list[Waiting], facts: Facts) -> _Run:
        run, shared, begun_s = _Run(), Shared(connection), time.monotonic()
        for index, unit in enumerate(group):
            if index and time.monotonic() - begun_s > TURN_S_MAX:
                break
            connection.info[WRITTEN] = False
            transaction = Transaction(
                connection=connection, now_ms=facts.now_ms, control_plane=facts.control_plane, shared=shared
            )
            run.done.append(_run(unit, transaction, raw, index))
            run.topics |= transaction.topics
            run.written |= connection.info[WRITTEN]
        _write_rest(shared, raw, len(run.done))
        run.written |= shared.has_written
        return run

    def _ending_of(self, raw: Raw, run: _Run, facts: Facts) -> tuple[str, int | None]:
        """The statements that end the transaction, and the number under which it can be found out about."""
        if not run.written and not run.topics:
            # The lock alone would be worth a sync to the server.
            return "SET LOCAL synchronous_commit TO off; COMMIT", None
        self._batches += 1
        signed = _text(raw, _SIGN, self._name, self._batches, facts.now_ms)
        return f"{signed}; {self._wakes(raw, run.topics, facts)}COMMIT", self._batches

    def _wakes(self, raw: Raw, topics: Iterable[str], facts: Facts) -> str:
        rows = ", ".join(
            _text(raw, "({}, {}, {})", topic, self._name, facts.now_ms) for topic in sorted(topics)
        )
        return _WAKE.format(rows) + "; " if rows else ""

    def _end(self, raw: Raw, ending: str, run: _Run, number: int | None) -> None:
        try:
            raw.execute(ending, prepare=False)
        except psycopg.Error as error:
            if number is None and is_lost(error):
                self.close()  # nothing was written, so nothing is lost
                return
            # Where the server answers that it is about to end, whether the commit came first is not said either.
            if is_lost(error) or is_ambiguous(error):
                self.close()
                raise _Unknown(number or 0, run.done, text_of(error)) from error
            raise self._failed(error) from error

    def _has_taken_effect(self, batch: int, until_s: float) -> bool:
        with self._watchdog.limit(self._left(until_s)):
            try:
                _, raw, _ = self._take_turn()
                committed = self._outcome(batch, raw)
                raw.execute("COMMIT", prepare=False)
            except (DBAPIError, psycopg.Error) as error:
                self.close()
                raise _Unknown(batch, [], text_of(error)) from error
            except StoreFailed:
                self._roll_back()
                raise
        self._tell_outcome(batch, committed=committed)
        self.failing_since_s = None
        return committed

    def _outcome(self, batch: int, raw: Raw) -> bool:
        """In the turn: whether `batch`, the last one that was signed, has taken effect."""
        found = raw.execute(_text(raw, _LOOK, self._name), prepare=False).fetchone()
        return found is not None and found[0] == batch

    def _resolve(self, unknown: _Unknown, raw: Raw) -> None:
        """In the turn: who was told that nobody knew has gone; others hear what has happened."""
        committed = self._outcome(unknown.batch, raw)
        self._unresolved = None
        self._tell_outcome(unknown.batch, committed=committed)
        if committed:
            tell_others(unknown.done)

    def _tell_outcome(self, batch: int, *, committed: bool) -> None:
        self._measures.on_outcome(committed)
        get_logger().warning("database.outcome", batch=batch, committed=committed)

    def _failed(self, error: DBAPIError | psycopg.Error) -> Exception:
        """What `error` outside of units means; nothing of the transaction took effect."""
        failure = gone(error)
        if failure is not None:
            self._roll_back()
            return failure
        if is_conflict(error):
            self._roll_back()
            return _Again(text_of(error), "conflict")
        if is_lost(error):
            self.close()
            advice = advice_on(error)
            if advice is None:
                return _Again(text_of(error), "connection")
            # It answers, and will say the same until somebody has changed something.
            self._note_failure("connection", text_of(error))
            return Unavailable(f"the control plane's database is not available: {text_of(error)}; {advice}")
        self._roll_back()
        return Unavailable(f"the control plane's database refuses: {text_of(error)}")

    def _roll_back(self) -> None:
        try:
            if self._open is not None:
                self._open[1].rollback()
        except psycopg.Error:
            self.close()

    def _note_failure(self, kind: str, reason: str) -> None:
        if kind == "connection":
            self.failing_since_s, self.failure = self.failing_since_s or time.monotonic(), reason

    def _left(self, until_s: float) -> float:
        """How long one transaction may take."""
        left_s = min(until_s, self._ending_s) - time.monotonic()
        return max(_ATTEMPT_LEAST_S, min(ATTEMPT_S, left_s))

    def _may_go_on(self, tries: int, until_s: float) -> bool:
        """Waits a little longer each time, and says whether there is time for another try."""
        until_s = min(until_s, self._ending_s)
        first_s, most_s = _PAUSE_S
        pause_s = random.uniform(0.5, 1) * min(most_s, first_s * 2**tries)  # noqa: S311 - no secret
        if time.monotonic() + pause_s > until_s:
            return False
        time.sleep(pause_s)
        return True


def _run(unit: Waiting, transaction: Transaction, raw: Raw, index: int) -> Done:
    try:
        value = unit.work(transaction)
    except Exception as error:  # the caller is told
        if is_lost(error) or is_serialization(error):
            raise
        if transaction.shared is not None and transaction.shared.failed:
            raise _Spoiled(None, _told(error)) from error
        if transaction.connection.info[WRITTEN] or not _is_whole(raw):
            raise _Spoiled(index, _told(error)) from error
        transaction.topics.clear()
        return Done(unit, error=_told(error))
    if not _is_whole(raw):
        raise _Spoiled(index, Unavailable("the control plane's database refuses a statement"))
    return Done(unit, value, then=tuple(transaction.then))


def _write_rest(shared: Shared, raw: Raw, units: int) -> None:
    """What the units have left goes out. Where it cannot, the only one of them is to blame, or one of several."""
    try:
        shared.flush_others()
    except Exception as error:
        if is_lost(error) or is_conflict(error):
            raise
        raise _Spoiled(0 if units == 1 else None, _told(error)) from error
    if not _is_whole(raw):
        raise _Spoiled(
            0 if units == 1 else None, Unavailable("the control plane's database refuses a statement")
        )


def _told(error: Exception) -> Exception:
    """`error` for the caller of a unit."""
    if cause_of(error) is None:
        return error
    if is_unstorable(error):
        return unstorable(error)
    unavailable = Unavailable(f"the control plane's database refuses: {text_of(error)}")
    unavailable.__cause__ = error
    return unavailable


def _in_time(group: list[Waiting]) -> list[Waiting]:
    """Those whose callers still wait; the others are told that nothing was done."""
    now_s = time.monotonic()
    for unit in group:
        if unit.accepted_s + ANSWER_S <= now_s:
            unit.answer.set_exception(
                Unavailable("the control plane's database was not available in time; nothing was done")
            )
    return [unit for unit in group if not unit.answer.done()]


def _until_s(group: list[Waiting]) -> float:
    """As long as the one that came last may wait."""
    return max(unit.accepted_s for unit in group) + ANSWER_S


def _is_whole(raw: Raw) -> bool:
    return raw.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


def _without(group: list[Waiting], spoiled: _Spoiled, *, singly: bool) -> list[list[Waiting]]:
    """The groups in which the units of `group` are to run now; answers the one that failed where it was first."""
    if spoiled.index is None:
        return [[unit] for unit in group]
    failed = group[spoiled.index]
    others = [unit for unit in group if unit is not failed]
    if spoiled.index == 0:
        # It saw nothing but what is durable.
        failed.answer.set_exception(spoiled.error)
        alone = []
    else:
        alone = [[failed]]
    if singly:
        return [*([unit] for unit in others), *alone]
    return [*([others] if others else []), *alone]


def _given_up(reason: str, unknown: _Unknown | None) -> Unavailable:
    if unknown is None:
        return Unavailable(f"the control plane's database is not available: {reason}")
    return Unavailable(
        f"the control plane's database was lost while it committed, so what was asked may have taken effect: {reason}"
    )


def _text(raw: Raw, text: str, *values: object) -> str:
    """`text` with `values` as literals: several statements in one message take no parameters."""
    return sql.SQL(text).format(*(sql.Literal(value) for value in values)).as_string(raw)
