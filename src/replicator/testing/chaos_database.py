"""The database of a chaos run: an SQLite file, or a Postgres server that each replica reaches by a way of its own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from replicator.testing.postgres import PostgresServer
from replicator.testing.postgres_proxy import PostgresProxy


@dataclass(frozen=True, kw_only=True)
class ChaosDatabase:
    """Where replicas find it, and who reads it from outside.

    Attributes:
        reader_url: an SQLAlchemy URL that goes around everything that is done to replicas.
        urls: for each replica; None for the file in its data folder.
        proxies: the ways of the replicas to the server, one each.
    """

    reader_url: str
    urls: Sequence[str | None]
    name: str = ""
    server: PostgresServer | None = None
    proxies: Sequence[PostgresProxy] = ()

    def close(self, folder: Path) -> None:
        """End what runs, and keep the server's log in `folder`."""
        for proxy in self.proxies:
            proxy.close()
        if self.server is not None:
            shutil.copy(self.server.folder / "log", folder / "postgres.log")
            self.server.close()


def sqlite_database(folder: Path) -> ChaosDatabase:
    """A file, which one replica can have."""
    path = folder / "control-plane" / "control-plane.sqlite"
    return ChaosDatabase(reader_url=f"sqlite:///file:{path}?mode=ro&uri=true", urls=[None])


def postgres_database(replicas: int) -> ChaosDatabase:
    """A server that runs, for so many replicas."""
    server = PostgresServer()
    name = server.new_database()
    url = server.url(name)
    proxies = [PostgresProxy(server.port) for _ in range(replicas)]
    reader = sa.make_url(url).set(drivername="postgresql+psycopg")
    return ChaosDatabase(
        reader_url=reader.render_as_string(hide_password=False),
        urls=[proxy.url(url) for proxy in proxies],
        name=name,
        server=server,
        proxies=proxies,
    )
