from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest, control_plane_in
from replicator.testing.postgres import missing_for_postgres
from replicator.testing.postgres_databases import migrated_database

MEMORY = Path("/dev/shm")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[str]:
    """In memory where there is such a folder: these tests sync often and do not lose power."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as folder:
        yield folder


@pytest.fixture
def database_url() -> Iterator[str]:
    """A Postgres database of the test's own, with the newest schema."""
    missing = missing_for_postgres()
    if missing is not None:
        pytest.skip(missing)
    with migrated_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
async def plane(
    request: pytest.FixtureRequest, data_dir: str, anyio_backend: str
) -> AsyncIterator[ControlPlaneUnderTest]:
    """On each kind of database."""
    url = request.getfixturevalue("database_url") if request.param == "postgres" else None
    async with control_plane_in(data_dir, database_url=url) as plane:
        yield plane
