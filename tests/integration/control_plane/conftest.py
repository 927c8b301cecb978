from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest, control_plane_in

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
async def plane(data_dir: str, anyio_backend: str) -> AsyncIterator[ControlPlaneUnderTest]:
    async with control_plane_in(data_dir) as plane:
        yield plane
