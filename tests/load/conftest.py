"""Nodes that may use 512 MiB and not a byte more; how much of everything a run has."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from replicator.testing.memory_limit import memory_limit
from replicator.testing.processes import ServerProcess, node_process

LOAD = "REPLICATOR_TEST_LOAD"
MEMORY_BYTES_MAX = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How much: a quick form of each test, and the full one of `make load`."""

    object_bytes: int
    objects: int
    uploads: int
    upload_bytes: int
    idle: int


QUICK = Form(object_bytes=2**30, objects=10_000, uploads=200, upload_bytes=2_000_000, idle=1_000)
FULL = Form(object_bytes=20 * 2**30, objects=1_000_000, uploads=1_000, upload_bytes=5_000_000, idle=10_000)


@pytest.fixture(scope="session")
def form() -> Form:
    """The quick form, unless `REPLICATOR_TEST_LOAD` is `full`."""
    return FULL if os.environ.get(LOAD) == "full" else QUICK


@pytest.fixture
def capped_node(tmp_path: Path) -> Iterator[ServerProcess]:
    """A node with its defaults, within the limit. It must have lived to the end of the test."""
    with memory_limit(MEMORY_BYTES_MAX) as limit:
        if limit is None:
            pytest.skip("no memory limit can be set here: wants a memory control group (root), or ulimit -v")
        node = node_process("node1", tmp_path, wrapper=limit.wrapper)
        if not node.try_start():
            pytest.skip(f"a node does not start within 512 MiB of {limit.kind}\n{node.log_tail()}")
        with ExitStack() as running:
            running.callback(node.close)
            print(f"memory limit: {MEMORY_BYTES_MAX} bytes, {limit.kind}")
            yield node
            assert node.is_running, f"the node did not survive\n{node.log_tail()}"
            print(f"peak resident: {node.peak_memory_bytes() / 1e6:.0f} MB")
            assert node.stray_output() == []
            assert node.events("request.failed") == []


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts a node with the settings it is given; ended with the test."""
    with ExitStack() as running:

        def start(**options: object) -> ServerProcess:
            return running.enter_context(node_process("node1", tmp_path, **options))  # type: ignore[arg-type]

        yield start
