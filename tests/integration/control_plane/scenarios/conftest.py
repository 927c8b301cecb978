from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from replicator.testing.scenarios import Fleet, fleet_in


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str | None:
    """The URL of a database that several replicas can share, or None for the file of one."""
    url: str | None = request.getfixturevalue("database_url") if request.param == "postgres" else None
    return url


@pytest.fixture
async def fleet(data_dir: str, place: str | None, anyio_backend: str) -> AsyncIterator[Fleet]:
    """One control plane on SQLite, two replicas on Postgres."""
    async with fleet_in(data_dir, database_url=place) as fleet:
        yield fleet
