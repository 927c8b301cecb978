"""Databases for tests on one server of the test process: each has the newest schema, and is made in a moment."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from replicator.control_plane.db.database import open_database
from replicator.testing.clock import FrozenClock
from replicator.testing.postgres import PostgresServer


@contextmanager
def migrated_database() -> Iterator[str]:
    """The URL of a database of one's own, with the newest schema and nothing in it."""
    server, template = _server()
    name = server.new_database(template)
    try:
        yield server.url(name)
    finally:
        server.drop_database(name)


@contextmanager
def empty_database() -> Iterator[str]:
    """The URL of a database of one's own that nothing was done to."""
    server, _ = _server()
    name = server.new_database()
    try:
        yield server.url(name)
    finally:
        server.drop_database(name)


def shared_server() -> PostgresServer:
    """The server of those databases, which is to be neither stopped nor killed."""
    return _server()[0]


@cache
def _server() -> tuple[PostgresServer, str]:
    server = PostgresServer()
    atexit.register(server.close)
    template = server.new_database()
    open_database(server.url(template), clock=FrozenClock(), on_events=lambda _: None).close()
    return server, template
