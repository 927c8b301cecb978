"""Seeds that can be replayed, how long to go on, a stage for pulls, and nodes to do harm to."""

import os
import random
from collections.abc import Iterator

import pytest

from replicator.testing.linked_cluster import LinkedCluster
from replicator.testing.mesh import Mesh
from replicator.testing.postgres_databases import migrated_database
from replicator.testing.pull_stage import PullStage, pull_stage

SEED = "REPLICATOR_TEST_SEED"
ROUNDS = "REPLICATOR_TEST_ROUNDS"


@pytest.fixture
def seed() -> int:
    """Decides everything random in the test; shown when it fails."""
    seed = int(os.environ.get(SEED) or random.randrange(2**32))
    print(f"seed {seed}; replay with {SEED}={seed}")
    return seed


@pytest.fixture
def rounds() -> int:
    """How often a fault is to strike, as a multiple of what a quick test does; more for a soak."""
    return int(os.environ.get(ROUNDS) or 1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def url() -> Iterator[str]:
    """Of a Postgres database of the test's own, with the newest schema, on the server that all tests share."""
    with migrated_database() as url:
        yield url


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LinkedCluster]:
    """Two nodes with a link that can be cut; a test leaves it whole and without limits."""
    with LinkedCluster(tmp_path_factory.mktemp("linked")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PullStage]:
    with pull_stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


@pytest.fixture(scope="session")
def _long_lived_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh(tmp_path_factory.mktemp("mesh"), ["a", "b", "c", "d"]) as mesh:
        yield mesh


@pytest.fixture
def mesh(_long_lived_mesh: Mesh) -> Iterator[Mesh]:
    """Four nodes, all well at the beginning of a test; what earlier tests stored is still there."""
    _long_lived_mesh.mend()
    yield _long_lived_mesh
    _long_lived_mesh.mend()
    _long_lived_mesh.require_calm()
