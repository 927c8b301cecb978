"""What Postgres says, and what it means: try again on a new connection, or tell the caller, or give up."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError

# Another transaction was in the way, or a bound on time: the same work may succeed at once.
_SERIALIZATION = frozenset({"40001", "40P01"})
_CONFLICTS = _SERIALIZATION | {"55P03", "57014"}
# The server ends, starts, has no room for connections, or is a standby that may become the primary.
_AWAY = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "25006", "25P03", "25P04"})
# The words of the server where it refuses a connection; there is no code for the client then.
_ADVICE = (
    ("password authentication failed", "check the user and the password of --database-url"),
    ("no password supplied", "give a password in --database-url"),
    ("no pg_hba.conf entry", "let this machine in, in the server's pg_hba.conf"),
    ("permission denied", "grant the user of --database-url all rights in its database"),
    ("is not permitted to log in", "grant the user of --database-url the right to log in"),
    ('" does not exist', "create what is missing, with CREATE DATABASE or CREATE ROLE"),
)


def cause_of(error: Exception) -> psycopg.Error | None:
    """What Postgres or its driver said, if it was one of them."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause if isinstance(cause, psycopg.Error) else None


def is_lost(error: Exception) -> bool:
    """Whether the connection is gone, or the server is about to be."""
    cause = cause_of(error)
    if cause is None or isinstance(cause, psycopg.errors.PipelineAborted):
        return False
    if cause.sqlstate is None:
        return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    return cause.sqlstate.startswith("08") or cause.sqlstate in _AWAY


def is_conflict(error: Exception) -> bool:
    """Whether another transaction or a bound on time was in the way."""
    cause = cause_of(error)
    return cause is not None and cause.sqlstate in _CONFLICTS


def is_unstorable(error: Exception) -> bool:
    """Whether a value cannot be kept: U+0000 in a text, a number out of range. It will not be otherwise again."""
    return isinstance(cause_of(error), psycopg.DataError)


def is_forbidden_write(error: Exception) -> bool:
    """Whether it was a write where only reads are allowed."""
    return isinstance(cause_of(error), psycopg.errors.ReadOnlySqlTransaction)


def is_serialization(error: Exception) -> bool:
    """Whether the whole transaction must be run again, whatever statement says so."""
    cause = cause_of(error)
    return cause is not None and cause.sqlstate in _SERIALIZATION


def is_ambiguous(error: Exception) -> bool:
    """Whether the server itself does not know if a commit has taken effect."""
    cause = cause_of(error)
    return cause is not None and cause.sqlstate == "40003"


def advice_on(error: Exception) -> str | None:
    """What the operator is to change, where trying again does not help."""
    text = str(cause_of(error) or "")
    return next((advice for words, advice in _ADVICE if words in text), None)


def text_of(error: Exception) -> str:
    """One line on what happened. The driver names host, port, user and database, and no password."""
    cause = cause_of(error) or error
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return "another control plane did not end its turn in time"
    if isinstance(cause, psycopg.errors.ReadOnlySqlTransaction):
        return "the server is a read-only standby; name the primary in --database-url"
    # The statement that the driver adds is no concern of users, nor is the question with which it ends.
    primary = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return " ".join((primary or str(cause)).split()).partition(" Is the server running")[0]
