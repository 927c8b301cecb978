"""Nodes as real processes: one for a whole module, and others to a test's own taste."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from replicator.testing.processes import ServerProcess, node_process

StartNode = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A node with its defaults. It must still be well when the module's tests are through."""
    with node_process("node1", tmp_path_factory.mktemp("node")) as running:
        yield running
        assert httpx.get(f"{running.url}/ready", trust_env=False).status_code == 200, running.log_tail()
        assert running.stray_output() == []
        assert running.events("request.failed") == []
        assert running.stop() == 0


@pytest.fixture
def client(node: ServerProcess) -> Iterator[httpx.Client]:
    with client_of(node) as client:
        yield client


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[StartNode]:
    """Starts a node with the settings it is given; all are ended with the test."""
    with ExitStack() as running:

        def start(name: str = "node1", **options: object) -> ServerProcess:
            return running.enter_context(node_process(name, tmp_path, **options))  # type: ignore[arg-type]

        yield start


def client_of(process: ServerProcess) -> httpx.Client:
    return httpx.Client(base_url=process.url, trust_env=False, timeout=30)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Iterator[None]:
    """Show the node's log with every test that failed on it."""
    report = yield
    node = item.funcargs.get("node")
    if report.failed and isinstance(node, ServerProcess):  # type: ignore[attr-defined]
        report.sections.append((node.name, node.log_tail()))  # type: ignore[attr-defined]
    return report
