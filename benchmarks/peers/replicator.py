"""Replicator itself: a control plane on this machine, and a node on each of the two hosts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cluster import Cluster, running_cluster
from benchmarks.migrations import Migrator
from benchmarks.peers.system import Contender, Data, put_files, sha256_of_url
from benchmarks.places import Places


def contender(places: Places) -> Contender:
    """Everything it says is there has been verified and synced."""
    return Contender(
        name="Replicator", durable=True, missing=None, run=lambda folder: _running(folder, places)
    )


class _Replicator:
    def __init__(self, cluster: Cluster, migrator: Migrator) -> None:
        self._source, self._destination = cluster.nodes
        self._migrator = migrator

    def store(self, data: Data) -> None:
        put_files(self._source.address, data, "/objects/")

    def transfer(self, data: Data) -> None:
        if data.path.is_dir():
            self._migrator.run("migrate", prefix=f"{data.name}/")
        else:
            self._migrator.migrate(data.name)

    def sha256(self, name: str) -> str:
        return sha256_of_url(f"{self._destination.url}/objects/{name}")


@contextmanager
def _running(folder: Path, places: Places) -> Iterator[_Replicator]:
    with running_cluster(folder / "cluster", places) as cluster, Migrator(cluster) as migrator:
        yield _Replicator(cluster, migrator)
