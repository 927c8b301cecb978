"""Seeds that can be replayed, how long to go on, and a stage for pulls."""

import os
import random
from collections.abc import Iterator

import pytest

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


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PullStage]:
    with pull_stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage
